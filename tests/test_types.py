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
import sparring

recipe: sparring.Recipe = sparring.Recipe.read("tripost", ["run.threads=1"])
result = sparring.train(recipe, run="runs/first")
print(result.folder.name, sparring.load_learner(result.folder).answer("1+1=").upper())
"""
WRONG = [
    ("sparring.Recipe.read(123)", "arg-type"),
    ('sparring.Recipe.read("sft", nonsense=True)', "call-arg"),
    ('sparring.train("sft", run="runs/first")', "arg-type"),
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
