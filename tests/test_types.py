"""The public interface as a type checker sees it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sparring

ROOT = Path(__file__).parents[1]
RIGHT = """
import random

import sparring

recipe: sparring.Recipe = sparring.Recipe.read("tripost", ["run.threads=1"])
result = sparring.train(recipe, run="runs/first")
print(result.folder.name, sparring.load_learner(result.folder).answer("1+1=").upper())


def score(answer: str, gold: str) -> float:
    return float(gold in answer)


@sparring.judge(threads=2)
async def rewards(completions: list[str]) -> list[float]:
    return [float(len(completion)) for completion in completions]


@sparring.judge
def brevity(answer: str) -> int:
    return -len(answer)


@sparring.task(right=lambda response, gold: response == gold)
def sums(rng: random.Random, top: int = 9) -> tuple[str, int]:
    return f"{rng.randint(0, top)}+1=", 2


def watch(result: sparring.RoundResult) -> None:
    print(result.loss or 0.0 + result.problems, [episode.failed for episode in result.episodes()])


print(brevity("short").bit_length())
sparring.train("sft", "runs/second", judge=score, critic=None or score, on_round=watch)
sparring.train({"task": {"kind": sums}}, "runs/third", judge=rewards, on_evaluation=lambda result: print(result.kind))
for round in sparring.rounds(recipe, "runs/fourth", on_episode=lambda episode: print(episode.notes)):
    print(round.phase + round.round, round.measures["right"])
learner = sparring.load_learner("runs/first")
evaluation: sparring.Evaluation = sparring.evaluate(learner, "tiny", task=sums(top=5), judge=score)
sparring.evaluate("runs/first", task=recipe)
"""
WRONG = [
    ("sparring.Recipe.read(123)", "arg-type"),
    ('sparring.Recipe.read("sft", nonsense=True)', "call-arg"),
    ('sparring.train(7, run="runs/first")', "arg-type"),
    ('sparring.train("sft", run="x", judge=3)', "arg-type"),
    ('sparring.train("sft", run="x", jugde=print)', "call-arg"),
    ('sparring.train("sft", run="x", on_round=lambda result: result.nothing)', "attr-defined"),
    ('sparring.train("sft", run="x", on_episode=lambda: None)', "arg-type"),
    ('[round.nothing for round in sparring.rounds("sft", "x")]', "attr-defined"),
    ('sparring.judge(threads="2")', "call-overload"),
    ("sparring.judge(3)", "call-overload"),
    ("sparring.task(right=3)", "call-overload"),
    ("sparring.evaluate(3)", "arg-type"),
    ('sparring.evaluate("x", task=3)', "arg-type"),
    ('sparring.train(sparring.Recipe.read("sft"), run="x").nothing', "attr-defined"),
    ('sparring.load_learner("runs/first").answer(1)', "arg-type"),
    ("sparring.Nothing", "attr-defined"),
]


@pytest.fixture(scope="module")
def complaints(tmp_path_factory) -> dict[str, str]:
    """What mypy, strict, says of the right program and of each wrong one."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("types")
    programs = {"right": RIGHT, **{code: f"import sparring\n\n{code}\n" for code, _ in WRONG}}
    paths = {code: folder / f"program_{number}.py" for number, code in enumerate(programs)}
    for code, path in paths.items():
        path.write_text(programs[code])
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run([*command, *map(str, paths.values())], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    return {code: "\n".join(line for line in lines if f"{path.name}:" in line) for code, path in paths.items()}


def test_a_right_program_passes(complaints):
    assert complaints["right"] == ""


@pytest.mark.parametrize(("code", "kind"), WRONG)
def test_a_wrong_program_does_not(code, kind, complaints):
    assert f"[{kind}]" in complaints[code]


def test_type_checkers_and_python_see_the_same_names():
    tree = ast.parse(Path(sparring.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(seen) == sparring.__all__
    for name, module in seen.items():
        assert getattr(sparring, name) is getattr(importlib.import_module(module), name)
