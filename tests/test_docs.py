"""What README and docs show is run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sparring.config.recipe import Recipe, shipped_recipes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list:
    """The blocks of a language that are whole, each named by its page and line."""
    return [
        pytest.param(text, id=f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
        for found, more, text in [match.groups()]
        if found == language and "fragment" not in more
    ]


@pytest.mark.parametrize("text", blocks("toml"))
def test_recipes_that_are_shown_are_recipes(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in set(re.findall(r'"(data/[\w.]+)"', text)):  # a user's own files stand for themselves
        (tmp_path / "data").mkdir(exist_ok=True)
        rows = (
            f'{{"question": "q{n}", "prompt": "q{n}", "answer": "{n}", "rationale": "so {n}"}}\n' for n in range(40)
        )
        (tmp_path / name).write_text("".join(rows))
    Recipe.of(tomllib.loads(text))


@pytest.mark.parametrize("text", blocks("python"))
def test_programs_that_are_shown_run(text, tmp_path):
    subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("text", blocks("console"))
def test_commands_that_are_shown_exist(text):
    """Every verb and option is known; what takes minutes is run by other tests."""
    for line in re.findall(r"^\$ (sparring .+)$", text, re.MULTILINE):
        words = re.sub(r"\s+#.*", "", line).split()
        help_text = subprocess.run(
            [sys.executable, "-m", "sparring.cli.main", words[1], "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in (word.split("=")[0] for word in words if word.startswith("--")):
            assert option in help_text, line
        if words[1] == "train":
            assert words[2] in shipped_recipes() or words[2].endswith(".toml"), line


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_key_of_a_recipe_is_undocumented():
    told = (ROOT / "docs" / "recipes.md").read_text()
    from sparring.common.schema import keys
    from sparring.config.factory import METHODS
    from sparring.config.recipe import LedgerSettings, Phase, RunSettings
    from sparring.models.source import ModelSource
    from sparring.training.settings import TrainerSettings

    for kind in (ModelSource, TrainerSettings, RunSettings, LedgerSettings, Phase):
        missing = [name for name in keys(kind) if f"`{name}`" not in told]
        assert missing == [], kind
    for name in METHODS:
        pages = {"response_preference": "thought_preference"}
        page = (ROOT / "docs" / "methods" / f"{pages.get(name, name)}.md").read_text()
        assert [key for key in keys(METHODS[name]) if f"`{key}`" not in page] == [], name


def test_no_protocol_and_no_key_of_one_is_undocumented():
    from sparring.common.schema import keys
    from sparring.config.factory import PROTOCOLS

    page = (ROOT / "docs" / "protocols.md").read_text()
    sections = dict(zip(*[iter(re.split(r"^## (\w+)\n", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    for name in PROTOCOLS:
        assert [key for key in keys(PROTOCOLS[name]) if f"`{key}`" not in sections[name]] == [], name
        assert f"| `{PROTOCOLS[name].primary}` |" in sections[name], name


def test_the_architecture_names_every_package_and_the_files_of_its_walk():
    page = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "src" / "sparring"
    packages = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    rows = re.findall(r"^\| *(\d*) \| `(\w+)/` \|", page, re.MULTILINE)
    assert {name for _, name in rows} == packages
    assert max(int(number) for number, _ in rows if number) <= 10
    walk = ["cli/train.py", *re.findall(r"[├└] ([a-z]+/[a-z_/]*(?:\.py)?)", page)]
    assert len(walk) > 8
    assert [path for path in walk if not (package / path).exists()] == []


def test_every_invariant_names_tests_that_are_there():
    page = (ROOT / "docs" / "invariants.md").read_text()
    missing, path = [], ROOT
    for file, name in re.findall(r"`(tests/[\w/]+\.py)`|`(test_\w+)`", page):
        path = ROOT / file if file else path
        if name and f"def {name}(" not in path.read_text():
            missing.append(f"{path.name}: {name}")
    assert missing == []
