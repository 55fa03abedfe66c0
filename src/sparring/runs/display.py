"""Shows the progress of a run: a bar on a terminal or in a notebook; elsewhere, or if a person is asked, only lines.

Without a bar, a stage that lasts long prints a line now and then, so that a log file shows that the run is alive.
`metrics` stores the figures; this module only prints them.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console

from sparring.common.progress import progress
from sparring.common.terminal import Terminal
from sparring.core.evaluation import describe_score, in_words, score

MANY_CUT = 0.05  # share of a round's episodes with a truncated reply, from which a warning is printed
SILENCE = 60.0  # seconds without a line after which a display without a bar prints the progress of the stage


class Display:
    """Prints phases, rounds, episodes, steps and evaluations.

    `quiet` prints nothing. `live=False` shows no bar, which would overwrite what a person types at the terminal.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False, live: bool = True) -> None:
        self.console = console or Terminal(stderr=True, quiet=quiet)
        self._live = live and (self.console.is_terminal or self.console.is_jupyter) and not quiet
        self._asks = not live
        self._bar = progress(self.console, self._live, width=36)
        self._run = self._bar.add_task("problems", total=None, note="")
        self._stage = self._bar.add_task("", total=None, note="", visible=False)
        self._last_round_at, self._spoke_at = 0.0, time.monotonic()
        self._loss: float | None = None
        self._score = ""

    def __enter__(self) -> Display:
        self._bar.start()
        self._spoke_at = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def run(self, total: int | None, done: float) -> None:
        """Start or resume a run of `total` problems (None: unknown), of which `done` are done."""
        self._bar.update(self._run, total=total, completed=round(done))

    def stage(self, name: str, total: int) -> None:
        """Start a stage of `total` items: episodes, steps or problems."""
        self._bar.reset(self._stage, total=total, description=name, visible=True, note="")

    def advance(self, note: str = "") -> None:
        """Count one more item of the stage as done and show `note` beside the bar."""
        self._bar.update(self._stage, advance=1, note=note)
        if not self._asks:  # a line would break into what a person types
            self._break_silence(note)

    def _break_silence(self, note: str) -> None:
        """Without a live bar, print the progress of the stage if nothing was printed for `SILENCE` seconds."""
        if self._live or time.monotonic() - self._spoke_at < SILENCE:
            return
        stage = next(task for task in self._bar.tasks if task.id == self._stage)
        done = f"  {stage.description} {stage.completed:,.0f} of {stage.total or 0:,.0f}"
        self.say(f"{done}, {note}" if note else done)

    def step(self, problems: float, loss: float) -> None:
        """Show the loss of a training step, after `problems` problems of the run."""
        self._loss = loss if self._loss is None else 0.9 * self._loss + 0.1 * loss
        note = f"loss {self._loss:.3f}"
        self._bar.update(self._run, completed=round(problems), note=f"{note}{self._score}")
        self._bar.update(self._stage, advance=1, note="")
        self._break_silence(note)

    def evaluated(self, line: dict[str, Any]) -> None:
        """Print the score of an evaluation."""
        self._score = f"  {line['primary']} {in_words(line['primary'], score(line))}"
        self.say(f"  {line['kind']} {describe_score(line)}")

    def round(self, name: str, line: dict[str, Any], failures: str = "") -> None:
        """Print the figures of a round, with a warning if many replies were cut, and `failures` if nothing was learnt.

        Without a live bar, print those of at most one round in two seconds.
        """
        if not self._live and time.monotonic() - self._last_round_at < 2:
            return
        self._last_round_at = time.monotonic()
        dropped = (
            f"  ({line['dropped']} dropped: longer than the model's limit, or nothing to train on)"
            if line["dropped"]
            else ""
        )
        measures = ("right", "edited_right", "leaked", "readable", "ranked")
        shown = "  ".join(f"{key} {line[key]:.2f}" for key in measures if key in line)
        if line.get("partner_failed"):
            shown = f"{shown}  partner_failed {line['partner_failed']:.2f}".strip()
        speed = f"{line['tokens_per_second']:.0f} tokens/s" if line["tokens_per_second"] else ""  # nothing was sampled
        nothing = f"nothing learnt ({failures})" if failures and not line["experience"] else "nothing learnt"
        loss = f"loss {line['loss']:.3f}" if "loss" in line else nothing
        self.say("  ".join(filter(None, (f"{name}: {line['experience']} examples{dropped}, {loss}", shown, speed))))
        if line.get("cut_off", 0) > MANY_CUT:
            self.say(
                f"  {line['cut_off']:.0%} of the episodes have a reply that was truncated at max_tokens; "
                "raise max_tokens in a new run"
            )

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._spoke_at = time.monotonic()
        self.console.print(text, highlight=False, markup=False)
