"""A recipe to change, a finished run of it, and one of adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.cli.program import RECIPE, refused, sparring_


@pytest.fixture(autouse=True, scope="module")
def _no_hub():
    """The hub is not asked: what is not here is not found, and at once."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    yield
    huggingface_hub.constants.HF_HUB_OFFLINE = before


@pytest.fixture
def recipe(tmp_path) -> Callable[..., Path]:
    """Writes RECIPE, with replacements, to a file."""

    def write(*changes: tuple[str, str], name: str = "recipe.toml") -> Path:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def mistaken(recipe, tmp_path) -> Callable[..., str]:
    """Trains by a recipe with `sets` over it, sees that it is refused and that no folder of a run is left behind."""

    def train(*sets: str, says: tuple[str, ...], path: Path | None = None) -> str:
        options = [word for setting in sets for word in ("--set", setting)]
        line = refused("train", path or recipe(), "--run", tmp_path / "run", *options, says=says)
        assert not (tmp_path / "run").exists(), "a folder is left behind, so the mended recipe is refused"
        return line

    return train


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A finished run of RECIPE."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "recipe.toml").write_text(RECIPE)
    said = sparring_("train", folder / "recipe.toml", "--run", folder / "run")
    assert said.code == 0, said
    assert f"sparring talk {folder / 'run'}" in said.out
    return folder / "run"


@pytest.fixture(scope="session")
def adapted(run, tmp_path_factory) -> Path:
    """A run that trains LoRA adapters on the learner of `run`."""
    folder = tmp_path_factory.mktemp("lora")
    (folder / "recipe.toml").write_text(RECIPE)
    base = run / "checkpoints" / "final"
    said = sparring_(
        "train", folder / "recipe.toml", "--run", folder / "run", "--set", f"learner.model={base}",
        "--set", "learner.lora.rank=4", "--set", "trainer.learning_rate=1e-2",
    )  # fmt: skip
    assert said.code == 0, said
    return folder / "run"
