"""What a run shows while it runs: a bar on a terminal, a line a round elsewhere and where a person is asked.

Not here: what is kept (`metrics`).
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sparring.common.terminal import Terminal


class Display:
    """Tells of phases, rounds, episodes, steps and evaluations. `quiet` shows nothing; without `live` there is no bar,
    which would be drawn over what a person writes at the same terminal."""

    def __init__(self, console: Console | None = None, quiet: bool = False, live: bool = True) -> None:
        self.console = console or Terminal(stderr=True, quiet=quiet)
        self._live = live and self.console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description:<36}", style="bold", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self._live,
        )
        self._run = self._bar.add_task("problems", total=None, told="")
        self._stage = self._bar.add_task("", total=None, told="", visible=False)
        self._begun = time.monotonic()
        self._told_at = 0.0
        self._loss: float | None = None
        self._accuracy: float | None = None

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def run(self, total: float, done: float) -> None:
        """A run of `total` problems begins, or goes on after `done`."""
        self._bar.update(self._run, total=round(total), completed=round(done))

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` things begins: episodes, steps, questions."""
        self._bar.reset(self._stage, total=total, description=name, visible=True, told="")

    def advance(self, told: str = "") -> None:
        """One more of the stage is done."""
        self._bar.update(self._stage, advance=1, told=told)

    def step(self, problems: float, loss: float) -> None:
        """A step of training is done, which brings the run to `problems`."""
        self._loss = loss if self._loss is None else 0.9 * self._loss + 0.1 * loss
        accuracy = "" if self._accuracy is None else f"  accuracy {self._accuracy:.1%}"
        self._bar.update(self._run, completed=round(problems), told=f"loss {self._loss:.3f}{accuracy}")
        self.advance()

    def evaluated(self, line: dict[str, Any]) -> None:
        """An evaluation is done."""
        self._accuracy = line["accuracy"]
        self.say(
            f"  {line['kind']} accuracy {line['accuracy']:.1%} "
            f"[{line['low']:.1%}, {line['high']:.1%}] on {line['problems']} problems"
        )

    def round(self, name: str, line: dict[str, Any]) -> None:
        """A round is done. Without a terminal at most one such line in two seconds is shown."""
        if not self._live and time.monotonic() - self._told_at < 2:
            return
        self._told_at = time.monotonic()
        left_out = (
            f"  ({line['dropped']} left out: longer than the model, or with nothing to train)"
            if line["dropped"]
            else ""
        )
        measures = ("right", "edited_right", "leaked", "readable", "ranked")
        shown = "  ".join(f"{key} {line[key]:.2f}" for key in measures if key in line)
        self.say(
            f"{name}: {line['experience']} learnt{left_out}, loss {line.get('loss', 0.0):.3f}  {shown}"
            f"  {line['tokens_per_second']:.0f} tokens/s"
        )

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False)
