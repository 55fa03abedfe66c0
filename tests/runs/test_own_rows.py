"""A run over rows of a program's memory is whole: it resumes, is bundled and is replayed without the program."""

import json

import pytest

from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.runs.bundle import bundle
from sparring.runs.display import Display
from sparring.runs.replay import replay
from sparring.runs.run import train

ROWS = [{"prompt": f"q{n}", "completion": f"r{n}"} for n in range(8)]


def recipe(rows, rounds=1) -> Recipe:
    task = {"kind": "table", "train": rows, "development_size": 1, "test_size": 1}
    phase = {"method": "sft", "rounds": rounds}
    return Recipe.read({"learner": {"model": "tiny"}, "task": task, "phase": [phase], "run": {"threads": 1}})


def test_its_rows_lie_in_its_folder(tmp_path):
    folder, quiet = tmp_path / "run", Display(quiet=True)
    result = train(recipe(ROWS), folder, display=quiet)
    assert [json.loads(line) for line in (folder / "rows" / "train.jsonl").read_text().splitlines()] == ROWS
    again = train(recipe(ROWS), folder, resume=True, display=quiet)
    assert again.origin == result.origin
    written = train(Recipe.read(str(folder / "recipe.toml")), folder, resume=True, display=quiet)
    assert written.origin == result.origin
    with pytest.raises(ConfigError, match="was started with other rows in train; give the same"):
        train(recipe(ROWS[1:]), folder, resume=True, display=quiet)
    with pytest.raises(ConfigError, match="already contains a run"):
        train(recipe(ROWS), folder, display=quiet)
    path, manifest = bundle(folder, tmp_path / "bundle.tar.gz")
    assert "files/task.train/train.jsonl" in manifest.files
    (folder / "rows" / "train.jsonl").unlink()
    assert replay(path, tmp_path / "replay", display=quiet).same
