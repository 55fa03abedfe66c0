"""Replays a bundled run offline at no cost, and compares the results.

Every file in the bundle must have the SHA-256 sum in the manifest before anything is used. That detects damage, but not
a forger, who can change the manifest too. So `external_code` searches the recipe and the files for code, whatever the
manifest says, and such code runs only with the user's permission.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparring.common.errors import ConfigError
from sparring.common.files import adapter, json_lines
from sparring.common.schema import differences
from sparring.config.recipe import Recipe, load_table
from sparring.core.speaker import Reply
from sparring.ledger import NotRecorded, restore
from sparring.runs import archive
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
from sparring.runs.display import Display
from sparring.runs.environment import environment
from sparring.runs.external_code import external_code
from sparring.runs.metrics import Metrics
from sparring.runs.recording import FILE, register_run
from sparring.runs.run import train

UNPACKED = "bundle"  # subfolder of the run for the contents of the bundle
SHOWN = 5  # pieces of code that an error names


@dataclass(frozen=True)
class Replayed:
    """The outcome of a replay: the number of replies from the bundle, and the differences, one per line."""

    replies: int
    weights: tuple[str, ...]
    metrics: tuple[str, ...]

    def report(self) -> Iterator[str]:
        """Yield the outcome in words, one line each."""
        yield f"sent no calls; {self.replies:,} replies came from the bundle"
        for name, changes in (("weights", self.weights), ("metrics", self.metrics)):
            more = f" (and {len(changes) - 1:,} more)" if len(changes) > 1 else ""
            yield f"{name} differ: {changes[0]}{more}" if changes else f"{name}: identical, bit for bit"

    @property
    def same(self) -> bool:
        """Tell whether weights and metrics equal those of the original run."""
        return not self.weights and not self.metrics


def replay(
    source: Path, folder: Path, *, episodes: bool = False, trust: bool = False, display: Display | None = None
) -> Replayed:
    """Replay the bundle `source` as a run in `folder`.

    `episodes` trains on the recorded episodes instead of playing new ones. `trust` allows code from the bundle to run.
    """
    if folder.exists():
        raise ConfigError(f"{folder} already exists; choose another folder")
    display, bundled = display or Display(), folder / UNPACKED
    try:
        manifest = unpack(source, bundled)
        table = load_table(str(bundled / RECIPE))
        if (code := external_code(table, bundled)) and not trust:
            names = ", ".join(code[:SHOWN]) + (f" and {len(code) - SHOWN:,} more" if len(code) > SHOWN else "")
            raise ConfigError(f"{source} contains code that its replay would run ({names}); read it, then add --trust")
        recipe = _recipe(table, bundled, manifest)
        if (bundled / LEDGER).exists():
            _restore(folder / FILE, bundled / LEDGER, register_run(folder), folder.resolve().name)
        original = _metrics(bundled / METRICS)
        if episodes and (bundled / ROUNDS).is_dir():
            shutil.copytree(bundled / ROUNDS, folder / ROUNDS)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # leave nothing that looks like a run
        raise
    for line in _environment_changes(manifest, recipe):
        display.say(f"differs from the original run: {line}")
    try:
        train(recipe, folder, display=display, timing=original)
    except NotRecorded as error:
        raise NotRecorded(
            f"the replay diverges from the original run, because the learner replied differently: {error}; "
            "add --episodes to train on the recorded conversations"
        ) from error
    return _compared(folder, manifest)


def unpack(source: Path, folder: Path) -> Manifest:
    """Unpack the bundle `source` into `folder` and return its manifest.

    Raises ConfigError that names a missing, changed or added file.
    """
    if not source.is_file():
        raise ConfigError(f"there is no bundle at {source}; make one with sparring bundle")
    archive.unpack_archive(source, folder, small=(MANIFEST, RECIPE))
    manifest = _manifest(source, folder / MANIFEST)
    unpacked = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(unpacked | manifest.files.keys()):
        if name not in unpacked or manifest.files.get(name) != sha256(folder / name):
            change = "is missing" if name not in unpacked else "was changed" if name in manifest.files else "was added"
            raise ConfigError(f"{name} {change} since {source} was packed; get the bundle again")
    return manifest


def _manifest(source: Path, path: Path) -> Manifest:
    """Read the manifest at `path` of the bundle `source`."""
    try:
        raw = json.loads(path.read_bytes())
        if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
            raise ConfigError(
                f"{source} is a bundle of format {str(raw['format'])[:20]!r}, but this version reads format {FORMAT}; "
                "replay it with the version that made it"
            )
        manifest = adapter(Manifest).validate_python(raw)
    except (OSError, ValueError, RecursionError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{detail['msg']} at {'.'.join(map(str, detail['loc']))}" if detail else type(error).__name__
        raise ConfigError(f"{source} is not a readable bundle: its manifest: {reason}; get it again") from error
    assert isinstance(manifest, Manifest)
    return manifest


def _recipe(table: dict[str, Any], bundled: Path, manifest: Manifest) -> Recipe:
    """Make the bundle's recipe with the unpacked files and the original number of threads.

    Its ledger is in replay mode, and no tracker hears of the replay.
    """
    unpacked = _with_paths(table, (bundled / "files").resolve())
    threads = manifest.circumstances.get("threads")
    if isinstance(run := unpacked.get("run", {}), Mapping):
        unpacked["run"] = {**run, "trackers": [], **({} if threads is None else {"threads": threads})}
    return Recipe.of({**unpacked, "ledger": {"mode": "replay"}})


def _restore(path: Path, source: Path, run: str, name: str) -> None:
    """Write the bundle's calls to a ledger at `path`; raise ConfigError if they are not readable."""
    try:
        with source.open(encoding="utf-8") as lines:
            for reply in (json.loads(line)["reply"] for line in lines):
                adapter(Reply | None).validate_python(reply)
        restore(path, source, run, name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{LEDGER} of the bundle is not readable: {type(error).__name__}: {reason}; get the bundle again"
        ) from error


def _metrics(path: Path) -> Metrics:
    """Read a metrics file of the bundle; raise ConfigError if a line is damaged."""
    if any(row.value is None for row in json_lines(path)):
        raise ConfigError(f"{METRICS} of the bundle is not readable; get the bundle again")
    return Metrics(path)


def _with_paths(value: Any, files: Path) -> Any:
    """Replace the names of packed files in plain data by their paths in the folder `files`."""
    if isinstance(value, Mapping):
        return {key: _with_paths(inner, files) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_paths(inner, files) for inner in value]
    is_packed = isinstance(value, str) and value.startswith(PACKED)
    return str(files / value.removeprefix(PACKED)) if is_packed else value


def _environment_changes(manifest: Manifest, recipe: Recipe) -> list[str]:
    """Return the differences between this machine and that of the original run, one per line."""
    original = {**manifest.circumstances, "hub": manifest.hub}
    current = {**environment(), "threads": original.get("threads"), "hub": from_hub(recipe.table())}
    return differences(original, current)


def _compared(folder: Path, manifest: Manifest) -> Replayed:
    """Compare the run in `folder` with the original run."""
    return Replayed(
        len(calls(folder)),
        tuple(differences(manifest.weights, weights(folder))),
        tuple(_metric_changes(_metrics(folder / UNPACKED / METRICS), Metrics(folder / METRICS))),
    )


def _metric_changes(original: Metrics, current: Metrics) -> list[str]:
    """Return the differences between the metrics of two runs, apart from durations."""
    old, new = ({_position(line): _figures(line) for line in metrics} for metrics in (original, current))
    return [
        f"{position}: {'; '.join(differences(old.get(position, {}), new.get(position, {})))}"
        for position in (old | new)
        if old.get(position) != new.get(position)
    ]


def _position(line: Mapping[str, Any]) -> str:
    return f"{line['kind']} of phase {line['phase']}, round {line['round']}, step {line['step']}"


def _figures(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a line that do not depend on the machine's speed."""
    speeds = ("tokens_per_second", "trained_tokens_per_second")
    return {key: v for key, v in line.items() if not key.startswith("seconds") and key not in speeds}
