"""Names that installed packages add: found without an import, and a broken package is one line of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparring
from sparring.common.errors import ConfigError
from sparring.common.registry import Catalogue
from sparring.config.factory import METHODS, PARTNERS, PROTOCOLS, SPEAKERS, TASKS

GOOD = '''
"""Parts of our own."""

import random
from dataclasses import dataclass
from typing import ClassVar

import sparring
from sparring import LINES, Pool, Problem, question


@dataclass(frozen=True)
class Riddles:
    """Riddles to be solved."""

    name: ClassVar[str] = "riddles"
    layout: ClassVar = LINES
    train: int = 8

    def problems(self, split):
        draw = lambda rng, split: Problem(f"{rng.random()}", question("?"), gold="!")
        return Pool(draw, 0, self.train, 2, 2).problems(split)

    def is_right(self, problem, response):
        return response == problem.gold


@dataclass(frozen=True)
class Echo:
    """Says what it hears."""

    name: ClassVar[str] = "echo"
    words: str = "indeed"

    async def reply(self, chat, sampling, sample=0):
        return sparring.text_reply(self.words, "partner")


@dataclass(frozen=True)
class Sage:
    """Knows."""

    name: ClassVar[str] = "sage"
    needs: ClassVar[frozenset] = frozenset()

    async def remark(self, problem, chat, stance, rng):
        return "I know."


def brief(answer):
    return -len(answer)
'''
ENTRY_POINTS = """
[console_scripts]
riddle = parts_of_ours:main

[sparring.tasks]
riddles = parts_of_ours:Riddles
gsm8k = parts_of_ours:Riddles

[sparring.speakers]
echo = parts_of_ours:Echo

[sparring.partners]
sage = parts_of_ours:Sage
brief = parts_of_ours:brief
"""
BROKEN = """
[sparring.tasks]
rotten = no_such_module:Task
notask = json:dumps
twice = json:loads

[sparring.partners]
moody = no_such_module:Judge
"""
FIRST = {"method": "sft", "max_tokens": 8}


def install(site: Path, name: str, entry_points: str, summary: str = "") -> None:
    """A package as `pip install --target` leaves it."""
    folder = site / f"{name.replace('-', '_')}-1.2.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{summary}")
    (folder / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder of installed packages: a good one, and two that are broken in every way."""
    install(tmp_path, "parts-of-ours", ENTRY_POINTS, "Summary: Riddles for learners.\n")
    (tmp_path / "parts_of_ours.py").write_text(GOOD)
    install(tmp_path, "rotten-parts", BROKEN)
    install(tmp_path, "more-parts", "[sparring.tasks]\ntwice = json:loads\n")
    install(tmp_path, "torn-parts", "[sparring.tasks\nx = \n===")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def recipe(task: dict, **phase) -> sparring.Recipe:
    return sparring.Recipe.of({"task": task, "phase": [FIRST | phase]})


def test_names_of_packages_are_found_listed_and_suggested_without_an_import(site):
    assert {"riddles", "rotten", "gsm8k", "word_sorting"} <= set(TASKS)
    assert "riddles" in TASKS
    for name in ("ridles", "no_name_at_all"):
        with pytest.raises(ConfigError, match=r"choose from .*riddles"):
            _ = TASKS[name]
    assert TASKS.plugins()["riddles"].describe() == "From the package parts-of-ours 1.2: Riddles for learners."
    assert TASKS.plugins()["rotten"].describe() == "From the package rotten-parts 1.2: no summary."
    assert "parts_of_ours" not in sys.modules


def test_a_task_a_speaker_a_partner_and_a_function_of_a_package_work_by_name_and_resume_by_path(site):
    made = recipe({"kind": "riddles", "train": 4})
    assert len(made.task.problems("train")) == 4
    assert made.table()["task"]["kind"] == "parts_of_ours.Riddles"
    for by, settings in (("sage", {}), ("echo", {"words": "so"})):
        made = recipe({"kind": "multistep_arithmetic"}, method="saie", discussant={"by": by, **settings})
        assert sparring.Recipe.of(made.table()) == made
    assert made.phases[0].method.discussant.speaker.words == "so"
    made = recipe({"kind": "multistep_arithmetic"}, method="response_preference", judge={"by": "brief"})
    assert made.table()["phase"][0]["judge"] == {"by": "function", "function": "parts_of_ours.brief"}
    assert sparring.Recipe.of(made.table()) == made


def test_a_name_of_this_package_is_never_replaced(site):
    assert TASKS["gsm8k"].__module__ == "sparring.tasks.gsm8k"


@pytest.mark.parametrize(
    ("catalogue", "name", "message"),
    [
        (TASKS, "rotten", "cannot load the task 'rotten' of the package rotten-parts: ModuleNotFoundError: .*update"),
        (TASKS, "notask", "the task 'notask' of the package rotten-parts is not a dataclass"),
        (TASKS, "twice", "the task 'twice' is declared by the packages .*-parts and .*-parts; uninstall one"),
        (PARTNERS, "moody", "cannot load the partner 'moody' of the package rotten-parts"),
    ],
)
def test_a_broken_package_is_one_line_and_breaks_no_other_name(catalogue, name, message, site):
    with pytest.raises(ConfigError, match=message):
        _ = catalogue[name]
    assert TASKS["riddles"].__name__ == "Riddles"
    recipe({"kind": "multistep_arithmetic"}, method="saie", discussant={"by": "echo"})


def test_every_kind_of_part_has_a_group():
    groups = [catalogue.package for catalogue in (METHODS, TASKS, PARTNERS, SPEAKERS, PROTOCOLS)]
    assert groups == [f"sparring.{kind}" for kind in ("methods", "tasks", "partners", "speakers", "protocols")]
    assert isinstance(Catalogue("sparring.tasks", "task").plugins(), dict)


def test_the_list_shows_packages_and_imports_none(site):
    program = "import sys; from sparring.cli.main import app; app(['list', 'tasks'], standalone_mode=False)"
    check = f"{program}; assert 'parts_of_ours' not in sys.modules"
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["riddles", "From the package parts-of-ours 1.2: Riddles for learners."] in lines
    assert sum(line[0] == "gsm8k" for line in lines) == 1
