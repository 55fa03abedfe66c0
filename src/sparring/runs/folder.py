"""A run's folder: which recipe it was begun with, whether it may be gone on with, and how it stands.

Not here: who works in it (`occupancy`), and what stands in its checkpoints (`checkpoint`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from sparring.runs.environment import circumstances
from sparring.common.errors import ConfigError
from sparring.common.files import write_json, write_whole, writing
from sparring.runs.lock import HOLDER, LOCK
from sparring.config.recipe import Recipe, fixed
from sparring.runs.recording import STATUS, begin
from sparring.common.schema import differences

RECIPE = "recipe.toml"


def check_resumable(folder: Path, recipe: Recipe, resume: bool) -> None:
    """ConfigError if `folder` holds a run that may not be gone on with by `recipe`."""
    if not (folder / RECIPE).exists():
        left = [name for name in ("metrics.jsonl", "checkpoints") if (folder / name).exists()]
        if left:
            raise ConfigError(
                f"{folder} holds {', '.join(left)} but no {RECIPE}; put that file back, or choose another folder"
            )
        return
    if not resume:
        raise ConfigError(f"{folder} holds a run already; go on with it by --resume, or choose another folder")
    changed = differences(fixed(_begun(folder)), fixed(recipe.table()))
    if changed:
        raise ConfigError(
            f"{folder} was begun with another recipe ({'; '.join(changed[:5])}); "
            "go on with the same one, or choose another folder"
        )


def write_status(folder: Path, run: str, status: str, seed: int, **more: Any) -> None:
    """Writes down the id of the run in `folder`, and how it stands."""
    write_json(folder / STATUS, {"id": run, "status": status, "seed": seed, **circumstances(), **more})


def branch(source: Path, folder: Path, recipe: Recipe) -> None:
    """A new run of `recipe` in `folder` that has the finished run in `source` behind it: its phases are the recipe's
    first ones, and are not run again."""
    begun, table = _begun(source), recipe.table()
    changed = differences(fixed(begun), fixed({**table, "phase": table["phase"][: len(begun["phase"])]}))
    if changed:
        raise ConfigError(f"the run in {source} is not the beginning of this recipe ({'; '.join(changed[:5])})")
    with writing(folder):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(LOCK, HOLDER, "evaluation.json"))
    begin(folder)
    write_whole(folder / RECIPE, recipe.toml())


def _begun(folder: Path) -> dict[str, Any]:
    """The recipe that the run in `folder` was begun with."""
    path = folder / RECIPE
    try:
        return tomlkit.parse(path.read_bytes().decode()).unwrap()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); put that file back, or choose another folder") from error
