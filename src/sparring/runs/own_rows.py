"""Puts rows that a program held in memory into the run's folder, where resuming, bundles and replays find them."""

from __future__ import annotations

import filecmp
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError
from sparring.common.files import writing
from sparring.common.rows_in_memory import is_ours
from sparring.common.schema import TABLE, marked
from sparring.config.recipe import Recipe
from sparring.runs.folder import RECIPE

FOLDER = "rows"


def with_own_rows(recipe: Recipe, run: Path) -> Recipe:
    """Copy rows from memory into the folder `run` and return the recipe with their paths.

    ConfigError if the run in the folder was started with other rows.
    """
    task: Any = recipe.task
    sources = {key: getattr(task, key) for key in marked(type(task), TABLE) if getattr(task, key) is not None}
    held = {key: Path(source) for key, source in sources.items() if is_ours(source)}
    if not held:
        return recipe
    paths = {key: run / FOLDER / f"{key}.jsonl" for key in held}
    for key, path in paths.items():
        is_run = (run / RECIPE).exists()
        if path.exists() and is_run and not filecmp.cmp(held[key], path, shallow=False):
            raise ConfigError(f"{run} was started with other rows in {key}; give the same, or choose another folder")
        if not is_run:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(held[key], path)
    return replace(recipe, task=replace(task, **{key: str(path) for key, path in paths.items()}))
