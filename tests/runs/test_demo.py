"""The demo: arms side by side from shared warm-ups, a table and a summary that other programs can read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import sparring.runs.demo
from sparring.cli.main import main
from sparring.common.errors import ConfigError
from sparring.config.factory import METHODS
from sparring.config.recipe import load_table
from sparring.core.evaluation import score
from sparring.runs.demo import ARMS, run_demo
from tests.cli.program import sparring_

FIGURES = {
    "start", "accuracy", "low", "high", "final", "seconds", "gradient_tokens", "origins", "further"
}  # fmt: skip
NAMES = ("sft", "saie", "tripost", "response_preference")


def shrunk(name: str) -> dict[str, Any]:
    """The shipped recipe, of a size that takes a second."""
    table = load_table(name)
    table["task"] |= {"train": 24, "development": 6, "test": 6}
    table["run"] |= {"evaluate_every": 0, "max_learner_failures": 1.0}
    for phase in table["phase"]:
        phase |= {"rounds": 1, "epochs": 1, "max_tokens": 16}
        phase |= {"problems": min(24, phase.get("problems", 24))}
        phase |= {key: 2 for key in ("samples", "updates") if key in phase}
        if "judge" in phase:
            phase["judge"]["wrong"] = 0.5  # an untrained learner is never right: errors make preferences
    return table


@pytest.fixture(autouse=True)
def _small(request, monkeypatch):
    if "long" not in request.keywords:
        shrink(monkeypatch)


def shrink(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sparring.runs.demo, "load_table", shrunk)
    patch.setattr(sparring.runs.demo, "GRADIENT_TOKENS", 500)
    patch.setattr(sparring.runs.demo, "run_arm", run_shrunk)


def run_shrunk(arm: sparring.runs.demo.Arm) -> float:
    """Run an arm in the demo's process pool, which does not see the patches of this process."""
    sparring.runs.demo.FURTHER_PROBLEMS = 3
    return sparring.runs.demo.run_arm(arm)  # the real one: the process is new


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a small demo of four arms under two seeds, and what was printed."""
    folder, out = tmp_path_factory.mktemp("demo") / "run", io.StringIO()
    names = "sft,saie, tripost,response_preference"
    arguments = ["demo", "--methods", names, "--run", str(folder), "--seed", "3", "--seeds", "2"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        shrink(patch)
        patch.setattr(sys, "argv", ["sparring", *arguments])
        patch.setenv("COLUMNS", "220")
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    return folder, out.getvalue()


def lines(folder: Path, kind: str) -> list[dict]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


def test_the_summary_has_the_figures_of_every_arm_over_its_seeds(shown):
    folder, _ = shown
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) == {"seconds", "seeds", "gradient_tokens", "methods"}
    assert (list(summary["methods"]), summary["seeds"]) == (list(NAMES), [3, 4])
    for name, figures in summary["methods"].items():
        assert set(figures) == FIGURES
        assert 0 <= figures["low"] <= figures["accuracy"] <= figures["high"] <= 1
        tests = [lines(folder / f"{name}-{seed}", "test") for seed in (3, 4)]
        assert figures["start"] == pytest.approx(fmean(score(start) for start, _ in tests))
        assert figures["accuracy"] == pytest.approx(fmean(score(end) for _, end in tests))
        assert figures["origins"] == [end["origin"] for _, end in tests]
        finals = [lines(folder / f"{name}-{seed}", "test_final")[-1] for seed in (3, 4)]
        assert figures["final"] == pytest.approx(fmean(map(score, finals)))


def test_every_arm_gets_the_same_gradient_tokens_after_its_warm_up(shown):
    folder, _ = shown
    for name in NAMES:
        used = [line["gradient_tokens"] for line in lines(folder / f"{name}-3", "round") if line["phase"] == 2]
        assert used[-1] >= 500  # the step that reaches the budget is the last one
        assert all(tokens < 500 for tokens in used[:-1])


def test_the_second_table_shows_what_each_method_is_for(shown):
    folder, printed = shown
    further = {name: figures["further"] for name, figures in
               json.loads((folder / "summary.json").read_text())["methods"].items()}  # fmt: skip
    assert "self_improvement" in further["tripost"]  # an untrained learner has no answer to put under pressure
    assert further["response_preference"] == {}
    for row in ("right after own feedback", "fixed by own feedback", "broken by own feedback"):
        (line,) = [line for line in printed.splitlines() if row in line]
        assert "tripost" in line
    values = [
        json.loads(line)["measures"]["right_first"]
        for seed in (3, 4)
        for line in (folder / f"tripost-{seed}" / "self_improvement" / "problems.jsonl").read_text().splitlines()
    ]
    assert further["tripost"]["self_improvement"]["right_first"]["value"] == pytest.approx(fmean(values))


def test_the_table_shows_every_arm_and_how_to_go_on(shown):
    folder, printed = shown
    summary = json.loads((folder / "summary.json").read_text())
    for name, figures in summary["methods"].items():
        row = next(line for line in printed.splitlines() if line.split()[:1] == [name])
        assert f"{figures['start']:.1%}" in row
        assert f"{figures['accuracy']:.1%}" in row
        assert f"{100 * (figures['accuracy'] - figures['start']):+.1f}" in row
        assert f"{figures['gradient_tokens']:,}" in row
        (progress,) = json.loads((folder / f"{name}-3" / "evaluation.json").read_text())["development"]
        assert (f"{name}-3: phase 2 " in printed) == (not progress["beat_its_start"])
    joined = printed.replace("\n", "")
    assert "summary.json" in joined
    assert "sparring talk" in printed
    assert "one seed" not in printed
    compared = sparring_("compare", f"{folder}/sft-*", f"{folder}/saie-*")
    assert compared.code == 0, compared
    assert "seeds 3, 4, paired" in " ".join(compared.out.split())


def test_arms_that_begin_alike_share_a_warm_up_that_is_run_once(shown):
    folder, _ = shown
    warm_ups = sorted(path.name for path in folder.glob("warm-up-*"))
    assert len(warm_ups) == 4  # for each seed: one of sft, saie and tripost; response_preference has its own
    arms = [f"{name}-{seed}" for name in NAMES for seed in (3, 4)]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted([*warm_ups, *arms])
    starts = {name: lines(folder / f"{name}-3", "test")[0] for name in ("sft", "saie", "tripost")}
    assert starts["sft"] == starts["saie"] == starts["tripost"]
    first = "rounds/1-sft/0001/experience.jsonl"
    taught = {(folder / f"{name}-3" / first).read_bytes() for name in starts}
    assert len(taught) == 1


def test_each_arm_is_a_run_of_one_thread_with_the_seed_and_a_learner_to_talk_to(shown):
    folder, _ = shown
    for name in NAMES:
        run = json.loads((folder / f"{name}-4" / "run.json").read_text())
        assert (run["status"], run["seed"], run["threads"]) == ("finished", 4, 1)
        assert (folder / f"{name}-4" / "checkpoints" / "best" / "model.safetensors").exists()


def test_every_line_of_metrics_is_read_once(tmp_path, monkeypatch):
    """The display of a demo that lasts: it reads what is new, and says whether there is anything to show."""
    path, read = tmp_path / "metrics.jsonl", []
    real = sparring.runs.demo.json_lines

    def counted(path, start):
        for row in real(path, start):
            read.append(row.start)
            yield row

    monkeypatch.setattr(sparring.runs.demo, "json_lines", counted)
    watched = sparring.runs.demo.Monitor(tmp_path)
    assert not watched.update()
    figures = '"primary": "accuracy", "measures": {"accuracy": {"value": 0.5}}'
    step, line = '{"kind": "step"}\n', f'{{"kind": "development", {figures}}}\n{{"kind": "round"}}\n'
    for text, news in ((step * 3, False), (line, True), ("", False), (step[:5], False), (step[5:] + line, True)):
        with path.open("a") as file:
            file.write(text)
        assert watched.update() == news
    assert (watched.rounds, watched.development) == (2, 0.5)
    assert len(read) == len(set(read)) == len(path.read_text().splitlines())


def test_every_method_but_one_baseline_and_one_for_ranked_rows_has_an_arm():
    assert {*ARMS, "lmsi", "dpo"} == set(METHODS)


def test_an_unknown_arm_is_named_before_anything_is_run(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown arm of the demo 'tripos' .did you mean 'tripost'"):
        run_demo(tmp_path / "run", (0,), ("sft", "tripos"))
    with pytest.raises(ConfigError, match="names no arm; choose from sft, saie"):
        run_demo(tmp_path / "run", (0,), ())
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20)  # it is refused at once, or not at all
def test_an_arm_named_twice_is_named_before_anything_is_run(tmp_path):
    with pytest.raises(ConfigError, match="sft"):
        run_demo(tmp_path / "run", (0,), ("sft", "sft"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"is not an empty folder; choose another folder with --run"):
        run_demo(tmp_path, (0,), ("sft",))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_demo_keeps_its_promises(tmp_path):
    """The figures of the project: on two cores with nothing else to do."""
    subprocess.run(
        [sys.executable, "-m", "sparring.cli.main", "demo", "--run", tmp_path / "run"], check=True, env={**os.environ}
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    methods = summary["methods"]
    assert set(methods) == set(ARMS)
    assert summary["seconds"] <= 300
    gains = {name: methods[name]["accuracy"] - methods[name]["start"] for name in ARMS}
    for name in ("sft", "saie", "tripost"):
        assert gains[name] >= 0.15, (name, methods[name])
    assert gains["thought_preference"] >= 0.04, methods["thought_preference"]
