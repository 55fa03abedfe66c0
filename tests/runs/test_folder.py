"""A run's folder: what may change in the recipe when the run goes on, and which remedies work."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import tomlkit

from sparring.common.errors import ConfigError, RunStopped
from sparring.common.schema import differences, flat
from sparring.config.adjustable import fixed, may_change
from sparring.config.recipe import Recipe, shipped_recipes
from sparring.runs.display import Display
from sparring.runs.folder import check_resumable, set_aside_failed_start
from sparring.runs.run import train

QUIET = Display(quiet=True)
MAY_CHANGE = {
    "run.save_every", "run.keep", "run.trackers", "run.max_partner_failures", "run.max_learner_failures",
    "trainer.max_dropped", "phase.1.trainer.max_dropped", "phase.2.trainer.max_dropped",
    "budget.run.calls", "budget.run.tokens", "budget.run.money",
    "budget.round.calls", "budget.round.tokens", "budget.round.money", "budget.prices.m",
}  # fmt: skip
TINY = {name: text for name, text in shipped_recipes().items() if "/" not in name}

RECIPE = {
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 8, "development": 4, "test": 4},
    "phase": [
        {"method": "sft", "max_tokens": 24},
        {"method": "saie", "problems": 8, "max_tokens": 8, "discussant": {"by": "scripted", "replies": ["Look."]}},
    ],
    "trainer": {"batch_size": 4},
    "run": {"threads": 1},
    "ledger": {"path": "somewhere.sqlite"},
    "budget": {
        "run": {"calls": 9, "tokens": 9, "money": 9.0}, "round": {"calls": 9, "tokens": 9, "money": 9.0},
        "prices": {"m": [1.0, 2.0]},
    },
}  # fmt: skip


def other(value: object) -> object:
    """A value unlike `value`, of its kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, *value] if isinstance(value, list) else f"{value}x"


def place(table: dict, key: str) -> tuple[dict, str]:
    *above, last = key.split(".")
    here = table
    for name in above:
        here = here[int(name) - 1] if isinstance(here, list) else here[name]
    return here, last


def test_of_all_keys_those_may_change_that_decide_only_whether_a_run_stops():
    whole = Recipe.of(RECIPE).table()
    assert flat(whole).keys() >= MAY_CHANGE
    for key, value in flat(whole).items():
        table = copy.deepcopy(whole)
        inner, last = place(table, key)
        inner[last] = other(value)
        changed = differences(fixed(whole), fixed(table))
        assert [line.split(":")[0] for line in changed] == ([] if key in MAY_CHANGE else [key])


@pytest.mark.parametrize("text", TINY.values(), ids=TINY)
def test_no_key_of_a_shipped_recipe_may_change_that_is_not_listed(text, hub_rows):
    keys = flat(Recipe.of(tomlkit.parse(text).unwrap()).table())
    names = {re.sub(r"^phase\.\d+\.trainer", "phase.1.trainer", key) for key in keys if may_change(key)}
    assert names <= MAY_CHANGE


@pytest.mark.parametrize("status", ["[]", '{"status": "running"}'])
def test_a_run_that_may_be_at_work_is_not_set_aside(tmp_path, status):
    (tmp_path / "recipe.toml").write_text(Recipe.of(RECIPE).toml())
    (tmp_path / "run.json").write_text(status)
    assert set_aside_failed_start(tmp_path, Recipe.of({**RECIPE, "run": {"seed": 5}})) is None
    assert (tmp_path / "recipe.toml").exists()


def test_a_run_of_a_version_that_did_not_know_a_key_resumes_with_its_default(tmp_path):
    lines = Recipe.of(RECIPE).toml().splitlines()
    (tmp_path / "recipe.toml").write_text("\n".join(line for line in lines if not line.startswith("weight_decay")))
    assert len((tmp_path / "recipe.toml").read_text().splitlines()) < len(lines)
    check_resumable(tmp_path, Recipe.of(RECIPE), resume=True)
    with pytest.raises(ConfigError, match=r"weight_decay: 0\.0 → 0\.1"):
        check_resumable(tmp_path, Recipe.of({**RECIPE, "trainer": {"weight_decay": 0.1}}), resume=True)


def test_a_changed_key_is_named_unless_it_may_change(tmp_path):
    (tmp_path / "recipe.toml").write_text(Recipe.of(RECIPE).toml())
    check_resumable(tmp_path, Recipe.of({**RECIPE, "budget": {}, "run": {"threads": 1, "save_every": 3}}), resume=True)
    with pytest.raises(ConfigError, match=r"another recipe \(run.seed: 0 → 1\)"):
        check_resumable(tmp_path, Recipe.of({**RECIPE, "budget": {}, "run": {"threads": 1, "seed": 1}}), resume=True)


def test_the_docs_list_the_keys_that_may_change():
    text = Path(__file__).parents[2].joinpath("docs", "recipes.md").read_text()
    [listed] = re.findall(r"may change on `--resume`: (.*?)\.\n", text, re.DOTALL)
    assert set(re.findall(r"`([\w.]+)`", listed)) == {
        "run.save_every", "run.keep", "run.trackers", "run.max_partner_failures", "run.max_learner_failures",
        "trainer.max_dropped", "budget",
    }  # fmt: skip


def with_(**run: object) -> Recipe:
    return Recipe.of({**RECIPE, "budget": {}, "ledger": {}, "run": {"threads": 1, **run}})


def test_a_run_stopped_by_a_bound_goes_on_when_the_bound_is_raised(tmp_path):
    """The learner, which has learnt hardly anything, is cut off in every episode of the second phase."""
    with pytest.raises(RunStopped, match=r"max_learner_failures under \[run\]"):
        train(with_(max_learner_failures=0.0), tmp_path / "run", display=QUIET)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    train(with_(max_learner_failures=1.0, save_every=4, keep=1), tmp_path / "run", resume=True, display=QUIET)
    kept = tomlkit.parse((tmp_path / "run" / "recipe.toml").read_text()).unwrap()["run"]
    assert (kept["max_learner_failures"], kept["save_every"], kept["keep"]) == (1.0, 4, 1)


def test_a_run_stopped_by_max_dropped_goes_on_when_it_is_raised(tmp_path):
    rows = [{"prompt": "x" * (600 if n % 2 else 6) + str(n), "answer": "y"} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"kind": "table", "train": str(tmp_path / "rows.jsonl"), "development_size": 0, "test_size": 0}
    table = {"task": task, "phase": [{"method": "sft"}], "run": {"threads": 1}}
    with pytest.raises(RunStopped, match=r"raise max_dropped under \[trainer\]"):
        train(Recipe.of(table), tmp_path / "run", display=QUIET)
    train(Recipe.of({**table, "trainer": {"max_dropped": 0.6}}), tmp_path / "run", resume=True, display=QUIET)


@pytest.mark.parametrize("name", ["checkpoints", "metrics.jsonl"])
def test_what_is_left_of_a_run_without_its_recipe_is_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("precious")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=rf"contains {name} but no recipe.toml; restore that file"):
            train(Recipe.of(RECIPE), tmp_path, resume=resume, display=QUIET)
    assert (tmp_path / name).read_text() == "precious"
