"""Which learner of a run is the best, where it is from, and what the test problems say of it and of the final one."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from sparring.common.errors import ConfigError, RunStopped
from sparring.config.recipe import Recipe
from sparring.core.evaluation import Evaluation, Outcome, score
from sparring.inference.journal import Journal
from sparring.inference.model import LanguageModel
from sparring.runs.display import Display
from sparring.runs.result import Result
from sparring.runs.run import train
from sparring.training import checkpoint

RECIPE = {
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 16, "development": 8, "test": 8},
    "phase": [
        {"method": "sft", "rounds": 2, "max_tokens": 8},
        {
            "method": "saie",
            "rounds": 2,
            "problems": 16,
            "max_tokens": 8,
            "discussant": {"by": "task"},
            "updates_per_round": "batch",
        },
    ],
    "trainer": {"learning_rate": 1e-3, "batch_size": 4},
    "run": {"threads": 1, "evaluate_every": 8, "max_learner_failures": 1.0},
}


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """Every evaluation finds as many right as `rights` says next; what was asked is noted by its count."""
    rights: list[int] = []

    async def measure_problems(protocol, task, problems, learners, *, seed, at_once, on_outcome):
        right = rights.pop(0)
        asked.append(len(problems))
        return Evaluation(tuple(Outcome(p.id, p.bin, {"accuracy": n < right}) for n, p in enumerate(problems)))

    asked: list[int] = []
    monkeypatch.setattr("sparring.runs.selection.measure_problems", measure_problems)
    return rights


def go(folder: Path) -> tuple[Result, str]:
    said = io.StringIO()
    display = Display(Console(file=said, width=300))
    return train(Recipe.of(RECIPE), folder, resume=True, display=display), said.getvalue()


def told(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def of(folder: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_a_best_learner_of_the_warm_up_is_said_to_be_one_everywhere(asked, tmp_path):
    asked += [1, 5, 2, 3, 4, 4, 3, 3, 2, 6]  # development problems eight times, then the final learner, the best
    result, said = go(tmp_path / "run")
    place = {"phase": 1, "method": "sft", "round": 1, "step": 4, "problems": 16}
    last = {"phase": 2, "method": "saie", "round": 2, "problems": 64}
    assert not asked
    found = told(tmp_path / "run")
    assert found["origin"] == place
    assert score(found) == 6 / 8
    assert score(found["final"]) == 2 / 8
    assert last.items() <= found["final"]["origin"].items()
    assert len(found["outcomes"]) == len(found["final"]["outcomes"]) == 8
    [best], [final] = of(tmp_path / "run", "test"), of(tmp_path / "run", "test_final")
    assert (score(best), best["origin"], score(final)) == (6 / 8, place, 2 / 8)
    assert (result.test, result.final_test) == (best, final)
    assert result.origin.plain() == place
    assert "best learner, from phase 1 (sft), round 1, step 4: test accuracy 75.0%" in said
    cells = re.findall(r">([^<>]+)</td>", result._repr_html_())  # in a notebook
    assert cells[:2] == ["best learner, accuracy", "75.0%"]
    assert ["final learner, accuracy", "25.0%"] in [cells[n : n + 2] for n in range(len(cells))]
    assert "final learner, from phase 2 (saie), round 2, step " in said
    behind = "phase 2 (saie) never beat its start on the development problems: 37.5% at the start, at most 50.0% since"
    assert behind not in said  # it began from 3 of 8 and came to 4
    assert checkpoint.read_usage(result.best).origin.plain() == place


def test_a_phase_that_never_beat_its_start_is_said_in_a_line(asked, tmp_path):
    asked += [1, 2, 3, 5, 4, 5, 3, 3, 2, 6]
    _, said = go(tmp_path / "run")
    line = "phase 2 (saie) never beat its start on the development problems: 62.5% at the start, at most 62.5% since"
    assert said.count(line) == 1
    assert told(tmp_path / "run")["development"] == [
        {"phase": 2, "method": "saie", "measure": "accuracy", "start": 0.625, "highest": 0.625, "beat_its_start": False}
    ]


def test_a_listener_that_stops_the_run_at_an_evaluation_does_so_with_its_best_learner(tmp_path):
    def stop(result):
        raise RunStopped("good enough")

    with pytest.raises(RunStopped, match="good enough"):
        train(Recipe.of(RECIPE), tmp_path / "run", display=Display(quiet=True), on_evaluation=stop)
    [line] = of(tmp_path / "run", "development")
    assert checkpoint.read_usage(tmp_path / "run" / "checkpoints" / "best").origin.problems == line["at"]


def test_test_problems_without_an_answer_are_refused_before_training(tmp_path):
    rows = [{"prompt": f"{n}?", "answer": str(n)} for n in range(8)]
    task = {"kind": "table", "train": rows, "development_size": 0, "test": [{"prompt": "nine?"}]}
    with pytest.raises(ConfigError, match=r"1 of the test problems have no answer, .* set test_problems = 0"):
        train(Recipe.read({"task": task, "phase": [{"method": "sft"}]}), tmp_path / "run", display=Display(quiet=True))
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_the_same_learner_is_asked_once(asked, tmp_path):
    asked += [1, 2, 3, 4, 5, 6, 7, 8, 6]
    result, said = go(tmp_path / "run")
    assert not asked
    found = told(tmp_path / "run")
    assert score(found) == score(found["final"]) == 6 / 8
    assert found["origin"] == found["final"]["origin"]
    assert said.count("test accuracy") == 1
    assert "best learner (also the final one), from phase 2 (saie), round 2, step " in said
    assert score(result.test) == score(result.final_test)


def test_the_figures_of_a_finished_run_are_made_again_where_they_are_damaged(tmp_path, monkeypatch):
    go(tmp_path / "run")
    path = tmp_path / "run" / "evaluation.json"
    whole = path.read_bytes()
    for damage in (None, b"", whole[:300], b"\xff\x00", b"[1]", b'{"measures": {}}'):
        path.unlink() if damage is None else path.write_bytes(damage)
        go(tmp_path / "run")
        assert path.read_bytes() == whole
    monkeypatch.delattr(LanguageModel, "sample")
    go(tmp_path / "run")


def test_an_evaluation_that_stops_closes_its_journal_and_keeps_it(tmp_path, monkeypatch):
    closed: list[tuple[str, bool]] = []

    class Watched(Journal):
        def close(self, keep: bool = True) -> None:
            closed.append((self.path.name, keep))
            super().close(keep)

    async def stops(*_, **__):
        raise RunStopped("the disk is full")

    monkeypatch.setattr("sparring.runs.selection.Journal", Watched)
    monkeypatch.setattr("sparring.runs.selection.measure_problems", stops)
    with pytest.raises(RunStopped):
        go(tmp_path / "run")
    assert [keep for name, keep in closed if name.startswith("evaluation-")] == [True]
