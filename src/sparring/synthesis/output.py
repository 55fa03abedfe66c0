"""What a writing has brought so far: rows, what became of each reply, and the gate that stops it.

Replies are asked for many at once and taken in the order of asking, so that nothing depends on which is the faster.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sparring.common.errors import ConversationError, CutOff, Failure, RunStopped, Skipped, Unreadable
from sparring.core import attempts
from sparring.core.attempts import Serving
from sparring.core.chat import Chat
from sparring.core.speaker import Sampling, Speaker

WRITER = "writer"  # its role on the ledger
JUDGED_FROM = 20  # replies: a share of fewer says little while more are to come

_Asked = TypeVar("_Asked")
_Got = TypeVar("_Got")

_NAMES = {Unreadable.__name__: "unreadable", CutOff.__name__: "cut off", Skipped.__name__: "skipped"}


@dataclass
class Output:
    """Rows in their order; `replies` and `found` count what became of replies and of what was found in them. More
    failures than a share `bound` of the replies stop the writing."""

    bound: float
    advanced: Callable[[int], None] = lambda steps: None
    rows: list[Any] = field(default_factory=list)
    replies: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def reply(self, outcome: str | Failure) -> None:
        """Counts a reply that could be read by its outcome, or one that failed; raises RunStopped at the bound."""
        if isinstance(outcome, Failure):
            self.causes[f"{outcome.kind}: {outcome.reason[:120]}"] += outcome.counts
            outcome = _NAMES.get(outcome.kind, "failed")
        self.replies[outcome] += 1
        if self.replies.total() >= JUDGED_FROM:
            self.check()

    def check(self) -> None:
        """RunStopped if too large a share of the replies failed: says the commonest causes."""
        failed, total = self.causes.total(), self.replies.total()
        if failed > self.bound * total:
            told = "; ".join(f"{count} × {cause}" for cause, count in self.causes.most_common(3))
            raise RunStopped(
                f"{failed} of {total} replies failed (bound {self.bound:.0%}, max_failures): {told}; "
                "mend what is wrong, or raise the bound, and go on by --resume"
            )

    def add(self, row: Any) -> None:
        """One more row."""
        self.rows.append(row)

    def counts(self) -> dict[str, dict[str, int]]:
        """All counts as plain data."""
        return {"replies": dict(self.replies), "found": dict(self.found), "causes": dict(self.causes)}


async def ask_speaker(
    speaker: Speaker, chat: Chat, sampling: Sampling, sample: int, read: Callable[[str], _Got]
) -> _Got | Failure:
    """What `read` makes of the `sample`-th reply to `chat`, or how that failed."""
    try:
        return read((await speaker.reply(chat, sampling, sample)).require_complete().text)
    except ConversationError as error:
        return Failure.of(error, WRITER)


def serve(phase: str, problem: str) -> None:
    """Says, for the calls of this asyncio task, what they are for."""
    attempts.serving.set(Serving(phase, 1, problem))


async def in_order(
    ask: Callable[[_Asked], Awaitable[_Got]], things: Iterator[_Asked], ahead: Callable[[], int]
) -> AsyncGenerator[_Got]:
    """`ask` of each of `things`, in their order; `ahead()` of them are under way at a time, at least one."""
    under_way: deque[asyncio.Task[_Got]] = deque()

    async def one(thing: _Asked) -> _Got:
        return await ask(thing)

    try:
        while True:
            while len(under_way) < max(1, ahead()):
                try:
                    under_way.append(asyncio.create_task(one(next(things))))
                except StopIteration:
                    break
            if not under_way:
                return
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
