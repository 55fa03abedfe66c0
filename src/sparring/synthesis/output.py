"""The rows written so far, the outcomes of all replies, and the failure limit that stops the writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sparring.common.errors import ConversationError, CutOff, Failure, RunStopped, Skipped, Unreadable
from sparring.core import attempts
from sparring.core.attempts import Serving
from sparring.core.chat import Chat
from sparring.core.speaker import Sampling, Speaker

WRITER = "writer"  # the role on the ledger
JUDGED_FROM = 20  # replies; before that the failure rate says little

_Parsed = TypeVar("_Parsed")

_OUTCOMES = {Unreadable.__name__: "unreadable", CutOff.__name__: "cut off", Skipped.__name__: "skipped"}


@dataclass
class Output:
    """Rows in order, and counts of the outcomes of replies (`replies`) and of the items in them (`items`).

    The writing stops if more than the fraction `max_failures` of the replies failed. `on_progress` is called with the
    number of steps done.
    """

    max_failures: float
    on_progress: Callable[[int], None] = lambda steps: None
    rows: list[Any] = field(default_factory=list)
    replies: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def count_reply(self, outcome: str | Failure) -> None:
        """Count a reply by its outcome or failure; raises RunStopped if too many failed."""
        if isinstance(outcome, Failure):
            self.causes[f"{outcome.kind}: {outcome.reason[:120]}"] += outcome.counts
            outcome = _OUTCOMES.get(outcome.kind, "failed")
        self.replies[outcome] += 1
        if self.replies.total() >= JUDGED_FROM:
            self.check()

    def check(self) -> None:
        """Raise RunStopped with the most common causes if too many replies failed."""
        failed, total = self.causes.total(), self.replies.total()
        if failed > self.max_failures * total:
            causes = "; ".join(f"{count} × {cause}" for cause, count in self.causes.most_common(3))
            raise RunStopped(
                f"{failed} of {total} replies failed (max_failures = {self.max_failures:.0%}): {causes}; "
                "fix the cause or raise max_failures, and continue with --resume"
            )

    def add(self, row: Any) -> None:
        """Append one row."""
        self.rows.append(row)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return all counts as plain data."""
        return {"replies": dict(self.replies), "found": dict(self.items), "causes": dict(self.causes)}


async def ask_speaker(
    speaker: Speaker, chat: Chat, sampling: Sampling, sample: int, parse: Callable[[str], _Parsed]
) -> _Parsed | Failure:
    """Return the parsed `sample`-th reply to `chat`, or its failure."""
    try:
        return parse((await speaker.reply(chat, sampling, sample)).require_complete().text)
    except ConversationError as error:
        return Failure.of(error, WRITER)


def set_serving(phase: str, problem: str) -> None:
    """Set what the calls of this asyncio task are for, as recorded on the ledger."""
    attempts.serving.set(Serving(phase, 1, problem))
