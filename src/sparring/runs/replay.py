"""`sparring replay`: a bundled run once more, off-line and for nothing, and whether the same came of it.

Nothing of a bundle is used before every file in it has the SHA-256 sum that its manifest says. That finds what was
damaged or changed, not a forger, who changes the manifest too. So what would run is found in the recipe and the files
(`foreign`), whatever the manifest says, and runs only by leave.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparring.runs import archive
from sparring.runs import foreign_code
from sparring.runs.bundle import (
    FORMAT,
    LEDGER,
    MANIFEST,
    METRICS,
    PACKED,
    RECIPE,
    ROUNDS,
    Manifest,
    calls,
    from_hub,
    sha256,
    weights,
)
from sparring.runs.environment import circumstances
from sparring.runs.display import Display
from sparring.common.errors import ConfigError
from sparring.common.files import adapter, json_lines
from sparring.ledger import NotRecorded, restore
from sparring.runs.metrics import Metrics
from sparring.config.recipe import Recipe, load_table
from sparring.runs.recording import FILE, begin
from sparring.runs.run import train
from sparring.core.speaker import Reply
from sparring.common.schema import differences

UNPACKED = "bundle"  # the folder in the run's that holds what was in the bundle
SHOWN = 5  # pieces of code that are named


@dataclass(frozen=True)
class Replayed:
    """A replay that is done: how many replies came from the bundle, and what came out otherwise, a line each."""

    replies: int
    weights: tuple[str, ...]
    metrics: tuple[str, ...]

    def told(self) -> Iterator[str]:
        """What came of it, in words."""
        yield f"nobody was asked; {self.replies:,} replies came from the bundle"
        for name, found in (("weights", self.weights), ("metrics", self.metrics)):
            more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
            yield f"{name}: {found[0]}{more}" if found else f"{name}: the same, to the last bit"

    @property
    def same(self) -> bool:
        """Whether weights and metrics are those of the run."""
        return not self.weights and not self.metrics


def replay(
    source: Path, folder: Path, *, episodes: bool = False, trust: bool = False, display: Display | None = None
) -> Replayed:
    """Replays the bundle `source` as a run in `folder`. `episodes`: the recorded ones are learnt from, and nothing is
    played anew; `trust`: code that the bundle brings may run."""
    if folder.exists():
        raise ConfigError(f"{folder} exists already; choose another folder")
    display, bundled = display or Display(), folder / UNPACKED
    try:
        manifest = unpack(source, bundled)
        table = load_table(str(bundled / RECIPE))
        if (code := foreign_code.code(table, bundled)) and not trust:
            told = ", ".join(code[:SHOWN]) + (f" and {len(code) - SHOWN:,} more" if len(code) > SHOWN else "")
            raise ConfigError(f"{source} brings code that its replay runs ({told}): read it, then give --trust")
        recipe = _recipe(table, bundled, manifest)
        if (bundled / LEDGER).exists():
            _restore(folder / FILE, bundled / LEDGER, begin(folder), folder.resolve().name)
        _metrics(bundled / METRICS)
        if episodes and (bundled / ROUNDS).is_dir():
            shutil.copytree(bundled / ROUNDS, folder / ROUNDS)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # nothing that looks like a run is left behind
        raise
    for line in _otherwise(manifest, recipe):
        display.say(f"not as in the run: {line}")
    try:
        train(recipe, folder, display=display)
    except NotRecorded as error:
        raise NotRecorded(
            f"here the replay parts from the run, for the learner said something else: {error}; "
            "with --episodes it learns from what was said in the run"
        ) from error
    return _compared(folder, manifest)


def unpack(source: Path, folder: Path) -> Manifest:
    """The manifest of the bundle `source`, whose files are put into `folder`; ConfigError names the one that is not as
    it was packed."""
    if not source.is_file():
        raise ConfigError(f"there is no bundle at {source}; make one by sparring bundle")
    archive.unpack_archive(source, folder, small=(MANIFEST, RECIPE))
    manifest = _manifest(source, folder / MANIFEST)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(there | manifest.files.keys()):
        if name not in there or manifest.files.get(name) != sha256(folder / name):
            how = "is missing" if name not in there else "was changed" if name in manifest.files else "was added"
            raise ConfigError(f"{name} {how} since {source} was packed: get the bundle anew")
    return manifest


def _manifest(source: Path, path: Path) -> Manifest:
    try:
        told = json.loads(path.read_bytes())
        if isinstance(told, dict) and told.get("format", FORMAT) != FORMAT:
            raise ConfigError(
                f"{source} is a bundle of format {str(told['format'])[:20]!r}, and this version reads format {FORMAT}; "
                "replay it with the version that made it"
            )
        manifest = adapter(Manifest).validate_python(told)
    except (OSError, ValueError, RecursionError) as error:
        what = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{what['msg']} at {'.'.join(map(str, what['loc']))}" if what else type(error).__name__
        raise ConfigError(f"{source} is no bundle that can be read: its manifest: {reason}; get it anew") from error
    assert isinstance(manifest, Manifest)
    return manifest


def _recipe(table: dict[str, Any], bundled: Path, manifest: Manifest) -> Recipe:
    """The recipe of the bundle, reading what was unpacked, asking nobody, with as many threads as the run had."""
    placed = _placed(table, (bundled / "files").resolve())
    threads = manifest.circumstances.get("threads")
    if threads is not None and isinstance(run := placed.get("run", {}), Mapping):
        placed = {**placed, "run": {**run, "threads": threads}}
    return Recipe.of({**placed, "ledger": {"mode": "replay"}})


def _restore(path: Path, source: Path, run: str, name: str) -> None:
    """The bundle's calls as the ledger at `path`; ConfigError where they cannot be read."""
    try:
        with source.open(encoding="utf-8") as lines:
            for reply in (json.loads(line)["reply"] for line in lines):
                adapter(Reply | None).validate_python(reply)
        restore(path, source, run, name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{LEDGER} of the bundle cannot be read: {type(error).__name__}: {reason}") from error


def _metrics(path: Path) -> Metrics:
    """The figures in a file of the bundle; ConfigError where they cannot be read."""
    if any(row.value is None for row in json_lines(path)):
        raise ConfigError(f"{METRICS} of the bundle cannot be read; get it anew")
    return Metrics(path)


def _placed(value: Any, files: Path) -> Any:
    """`value` with the names of what is packed as the places where it lies."""
    if isinstance(value, Mapping):
        return {key: _placed(inner, files) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, files) for inner in value]
    packed = isinstance(value, str) and value.startswith(PACKED)
    return str(files / value.removeprefix(PACKED)) if packed else value


def _otherwise(manifest: Manifest, recipe: Recipe) -> list[str]:
    """What here differs from the machine of the run, a line each."""
    then = {**manifest.circumstances, "hub": manifest.hub}
    now = {**circumstances(), "threads": then.get("threads"), "hub": from_hub(recipe.table())}
    return differences(then, now)


def _compared(folder: Path, manifest: Manifest) -> Replayed:
    return Replayed(
        len(calls(folder)),
        tuple(differences(manifest.weights, weights(folder))),
        tuple(_other_metrics(_metrics(folder / UNPACKED / METRICS), Metrics(folder / METRICS))),
    )


def _other_metrics(then: Metrics, now: Metrics) -> list[str]:
    """Where the figures of two runs differ, times apart."""
    before, after = ({_place(line): _figures(line) for line in metrics} for metrics in (then, now))
    return [
        f"{place}: {'; '.join(differences(before.get(place, {}), after.get(place, {})))}"
        for place in (before | after)
        if before.get(place) != after.get(place)
    ]


def _place(line: Mapping[str, Any]) -> str:
    return f"{line['kind']} of phase {line['phase']}, round {line['round']}, step {line['step']}"


def _figures(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in line.items() if not key.startswith("seconds") and key != "tokens_per_second"}
