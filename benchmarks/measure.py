"""A race: contenders take turns in processes of their own; the ratio of their medians is what is reported.

Turns, because other work on the machine comes and goes; processes, because that is how a peak of memory can be had.
Figures go to `results/<race>.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sparring", "torch", "transformers", "trl", "peft", "openai", "litellm")


Go = Callable[[], float]


class Watch:
    """Seconds by the clock and of the processor; `with watch:` adds to them. `notes` are reported as they are."""

    def __init__(self) -> None:
        self.clock = self.processor = 0.0
        self.notes: list[Any] = []

    def __enter__(self) -> None:
        self.clock -= time.perf_counter()
        self.processor -= time.process_time()

    def __exit__(self, *error: object) -> None:
        self.clock += time.perf_counter()
        self.processor += time.process_time()


@dataclass(frozen=True)
class Contender:
    """Who runs: `make(**settings)`, called in the contender's own process, gives a function that gets the n-th turn
    ready and gives what is timed, which returns the amount of work done. Getting ready is not timed, but what it has to
    do of the work it may add to the watch."""

    name: str
    make: Callable[..., Callable[[int, Watch], Go]]
    settings: Mapping[str, Any] = field(default_factory=dict)


Turn = tuple[float, float, list[Any]]  # amount by the clock, amount by the processor, notes


def race(
    contenders: Sequence[Contender], turns: int = 5, threads: int = 2, warm_up: bool = True, resident: bool = True
) -> dict[str, dict[str, Any]]:
    """By contender: its rates (amount a second, one for each turn), their median, the median amount a second of
    processor time (all threads; steadier on a shared machine), its notes, and its peak memory (GiB, whole process). A
    turn to warm up, before the first, is not counted. Contenders that are not `resident` start anew for each turn,
    without warming up: so only one of them is in memory."""
    running = {contender.name: _Process(contender, threads) for contender in contenders if resident}
    found: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    peaks = dict.fromkeys(found, 0.0)
    for turn in range(0 if warm_up and resident else 1, turns + 1):
        for contender in contenders:
            name = contender.name
            process = running.get(name) or _Process(contender, threads)
            told = process.turn(turn)
            if turn:
                found[name].append(told)
            say(f"  {name}: {told[0]:,.2f}/s{'' if turn else ' (warming up)'}")
            if not resident:
                peaks[name] = max(peaks[name], process.end())
    peaks |= {name: process.end() for name, process in running.items()}
    return {name: _figures(told, peaks[name]) for name, told in found.items()}


def _figures(turns: Sequence[Turn], peak: float) -> dict[str, Any]:
    by_clock, by_processor, notes = zip(*turns, strict=True)
    return {
        "median": statistics.median(by_clock),
        "rates": by_clock,
        "median_of_processor": statistics.median(by_processor),
        **({"notes": [note for some in notes for note in some]} if any(notes) else {}),
        "peak_gib": peak,
    }


class _Process:
    """A contender in a process of its own."""

    def __init__(self, contender: Contender, threads: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.name = contender.name
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(contender, theirs, threads), daemon=True)
        self._process.start()

    def turn(self, number: int) -> Turn:
        """Let it take turn `number`."""
        self._pipe.send(number)
        found: Turn | str = self._pipe.recv()
        if isinstance(found, str):
            raise SystemExit(f"{self.name}: {found}")
        return found

    def end(self) -> float:
        """End it; return its peak memory in GiB."""
        self._pipe.send(None)
        peak = float(self._pipe.recv())
        self._process.join()
        return peak


def _run(contender: Contender, pipe: Connection, threads: int) -> None:
    import torch  # noqa: PLC0415 - in the contender's process only

    torch.set_num_threads(threads)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what trainers print is not read
    try:
        ready = contender.make(**contender.settings)
        while (turn := pipe.recv()) is not None:
            watch, go = Watch(), None  # the turn before is over, and what it had is let go
            gc.collect()
            go = ready(turn, watch)
            with watch:
                amount = go()
            pipe.send((amount / watch.clock, amount / watch.processor, watch.notes))
        pipe.send(peak_gib())
    except Exception as error:  # the race ends with this line
        pipe.send(f"{type(error).__name__}: {error}")
        raise


def peak_gib() -> float:
    """The most memory this process ever had, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(name: str, threads: int, figures: Mapping[str, Any]) -> None:
    """Writes `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    told = {"name": name, "machine": machine(threads), "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")


def known(name: str) -> dict[str, Any]:
    """The figures in `results/<name>.json`, of all workloads that were ever measured."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())["figures"]) if path.exists() else {}


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def main(run: Callable[..., None], description: str) -> None:
    """The command line of a race."""
    run(**vars(_told(description, argparse.ArgumentParser())))


def main_by_workload(run: Callable[..., None], description: str) -> None:
    """The same for a race of which some workloads can be run alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", metavar="TEXT", help="only workloads with this in their names")
    run(**vars(_told(description, parser)))


def _told(description: str, parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.description = description.split("\n", 1)[0]
    parser.add_argument("--turns", type=int, default=5, help="turns of each contender (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: 2)")
    return parser.parse_args()
