"""Who a run is to its ledger; and a partner that cannot be asked is refused before anything is begun."""

import json
import re
import shutil
from contextlib import suppress

import pytest

from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.ledger import Budget, BudgetReached, Cap, Ledger, Recorded, runs, totals
from sparring.runs import run
from sparring.runs.display import Display
from sparring.runs.folder import branch
from sparring.runs.recording import STATUS, USED, identity, register_run
from sparring.runs.run import train
from tests.parrot import Parrot, ask
from tests.reward_model import save_reward_model


def begun(partner, tmp_path, resume=False):
    recipe = Recipe.of(
        {
            "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 4},
            "phase": [{"method": "response_preference", "problems": 4, "judge": partner}],
            "run": {"evaluate_problems": 0, "test_problems": 0},
        }
    )
    train(recipe, tmp_path / "run", resume=resume, display=Display(live=False))


@pytest.mark.parametrize(
    ("partner", "complaint"),
    [
        ({"by": "human"}, 'by = "human" needs a terminal'),
        ({"by": "local", "model": "./nowhere"}, r"model = '\./nowhere' cannot be loaded: there is no folder"),
        ({"by": "reward", "model": "./nowhere"}, r"model = '\./nowhere' cannot be loaded"),
        ({"by": "command", "command": ["nowhere"]}, "'nowhere' is not an executable program"),
    ],
    ids=lambda value: value.get("by") if isinstance(value, dict) else "",
)
def test_who_cannot_be_asked_is_told_before_a_round_is_played(partner, complaint, tmp_path):
    with pytest.raises(ConfigError, match=complaint) as caught:
        begun(partner, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_reward_model_with_two_outputs_is_told_before_a_round_is_played(tmp_path):
    model = save_reward_model(tmp_path / "model", labels=2)
    with pytest.raises(ConfigError, match="has 2 outputs; a reward model must have 1"):
        begun({"by": "reward", "model": str(model)}, tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_is_not_asked_for_partners_whose_replies_it_may_have(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "check_partners", lambda *recipe_and_folder: asked.append(recipe_and_folder))
    for resume in (False, True):
        begun({"by": "task"}, tmp_path, resume)
    assert len(asked) == 1


# ── who a run is ────────────────────────────────────────────────────────────────────────────────────────────


def spend(folder, ledger, words, cap=3):
    """Asks for each of `words` in a sitting of the run in `folder`; how many calls left."""
    folder.mkdir(parents=True, exist_ok=True)
    parrot, id_ = Parrot(), identity(folder, ledger)
    if not (folder / STATUS).exists():
        (folder / STATUS).write_text(json.dumps({"id": id_}))
    budget = Budget(run=Cap(calls=cap))
    with Ledger(ledger, id_, budget=budget, used=folder / USED, name=folder.name) as opened, suppress(BudgetReached):
        ask(Recorded(parrot, opened, "critic"), *words)
    return len(parrot.calls)


def test_two_runs_of_one_name_have_caps_of_their_own(tmp_path):
    shared = tmp_path / "ledger.sqlite"
    assert spend(tmp_path / "a" / "run", shared, "abcde") == 3
    assert spend(tmp_path / "b" / "run", shared, "fghij") == 3
    assert spend(tmp_path / "a" / "run", shared, "klmno") == 0
    assert list(runs(shared).values()) == ["run", "run"]
    assert [total.calls for total in totals(shared)] == [3, 3]


@pytest.mark.parametrize("own", [True, False])
def test_a_run_that_moved_and_is_called_otherwise_keeps_what_it_has_spent(own, tmp_path):
    def ledger(folder):
        return folder / "ledger.sqlite" if own else tmp_path / "shared.sqlite"

    folder, moved = tmp_path / "run", tmp_path / "deep" / "other"
    assert spend(folder, ledger(folder), "abcde") == 3
    moved.parent.mkdir()
    shutil.move(folder, moved)
    assert spend(moved, ledger(moved), "fghij") == 0
    assert spend(moved, ledger(moved), "fghij", cap=5) == 2
    assert list(runs(ledger(moved)).values()) == ["other"]


DAMAGED = [None, b"", b"{", b"[]", b'{"id": 7}', b'{"id": "../x"}', b"\xff", b"[" * 100_000, b'{"status": "running"}']


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: repr(damage)[:12])
def test_a_lost_run_json_begins_no_cap_anew(own, damage, tmp_path):
    folder = tmp_path / "run"
    ledger = folder / "ledger.sqlite" if own else tmp_path / "shared.sqlite"
    if not own:
        spend(tmp_path / "neighbour", ledger, "xyz")
    assert spend(folder, ledger, "abcde") == 3
    (folder / STATUS).unlink() if damage is None else (folder / STATUS).write_bytes(damage)
    assert spend(folder, ledger, "fghij") == 0


def test_where_several_may_have_lost_their_run_json_none_is_guessed_and_the_remedy_works(tmp_path):
    shared = tmp_path / "ledger.sqlite"
    for place, words in (("a", "abcde"), ("b", "fghij")):
        spend(tmp_path / place / "run", shared, words)
    folder = tmp_path / "a" / "run"
    id_ = json.loads((folder / STATUS).read_text())["id"]
    (folder / STATUS).write_text("{")
    with pytest.raises(ConfigError, match=r"does not say which run of the ledger .* this is") as caught:
        identity(folder, shared)
    assert id_ in str(caught.value)
    assert "\n" not in str(caught.value)
    (folder / STATUS).write_text(re.search(r"write (\{.*\}) with", str(caught.value))[1].replace("…", id_))
    assert identity(folder, shared) == id_


def test_a_branch_is_a_run_of_its_own_and_a_resumed_run_is_not(tmp_path):
    def told(name):
        return json.loads((tmp_path / name / STATUS).read_text())["id"]

    begun({"by": "task"}, tmp_path)
    first = told("run")
    begun({"by": "task"}, tmp_path, resume=True)
    assert told("run") == first
    recipe = Recipe.read(str(tmp_path / "run" / "recipe.toml"))
    branch(tmp_path / "run", tmp_path / "branch", recipe)
    assert told("branch") != first
    branched = told("branch")
    train(recipe, tmp_path / "branch", resume=True, display=Display(live=False))
    assert told("branch") == branched


def test_ids_are_not_alike(tmp_path):
    assert len({register_run(tmp_path) for _ in range(1000)}) == 1000
