"""A speaker whose replies are paid once.

A reply that the ledger holds is given without a call; identical calls under way are one call; a reply is on the disk
before it is used, and what is used is what the disk holds, so that a replay cannot differ. A failure is recorded and
never given as a reply: the next run asks again, and only a replay fails as the recorded run did.

Each request is written down before it leaves. So a run that is killed knows afterwards which of its calls may have been
paid, and its caps hold; they are asked again. The module `store` says what this is safe from.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from sparring.common.errors import ConversationError, CutOff, RunStopped, Skipped, TooLong, Unavailable, Unreadable
from sparring.common.files import adapter, writing
from sparring.common.seeds import digest
from sparring.core import attempts
from sparring.core.attempts import REPLIED, Attempt, Recordable, Tokens, clean
from sparring.core.chat import Chat
from sparring.core.speaker import Reply, Sampling
from sparring.ledger.accounts import totals
from sparring.ledger.budget import Budget, Meter, Spent
from sparring.ledger.store import Entry, Sent, Store

Mode = Literal["record", "replay", "off"]
_REPLY = adapter(Reply)
_KINDS = {kind.__name__: kind for kind in (CutOff, Skipped, TooLong, Unreadable)}  # others are an endpoint's own words
PREPARED = 16  # calls made ready between two looks at the network: of thousands asked at once the first leave early


class NotRecorded(RunStopped):
    """A call that a replay has no reply for."""


class Ledger:
    """The ledger of one run, in a file that it may share with others, which knows it by its id, `run`.

    `mode`: "record" asks for what is not there; "replay" never asks; "off" neither reads nor writes. The budget holds
    in all of them, and what earlier sittings of `run` spent counts.
    """

    def __init__(
        self,
        path: Path,
        run: str = "",
        mode: Mode = "record",
        budget: Budget | None = None,
        *,
        used: Path | None = None,
        name: str = "",
    ) -> None:
        """`used`: a file to which the keys of the calls are added that the run makes, held or not; `name`: what the
        run is called when it is shown."""
        self.path, self.run, self.mode = path, run, mode
        self.store = None if mode == "off" else Store(path, reading=mode == "replay")
        if self.store is not None:
            self.store.name(run, name or run)
        before = totals(path, run) if self.store else []
        self.meter = Meter(
            budget or Budget(),
            [(t.phase, t.round, Spent(t.calls, t.prompt_tokens + t.completion_tokens, t.cost)) for t in before],
        )
        self._used, self._noted = used, set[bytes]()
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, bytes], tuple[_Call, asyncio.Task[Reply]]] = {}
        self._preparing: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
        self.asks_first: set[type] = set()  # the kinds of speakers that ask `admit` before they send
        self.settling = False

    async def reply(self, speaker: Recordable, role: str, chat: Chat, sampling: Sampling, sample: int) -> Reply:
        """The reply that is held, or that of the same call under way, or that of a new call."""
        async with self._preparing.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(PREPARED)):
            call = _Call(self, speaker, role, speaker.request(chat, sampling, sample), sample)
            await asyncio.sleep(0)
        ask = partial(self._ask, call, partial(speaker.reply, chat, sampling, sample))
        if self.store is None:
            return await ask()
        self._note(call.key)
        place = (asyncio.get_running_loop(), call.key)
        if place not in self._under_way:
            if held := self._held(self.store, call.key):
                return held
            if self.mode == "replay":
                raise self._not_held(self.store, call)
            task = asyncio.create_task(ask())
            self._under_way[place] = (call, task)
            task.add_done_callback(partial(self._ended, place))
        # one that waits may be cancelled; the call is paid and goes on, for others and for the ledger
        return await asyncio.shield(self._under_way[place][1])

    def _ended(self, place: tuple[asyncio.AbstractEventLoop, bytes], task: asyncio.Task[Reply]) -> None:
        del self._under_way[place]
        if not task.cancelled():
            task.exception()  # those who waited have it, or wait no longer: asyncio is not to complain

    async def _ask(self, call: _Call, speak: Callable[[], Awaitable[Reply]]) -> Reply:
        """A new call: admitted, recorded whatever comes of it, and read back from the disk."""
        self.meter.check(call.serving)
        if not call.announced:
            await call.leave(Tokens())
        start = time.monotonic()
        with attempts.listening(call):
            try:
                reply = await speak()
            except asyncio.CancelledError:
                raise  # what it came to is not known: it stays open
            except BaseException as error:
                reports_nothing = call.last is None and isinstance(error, ConversationError)
                if call.admitted or reports_nothing:
                    call.record(Attempt(type(error).__name__, time.monotonic() - start, error=str(error)))
                raise
        if call.last is None or call.last.reply is not reply:
            used = Tokens(reply.prompt_tokens, reply.completion_tokens)
            call.record(Attempt(REPLIED, time.monotonic() - start, used, reply))
        if self.store is None or call.written is None:
            return reply
        await asyncio.shield(asyncio.wrap_future(call.written))
        return self._held(self.store, call.key) or reply

    async def settle(self) -> None:
        """Waits until what was sent is answered and recorded, since it is being paid; what still waits for its turn is
        given up, and nothing more is sent."""
        here = asyncio.get_running_loop()
        under_way = [found for (loop, _), found in self._under_way.items() if loop is here]
        self.settling = True
        try:
            for call, task in under_way:
                if call.waits:
                    task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        finally:
            self.settling = False

    def _note(self, key: bytes) -> None:
        if self._used is not None and key not in self._noted:
            self._noted.add(key)
            with writing(self._used), self._used.open("a") as file:
                file.write(f"{key.hex()}\n")

    def _held(self, store: Store, key: bytes) -> Reply | None:
        text = store.reply(key)
        return None if text is None else _REPLY.validate_json(text)

    def _not_held(self, store: Store, call: _Call) -> NotRecorded | ConversationError:
        if failed := store.failure(call.key):
            kind = _KINDS.get(failed.outcome, Unavailable)
            return kind(f"{call.model}: {failed.outcome}: {failed.error} (as recorded)")
        return NotRecorded(
            f"the ledger {self.path} has no reply for {call}, and a replay asks nobody; use mode = 'record' to ask"
        )

    def close(self) -> None:
        """Writes what is left to write and closes the file."""
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Call:
    """One call on its way; it is told of its attempts, charges them and writes them down."""

    def __init__(self, ledger: Ledger, speaker: Recordable, role: str, request: Mapping[str, Any], sample: int) -> None:
        self._ledger, self._speaker, self._role, self._sample = ledger, type(speaker), role, sample
        self.announced = attempts.admits(speaker)  # it says itself when a request leaves
        self.model = str(request["model"])
        self.serving = attempts.serving.get()
        self._request = clean(json.dumps(request, sort_keys=True, ensure_ascii=False))
        self.key = bytes.fromhex(digest(self._request))
        self.last: Attempt | None = None
        self.written: Future[None] | None = None
        self.admitted = False
        self._sent: int | None = None

    def __str__(self) -> str:
        asked = json.loads(self._request).get("messages") or [{"content": self._request}]
        of = self.serving
        return (
            f"sample {self._sample} of {self._role} at {self.model}, problem {of.problem!r} in round {of.round} of "
            f"phase {of.phase!r}, which ends in {asked[-1]['content'][-60:]!r} (key {self.key.hex()})"
        )

    @property
    def waits(self) -> bool:
        """Whether it is known not to have been sent, or to be between two tries."""
        return self._speaker in self._ledger.asks_first and not self.admitted

    async def admit(self, most: Tokens) -> None:
        """See `attempts.AttemptSink`."""
        self._ledger.asks_first.add(self._speaker)
        if not self.admitted:  # as it is where the ledger took the speaker for one that does not ask
            await self.leave(most)

    async def leave(self, most: Tokens) -> None:
        """Counts a request that may be billed for `most`, and returns when it is written down and may leave."""
        meter, store = self._ledger.meter, self._ledger.store
        if self._ledger.settling:
            raise RunStopped("the run is stopping, and nothing more is sent; go on with --resume")
        meter.admit(self.model, self.serving)
        self.admitted = True
        if store is None:
            return
        sent = self._about_to_leave(most, meter.budget.cost(self.model, most))
        try:
            await asyncio.shield(asyncio.wrap_future(store.send(sent)))
        except BaseException:
            store.withdraw(sent.id)
            meter.count(self.serving, Spent(calls=-1))
            self.admitted = False
            raise
        self._sent = sent.id

    def record(self, attempt: Attempt) -> None:
        """See `attempts.AttemptSink`."""
        meter = self._ledger.meter
        if not self.admitted:
            meter.count(self.serving, Spent(calls=1))
        sent, self._sent = self._sent, None
        self.admitted, self.last = False, attempt
        cost = meter.budget.cost(self.model, attempt.tokens)
        meter.count(self.serving, Spent(0, attempt.tokens.prompt + attempt.tokens.completion, cost))
        if self._ledger.store is not None:
            self.written = self._ledger.store.add(self._entry(attempt, cost), sent)

    def _about_to_leave(self, most: Tokens, cost: float) -> Sent:
        return Sent(
            id=secrets.randbits(63),
            key=self.key,
            request=self._request,
            at=time.time(),
            run=self._ledger.run,
            role=self._role,
            phase=self.serving.phase,
            round=self.serving.round,
            model=self.model,
            prompt_tokens=most.prompt,
            completion_tokens=most.completion,
            cost=cost,
        )

    def _entry(self, attempt: Attempt, cost: float) -> Entry:
        reply = attempt.reply and _clean(attempt.reply)
        return Entry(
            key=self.key,
            request=self._request,
            reply=_REPLY.dump_json(reply, exclude_defaults=True).decode() if reply else None,
            at=time.time(),
            run=self._ledger.run,
            role=self._role,
            phase=self.serving.phase,
            round=self.serving.round,
            problem=self.serving.problem,
            model=self.model,
            sample=self._sample,
            host=attempt.host,
            answered_by=attempt.answered_by,
            outcome=attempt.outcome,
            finish=reply.finish if reply else "",
            error=clean(attempt.error),
            prompt_tokens=attempt.tokens.prompt,
            completion_tokens=attempt.tokens.completion,
            thought_tokens=attempt.tokens.thought,
            cost=cost,
            seconds=attempt.seconds,
        )


def _clean(reply: Reply) -> Reply:
    return replace(reply, parts=tuple(replace(part, text=clean(part.text)) for part in reply.parts))


@dataclass(frozen=True)
class Recorded:
    """`speaker` in `role`, recorded in `ledger`."""

    speaker: Recordable
    ledger: Ledger
    role: str

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """See `speaker.Speaker`; raises BudgetReached at a cap and NotRecorded in a replay."""
        return await self.ledger.reply(self.speaker, self.role, chat, sampling, sample)
