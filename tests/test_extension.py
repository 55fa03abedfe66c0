"""One more file adds a method, a task, a partner; taken away again, it is gone and nothing else has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sparring

METHOD = '''
"""Learns from its own right answers: rejection sampling."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from sparring import LEARNER, Candidate, Demonstration, Episode, Likelihood, Sampling, Schedule, answered


@dataclass(frozen=True)
class OwnBest:
    """Imitates those of its own replies that are right, or gold where there is none."""

    name: ClassVar[str] = "own_best"
    needs: ClassVar[frozenset] = frozenset({"gold"})
    schedule: ClassVar[Schedule] = Schedule(problems=None, epochs=1, lifetime="round")

    samples: int = 2
    max_tokens: int = 24
    consults: ClassVar[int] = 0
    objective: ClassVar[Likelihood] = Likelihood()

    async def interact(self, problem, task, learner, rng):
        sampling = Sampling(max_tokens=self.max_tokens)
        replies = await asyncio.gather(*(learner.reply(problem.chat, sampling, n) for n in range(self.samples)))
        scores = [float(task.is_right(problem, reply.text)) for reply in replies]
        candidates = [Candidate(r.by(LEARNER), score=s) for r, s in zip(replies, scores)]
        return Episode(problem, problem.chat, tuple(candidates), notes={"right": max(scores) > 0})

    def harvest(self, episodes, consulted, layout, rng):
        taught = []
        for e in episodes:
            own = [c.message.with_weight(1.0) for c in e.candidates if c.score]
            gold = e.problem.chat.say(LEARNER, e.problem.rationale or e.problem.gold).last.with_weight(1.0)
            taught.append(Demonstration(e.problem.id, e.chat.then((own or [gold])[0])))
        return taught

    async def answer(self, question, learner, layout):
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return answered(question, reply.require_complete().by(LEARNER))
'''

TASK = '''
"""Words to be written backwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from sparring import LINES, Pool, Problem, question


@dataclass(frozen=True)
class Backwards:
    """A word, to be written backwards."""

    name: ClassVar[str] = "backwards"
    layout: ClassVar = LINES

    letters: int = 3
    train: int = 32
    development: int = 8
    test: int = 8
    seed: int = 0

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._draw, self.seed, self.train, self.development, self.test)

    def _draw(self, rng, split) -> Problem:
        word = "".join(rng.choice("abcdef") for _ in range(self.letters))
        return Problem(word, question(f"backwards: {word}"), gold=word[::-1])

    def problems(self, split) -> Sequence[Problem]:
        return self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        return self._pool.endless()

    def is_right(self, problem: Problem, response: str) -> bool:
        return response.strip() == problem.gold
'''

PARTNER = '''
"""A discussant that says the same to everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Placebo:
    """Says `words` whatever the learner has said."""

    name: ClassVar[str] = "placebo"
    needs: ClassVar[frozenset] = frozenset()

    words: str = "Please look again."

    async def remark(self, problem, chat, stance, rng):
        return self.words
'''

SMALL = """
[learner]
model = "tiny"

[task]
{task}

[[phase]]
{phase}

[trainer]
learning_rate = 1e-3
batch_size = 8

[run]
threads = 1
max_learner_failures = 1.0
"""

ARITHMETIC = 'kind = "multistep_arithmetic"\ntrain = 32\ndevelopment = 8\ntest = 8'
RECIPES = {
    "methods": (ARITHMETIC, 'method = "own_best"\nsamples = 3'),
    "tasks": ('kind = "backwards"\nletters = 4\nproblems = "fresh"', 'method = "sft"\nmax_tokens = 8'),
    "partners": (
        ARITHMETIC,
        'method = "saie"\nproblems = 32\nmax_tokens = 24\n[phase.discussant]\nby = "placebo"\nwords = "Hm."',
    ),
}
FILES = {"methods": ("own_best", METHOD), "tasks": ("backwards", TASK), "partners": ("placebo", PARTNER)}
UNKNOWN = {"methods": "unknown method 'own_best'", "tasks": "unknown task 'backwards'",
           "partners": "unknown partner 'placebo'"}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A folder with a copy of the package in it."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(sparring.__file__).parent, folder / "sparring", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def program(copy: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Runs command lines of the copied package, one after the other, in one process that is not this one."""
    calls = [
        "import shlex, sys, sparring",
        f"assert sparring.__file__.startswith({str(copy)!r}), sparring.__file__",
        "from sparring.cli.main import app, main",
        "from sparring.common.errors import SparringError",
        "for line in sys.argv[1:]:",
        "    try:",
        "        app(shlex.split(line), standalone_mode=False)",
        "    except SparringError as error:",
        "        sys.exit(str(error))",
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", "\n".join(calls), *lines],
        capture_output=True, text=True, env=environment, cwd=copy, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("folder", ["methods", "tasks", "partners"])
def test_one_more_file_adds_it_and_one_file_less_takes_it_away(folder, copy, tmp_path):
    name, source = FILES[folder]
    task, phase = RECIPES[folder]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(SMALL.format(task=task, phase=phase))
    added = copy / "sparring" / folder / f"{name}.py"
    added.write_text(source)

    done = program(
        copy,
        f"list {folder}",
        f"train {recipe} --run {tmp_path / 'run'}",
        f"evaluate {tmp_path / 'run'} --problems 4 --run {tmp_path / 'evaluation'}",
    )
    assert done.returncode == 0, done.stderr
    summary = source.split('    """')[1].split('"""')[0]
    assert any(line.split(maxsplit=1) == [name, summary] for line in done.stdout.splitlines())
    assert (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").exists()
    assert name in (tmp_path / "run" / "recipe.toml").read_text()
    assert (tmp_path / "evaluation" / "results.json").exists()

    added.unlink()
    gone = program(copy, f"list {folder}", f"train {recipe} --run {tmp_path / 'again'}")
    assert gone.returncode == 1
    assert name not in gone.stdout
    assert UNKNOWN[folder] in gone.stderr
    assert "Traceback" not in gone.stderr
    assert not (tmp_path / "again").exists()


def test_a_class_outside_the_package_is_used_by_its_dotted_path(tmp_path, monkeypatch):
    """What need not be in the package is named as `module.Class`."""
    (tmp_path / "outside.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    table = {"task": {"kind": "outside.Backwards", "letters": 5}, "phase": [{"method": "sft"}]}
    recipe = sparring.Recipe.of(table)
    assert recipe.task.problems("test")[0].gold == recipe.task.problems("test")[0].id[::-1]
    assert sparring.Recipe.of(recipe.table()) == recipe
    assert recipe.table()["task"]["kind"] == "outside.Backwards"
