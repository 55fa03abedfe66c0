"""The house style that a machine can hold: sizes, names, and what may stand in the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

import sparring

PACKAGE = Path(sparring.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
BANNED = ("Manager", "Handler", "Base", "Config", "Utils")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_files_are_short():
    assert {path.name: lines(path) for path in SOURCES if lines(path) > 400} == {}
    assert median(map(lines, SOURCES)) <= 150


def test_functions_are_short():
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 50:
                    found[f"{path.name}:{node.name}"] = length
    assert found == {}


def test_every_module_says_its_one_idea():
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_names_are_words_of_the_field():
    names = [
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name in names if name.endswith(BANNED) and name != "ConfigError"] == []


def test_nothing_is_evaluated_and_no_remote_code_is_trusted():
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not called & {"eval", "exec"}, path
        assert "trust_remote_code=True" not in path.read_text(), path


def test_the_public_names_are_all_there():
    for name in sparring.__all__:
        assert getattr(sparring, name).__doc__ or name in ("Experience", "Offer", "Split", "Stance"), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sparring.nothing


def test_no_public_name_means_two_things():
    """A verb of the command line bears the name of what it does, and is exempt."""
    homes = defaultdict(set)
    for path in SOURCES:
        if path.parent.name == "cli":
            continue
        for node in ast.parse(path.read_text()).body:
            for name in defined(node):
                if not name.startswith("_"):
                    homes[name].add(path.relative_to(PACKAGE).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_the_top_of_the_package_fits_on_a_screen():
    assert len([path for path in PACKAGE.iterdir() if not path.name.startswith("_")]) <= 20
