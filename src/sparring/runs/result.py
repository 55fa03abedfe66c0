"""What a finished run comes to: its learners and their test results, in words and as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.common.html import table
from sparring.common.statistics import Mean
from sparring.core.evaluation import HEADINGS, describe_score, mean_rows
from sparring.runs.selection import Progress
from sparring.training.checkpoint import Origin, describe_origin


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, the folders of its best and its final learner, and their test results.

    `test` (of the best learner) and `final_test` are None if the run has no test problems. `origin` is the point of the
    run at which the best learner was saved. `progress` compares each phase with its start.
    """

    folder: Path
    best: Path
    test: dict[str, Any] | None
    final: Path
    final_test: dict[str, Any] | None
    origin: Origin
    progress: tuple[Progress, ...] = ()

    @property
    def score(self) -> Mean | None:
        """The best learner's score on the test problems (the accuracy, as a rule) with its 95 % interval."""
        return Mean(**self.test["measures"][self.test["primary"]]) if self.test else None

    def _repr_html_(self) -> str:
        """Show the test results as a table in a notebook."""
        rows = [
            [f"{name} learner, {row[0]}", *row[1:]]
            for name, line in (("best", self.test), ("final", self.final_test))
            for row in mean_rows(line["measures"] if line else {})
        ]
        return table(f"{self.folder}: test problems", ("learner and measure", *HEADINGS), rows)

    def report(self) -> Iterator[str]:
        """Yield the results in words, one line each."""
        if self.test is not None and self.final_test is not None:
            same = self.test["origin"] == self.final_test["origin"]
            for name, line in (("best", self.test), ("final", self.final_test))[: 1 if same else 2]:
                origin = describe_origin(line["origin"])
                which = f"{name} learner (also the final one)" if same else f"{name} learner"
                yield f"{which}, from {origin}: test {describe_score(line)}"
        yield from (phase.describe() for phase in self.progress if not phase.beat_its_start)
