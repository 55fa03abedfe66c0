"""Every shipped recipe runs from its first phase to its last, made small; the papers' values have a source."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sparring.common.schema import keys
from sparring.config.factory import ROLES, TASKS, role_fields
from sparring.config.recipe import Recipe, load_table, shipped_recipes
from sparring.ledger import entries
from sparring.partners.task_judge import TaskJudge
from sparring.runs.display import Display
from sparring.runs.estimate import estimate
from sparring.runs.recording import recordable_partners
from sparring.runs.run import train
from tests.fault_server import Answer, Request, say, standing
from tests.reward_model import save_reward_model
from tests.stand_in import save_stand_in

ROOT = Path(__file__).parents[2]
AT_SCALE = [name for name in shipped_recipes() if "/" in name]
PAPERS = [name for name in AT_SCALE if name.startswith("papers/")]
ONE_GPU = [name for name in AT_SCALE if name.startswith("one_gpu/")]

# What a walk changes, besides the models and where they are: the scale.
SMALL_TASK = {"train": 12, "development": 4, "test": 4}
SIZES = {**SMALL_TASK, "shots": 1}  # of tasks that have these keys as numbers
PHASE = {"rounds": 2, "problems": 2, "epochs": 1, "samples": 3, "auto_problems": 2, "max_tokens": 24}
LEARNING_RATE = 1e-5  # at most: a step must not undo what was set by hand
RUN = {"evaluate_every": 0, "evaluate_problems": 2, "test_problems": 2, "threads": 1}
OPENINGS = {  # what the stand-in says before its digit, by the form that the recipe asks for
    "generic": "Here is my thought process:\nhm\nHere is my response:\n",
    "think": "<think>hm</think>",
    "none": "So the answer is ",
}


@pytest.fixture(autouse=True)
def _hub(hub_rows, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")


# ── the walk ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with the stand-ins: `reward`, and a learner for each opening and architecture."""
    folder = tmp_path_factory.mktemp("models")
    save_reward_model(folder / "reward", max_position_embeddings=4096)
    for form, opening in OPENINGS.items():
        save_stand_in(folder / form, opening)
    save_stand_in(folder / "encoder-decoder", OPENINGS["none"], encodes=True)
    return folder


@pytest.mark.parametrize("name", shipped_recipes())
def test_it_runs_from_its_first_phase_to_its_last_and_every_round_teaches(name, models, tmp_path):
    worked: dict[str, str] = {}
    with standing(_partner(worked)) as server:
        recipe = Recipe.of(made_small(load_table(name), models, server.url))
        assert Recipe.of(tomllib.loads(recipe.toml())).table() == recipe.table()
        worked |= {problem.chat.text: problem.rationale or "" for problem in recipe.task.problems("train")}
        train(recipe, tmp_path / "run", display=Display(quiet=True))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rounds = [line for line in lines if line["kind"] == "round"]
    assert len(rounds) == sum(phase.rounds for phase in recipe.phases)
    assert all(line["experience"] > 0 for line in rounds if line["phase"] not in _judged_by_program(recipe)), rounds
    assert all(line["failed"] == 0.0 for line in rounds), rounds
    assert all(line["edited_right"] == 1.0 for line in rounds if line["method"] == "tripost"), rounds
    assert _asked(tmp_path / "run" / "ledger.sqlite") == _speaking(recipe)


def made_small(table: Mapping[str, Any], models: Path, url: str) -> dict[str, Any]:
    """Return the recipe `table` for stand-ins, with a handful of problems and short replies."""
    form = next((phase.get("thought_format", "generic") for phase in reversed(table["phase"])
                 if phase["method"] == "thought_preference"), "none")  # fmt: skip
    is_encoder_decoder = "t5" in table.get("learner", {}).get("model", "")
    learner = {"model": str(models / ("encoder-decoder" if is_encoder_decoder else form)), "device": "cpu"}
    hints = keys(TASKS[table["task"]["kind"]])
    sizes = {key: size for key, size in SIZES.items() if "int" in str(hints.get(key))}
    if "development_size" in table["task"]:
        sizes["development_size"] = SIZES["development"]
    return {
        **table,
        "learner": {**table.get("learner", {}), **learner},
        "task": {**table["task"], **sizes},
        "phase": [_small_phase(phase, models, url) for phase in table["phase"]],
        "trainer": _small_trainer(table.get("trainer", {})),
        "run": {**table.get("run", {}), **RUN},
    }


def _small_trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    return {**trainer, "learning_rate": min(trainer.get("learning_rate", LEARNING_RATE), LEARNING_RATE)}


def _small_phase(phase: Mapping[str, Any], models: Path, url: str) -> dict[str, Any]:
    roles = {role: _small_partner(phase[role], models, url) for role in ROLES.values() if role in phase}
    smaller = {key: min(phase[key], size) for key, size in PHASE.items() if isinstance(phase.get(key), int)}
    more = {"auto_problems": PHASE["auto_problems"]} if phase.get("length_penalty") == "auto" else {}
    trainer = {"trainer": _small_trainer(phase["trainer"])} if "learning_rate" in phase.get("trainer", {}) else {}
    return {**phase, "problems": PHASE["problems"], **smaller, **more, **roles, **trainer}


def _small_partner(partner: Mapping[str, Any], models: Path, url: str) -> dict[str, Any]:
    """Ask the server instead of an endpoint or a model of billions of parameters; score by a tiny reward model."""
    if partner["by"] == "reward":
        return {"by": "reward", "model": str(models / "reward"), "device": "cpu"}
    if partner["by"] == "local":
        partner = {key: value for key, value in partner.items() if key not in ("offload", "thinking")}
    return dict(partner) if partner["by"] == "task" else {**partner, "by": "endpoint", "base_url": url}


def _speaking(recipe: Recipe) -> set[str]:
    """Return the roles of `recipe` that speakers fill."""
    return {
        ROLES[role_fields(type(phase.method))[field]]
        for phase in recipe.phases
        for field in recordable_partners(phase.method)
    }


def _judged_by_program(recipe: Recipe) -> set[int]:
    """Return the numbers of the phases whose judge is a program: it finds no response of the stand-in right."""
    judges = (getattr(phase.method, "judge", None) for phase in recipe.phases)
    return {number for number, judge in enumerate(judges, start=1) if isinstance(judge, TaskJudge)}


def _asked(ledger: Path) -> set[str]:
    return {entry["role"] for entry in entries(ledger)} if ledger.exists() else set()


# ── the partner ─────────────────────────────────────────────────────────────────────────────────────────────


def _partner(worked: Mapping[str, str]) -> Answer:
    """Reply in the form that each role requires; an editor knows the worked answer of each question."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await say(_reply(request.asked, worked))(request, writer)

    return answer


def _reply(asked: str, worked: Mapping[str, str]) -> str:
    if pair := re.search(_PAIR, asked, re.DOTALL):
        a, b = pair.groups()
        return f"hm. [[{'A' if a > b else 'B'}]]"
    if "Check a student's answer" in asked:
        label, text = re.findall(r"^\(([\d.]+|Final response)\) (.+)", asked.rpartition("student's answer:")[2], re.M)[
            0
        ]
        return f'In step ({label}) the part "{text}" is incorrect. This is because it does not follow.'
    if "goes wrong at step" in asked:
        return next(answer for question, answer in worked.items() if question in asked)
    return "Please look again."


_PAIR = r"(?:Response A:|Assistant A's Answer\])\n(.*?)\n.*?(?:Response B:|Assistant B's Answer\])\n(.*?)\n"


# ── what the recipes say ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PAPERS)
def test_every_value_of_a_paper_s_recipe_has_a_source(name):
    text = shipped_recipes()[name]
    values = re.findall(_VALUE, text, re.MULTILINE | re.DOTALL)
    assert [key for key, _ in values] == re.findall(r"^([\w.]+) = ", text, re.MULTILINE)
    for key, comment in values:
        assert re.match(r"(paper|code|draft|ours)\b", comment), f"{key}: {comment!r} names no source"


_VALUE = r"""^([\w.]+) = (?:\"{3}.*?\"{3}|'{3}.*?'{3}|[^\n]*?) +# ([^\n]*)$"""


@pytest.mark.parametrize("name", AT_SCALE)
def test_its_calls_are_those_that_the_docs_state(name, models):
    stated = re.search(rf"^\| `{name}` \|.*?\| ([\d,]+) \|", (ROOT / "docs" / "scale.md").read_text(), re.MULTILINE)
    assert stated, f"docs/scale.md has no row for {name}"
    table = load_table(name)
    learner = {"model": str(models / "none"), "device": "cpu"}
    task = {**table["task"], **(SMALL_TASK if "range" in table["task"] else {})}  # generated problems take long
    calls = estimate(Recipe.of({**table, "learner": learner, "task": task}), 1).total(lambda row: row.calls)
    assert f"{calls:,.0f}" == stated[1]
    if name in ONE_GPU and calls:
        assert f"\n# Calls: {stated[1]}" in shipped_recipes()[name]
