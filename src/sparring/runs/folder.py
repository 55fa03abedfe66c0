"""Manages a run's folder: the recipe that started it, whether it may resume, and its status.

`lock` keeps other processes out; `checkpoint` knows what the checkpoints contain.
"""

from __future__ import annotations

import itertools
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import tomlkit
from tomlkit.exceptions import TOMLKitError

from sparring.common.errors import ConfigError
from sparring.common.files import read_json, write_json, write_whole, writing
from sparring.common.schema import differences
from sparring.config.adjustable import fixed
from sparring.config.recipe import Recipe
from sparring.ledger import totals
from sparring.runs.environment import environment
from sparring.runs.lock import HOLDER, LOCK
from sparring.runs.recording import STATUS, ledger_of, register_run

RECIPE, EARLIER = "recipe.toml", "earlier"
NOT_BRANCHED = (
    LOCK,
    HOLDER,
    EARLIER,
    "evaluation.json",
    "trackers.json",
    "tensorboard",
)  # what belongs to the one run only


def round_folder(run: Path, phase: int, method: str, round_: int) -> Path:
    """Return the folder of a round's files; phase and round count from 1."""
    return run / "rounds" / f"{phase}-{method.rpartition(':')[2]}" / f"{round_:04d}"


class Settings(Protocol):
    """All settings of a run or an evaluation."""

    def table(self) -> dict[str, Any]:
        """Return them as a table with every key set."""
        ...


def check_resumable(folder: Path, recipe: Settings, resume: bool) -> None:
    """Raise ConfigError if `folder` holds a run that may not resume with `recipe`."""
    if not (folder / RECIPE).exists():
        rest = [name for name in ("metrics.jsonl", "checkpoints") if (folder / name).exists()]
        if rest:
            raise ConfigError(
                f"{folder} contains {', '.join(rest)} but no {RECIPE}; restore that file, or choose another folder"
            )
        return
    if not resume:
        raise ConfigError(f"{folder} already contains a run; add --resume to continue it, or choose another folder")
    changed = _changes(folder, recipe)
    if changed:
        raise ConfigError(
            f"{folder} was started with another recipe ({'; '.join(changed[:5])}); "
            "resume with the same recipe, or choose another folder"
        )


def set_aside_failed_start(folder: Path, recipe: Settings) -> Path | None:
    """Make room in `folder` for a mended recipe if the run in it stopped before it had saved or paid for anything.

    Its files move to `earlier/1` (2, …), which is returned. A run of the same recipe stays, and so does one that may
    still be at work; then None is returned.
    """
    if not (folder / RECIPE).exists() or not _changes(folder, recipe):
        return None
    status = read_json(folder / STATUS) if (folder / STATUS).exists() else None
    if not isinstance(status, dict) or status.get("status") != "stopped":
        return None
    ledger = ledger_of(folder)
    answered = any(total.calls > total.failed for total in totals(ledger, status.get("id"))) if ledger else False
    saved = [folder / "checkpoints", folder / "metrics.jsonl", *folder.glob("rounds/*/*/episodes.jsonl")]
    if answered or any(path.exists() for path in saved):
        return None
    aside = next(path for number in itertools.count(1) if not (path := folder / EARLIER / str(number)).exists())
    aside.mkdir(parents=True)
    names = ("rounds", "trackers.json", *(path.name for path in folder.glob("start*.json")), RECIPE)
    journals = (path.name for path in folder.glob("evaluation-*.journal.jsonl"))
    for name in (*journals, *names):  # the recipe last: until then the folder is what it was
        if (folder / name).exists():
            shutil.move(folder / name, aside / name)
    return aside


def write_status(folder: Path, run: str, status: str, seed: int, **more: Any) -> None:
    """Write the run's id and status to `run.json` in `folder`."""
    write_json(folder / STATUS, {"id": run, "status": status, "seed": seed, **environment(), **more})


def branch(source: Path, folder: Path, recipe: Recipe) -> None:
    """Create a run of `recipe` in `folder` that continues the finished run in `source`.

    The phases of that run must be the first ones of the recipe; they are not run again.
    """
    original, table = _original_recipe(source), recipe.table()
    changed = differences(fixed(original), fixed({**table, "phase": table["phase"][: len(original["phase"])]}))
    if changed:
        raise ConfigError(
            f"the run in {source} is not the beginning of this recipe ({'; '.join(changed[:5])}); choose another run"
        )
    with writing(folder):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*NOT_BRANCHED))
    register_run(folder)
    write_whole(folder / RECIPE, recipe.toml())


def _changes(folder: Path, recipe: Settings) -> list[str]:
    """Return the fixed settings in which `recipe` differs from that of the run in `folder`, one line each.

    A key that an earlier version did not know counts as having its default.
    """
    original, now = _original_recipe(folder), fixed(recipe.table())
    changed = differences(fixed(original), now)
    if changed and isinstance(recipe, Recipe):
        with suppress(ConfigError):  # this version may lack a key of the earlier one
            changed = differences(fixed(Recipe.of(original).table()), now)
    return changed


def _original_recipe(folder: Path) -> dict[str, Any]:
    """Return the table of the recipe that the run in `folder` was started with."""
    path = folder / RECIPE
    try:
        return tomlkit.parse(path.read_bytes().decode()).unwrap()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); restore that file, or choose another folder") from error
