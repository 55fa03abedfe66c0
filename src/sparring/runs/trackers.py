"""Sends the lines of `metrics.jsonl` to experiment trackers (TensorBoard, Weights & Biases, …) as they are recorded.

`metrics.jsonl` stays the record; a tracker gets a copy. Each tracker has a thread of its own, so that a slow network
does not delay training. A tracker that fails is given up with one warning. `trackers.json` in the run's folder names
the run's trackers, so that a resumed run continues them.

The horizontal axis is the number of optimiser steps of the run. Each line also has `problems`: those seen by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from sparring.common.errors import ConfigError
from sparring.common.extras import need
from sparring.common.files import read_json, write_json
from sparring.common.schema import flat
from sparring.config.recipe import Recipe
from sparring.runs.bundle import without_secrets
from sparring.runs.metrics import Metrics

STATE = "trackers.json"
TENSORBOARD = "tensorboard"  # the folder of its files in the run's folder
PROJECT = "sparring"  # unless the variable of the tracker names another
VARIABLES = {"wandb": "WANDB_PROJECT", "mlflow": "MLFLOW_EXPERIMENT_NAME", "comet_ml": "COMET_PROJECT_NAME"}
NOT_SHOWN = ("phase", "round", "step", "problems", "at")  # names in a line that are no charts of their own
CLOSING = 60.0  # seconds that the end of a run waits for what is not sent yet


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError if the package of a tracker is not installed."""
    for name in names:
        need(name, f"the tracker {name!r}")


@contextmanager
def tracking(recipe: Recipe, folder: Path, run: str, metrics: Metrics, say: Callable[[str], None]) -> Iterator[None]:
    """Send each line that `metrics` records to the trackers of `recipe`; one that is new to the run gets all lines.

    `run` is the id of the run in `folder`. `say` prints warnings. Raises ConfigError if a tracker does not start.
    """
    known = read_json(folder / STATE) if recipe.run.trackers and (folder / STATE).exists() else {}
    feeds: list[_Feed] = []
    steps = sum(line["kind"] == "step" for line in metrics)

    def send(line: dict[str, Any]) -> None:
        nonlocal steps
        steps += line["kind"] == "step"
        for feed in feeds:
            feed.send(figures(line), steps)

    try:
        for name in dict.fromkeys(recipe.run.trackers):
            feed = _Feed(name, partial(_open, name, folder, run, known.get(name, {})), say)
            feeds.append(feed)
            tracker = feed.opened()
            if name not in known:
                feed.configure(recipe)
                for step, line in numbered(metrics):
                    feed.send(figures(line), step)
            known[name] = {"run_id": tracker.active_run.info.run_id} if name == "mlflow" else {}
            write_json(folder / STATE, known)
        metrics.listeners.insert(0, send)  # before callbacks, of which one may raise
        yield
    finally:
        if send in metrics.listeners:
            metrics.listeners.remove(send)
        for feed in feeds:
            feed.close()


def numbered(lines: Iterator[dict[str, Any]] | Metrics) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each of `lines` with the number of optimiser steps of the run up to it."""
    steps = 0
    for line in lines:
        steps += line["kind"] == "step"
        yield steps, line


def figures(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of metrics as `kind/name`; of an evaluation, each measure with its interval."""
    kind, values = line["kind"], {**line}
    seen = line.get("at", line["problems"] if kind in ("step", "round") else line.get("origin", {}).get("problems"))
    for name, mean in line.get("measures", {}).items():
        values |= {name: mean["value"], f"{name}_low": mean["low"], f"{name}_high": mean["high"]}
    numbers = {f"{kind}/{name}": value for name, value in values.items() if name not in NOT_SHOWN}
    return {name: value for name, value in {**numbers, "problems": seen}.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _open(name: str, folder: Path, run: str, known: Mapping[str, Any]) -> Any:
    """Start the tracker `name` for the run with the id `run` in `folder`, or continue it there."""
    place = folder.resolve()
    project = os.environ.get(VARIABLES.get(name, ""), PROJECT)
    settings: dict[str, Any] = {}
    match name:
        case "tensorboard":
            project, settings = TENSORBOARD, {"logging_dir": str(place)}
        case "wandb":
            settings = {"id": run, "name": place.name, "resume": "allow", "dir": str(place)}
        case "mlflow":
            settings = {"run_name": place.name, **known}
        case "trackio":
            settings = {"name": f"{place.name}-{run}", "resume": "allow"}
        case "comet_ml":
            title = import_module("comet_ml").ExperimentConfig(name=place.name)
            settings = {"experiment_key": run * 2, "mode": "get_or_create", "experiment_config": title}
    tracker = LOGGER_TYPE_TO_CLASS[name](project, **settings)
    tracker.start()
    return tracker


class _Feed:
    """One tracker, and the thread in which everything it does happens."""

    def __init__(self, name: str, open_: Callable[[], Any], say: Callable[[str], None]) -> None:
        self.name, self._open, self._say = name, open_, say
        self._tracker: Future[Any] = Future()
        self._calls: SimpleQueue[Callable[[Any], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._tracker.set_result(self._open())
        except BaseException as error:  # a library may even exit
            self._tracker.set_exception(error)
            return
        try:
            while (call := self._calls.get()) is not None:
                call(self._tracker.result())
            self._tracker.result().finish()
        except Exception as error:
            self._say(f"warning: the tracker {self.name} failed ({_reason(error)}); metrics.jsonl has everything")

    def opened(self) -> Any:
        """Wait until the tracker is open, and return it."""
        try:
            return self._tracker.result()
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"the tracker {self.name} does not start ({_reason(error)}); mend that, or take it out of trackers "
                "under [run]"
            ) from error

    def configure(self, recipe: Recipe) -> None:
        """Send the settings of `recipe`, without what may be a secret."""
        settings = {key: _as_setting(value) for key, value in flat(without_secrets(recipe.table())).items()}
        if self.name == "tensorboard":  # which would show them as a further run
            text = "\n".join(f"    {key} = {value}" for key, value in settings.items())  # code, in Markdown
            self._calls.put(lambda tracker: tracker.log({"recipe": text}, step=0))
        else:
            self._calls.put(lambda tracker: tracker.store_init_configuration(settings))

    def send(self, values: dict[str, float], step: int) -> None:
        """Send `values` at `step` when the thread gets to it."""
        if self._thread.is_alive():  # it has given up otherwise
            self._calls.put(lambda tracker: tracker.log(values, step=step))

    def close(self) -> None:
        """Send what is left and close the tracker."""
        self._calls.put(None)
        self._thread.join(CLOSING)
        if self._thread.is_alive():
            self._say(f"warning: the tracker {self.name} is still sending after {CLOSING:g} s and was left behind")


def _as_setting(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
