"""The wheel carries all that is needed: installed into an environment of its own, it runs outside the repository."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.processes import finished

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    finished([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT])
    (built,) = folder.glob("sparring-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel in it; what the wheel depends on is lent from this environment, without what
    is installed here in editable form (a `.pth` file of a folder on a `.pth` line is not read)."""
    folder = tmp_path_factory.mktemp("environment")
    finished([sys.executable, "-m", "venv", "--without-pip", folder])
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    finished([sys.executable, "-m", "pip", "--python", python, *install])
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def program(environment, tmp_path):
    """Runs a program of the environment in an empty folder outside the repository."""

    def run(*words: str, name: str = "sparring") -> str:
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        clean["OMP_NUM_THREADS"] = "1"  # tests run side by side
        once = ()  # a run that was begun is in its folder: a second try would be refused
        return finished([environment / "bin" / name, *words], once, cwd=tmp_path, env=clean).stdout

    return run


def test_the_wheel_holds_the_package_with_its_recipes_and_words_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "sparring"
    wanted = {
        str(path.relative_to(ROOT / "src"))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"sparring/recipes/sft.toml", "sparring/tasks/words.txt", "sparring/py.typed"} <= wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_program_comes_from_the_wheel(environment, program):
    told = program("-c", "import sparring; print(sparring.__file__)", name="python").strip()
    assert Path(told).is_relative_to(environment)


def test_a_recipe_of_the_wheel_is_listed_and_trained(program, tmp_path):
    listed = program("list", "recipes")
    for name in ("sft", "saie", "tripost", "thought_preference", "response_preference", "curriculum"):
        assert f"  {name} " in listed
    small = ("task.train=32", "task.development=8", "task.test=8", "phase.1.epochs=1", "phase.2.rounds=1")
    program("train", "sft", "--run", "first", *(word for setting in small for word in ("--set", setting)))
    assert (tmp_path / "first" / "checkpoints" / "best" / "model.safetensors").exists()


def test_the_demo_runs_outside_the_repository(program, tmp_path):
    program("demo", "--methods", "sft", "--run", "here")
    told = json.loads((tmp_path / "here" / "summary.json").read_text())
    assert told["methods"]["sft"]["accuracy"] > told["methods"]["sft"]["start"] > 0
