"""A speaker whose calls are recorded and paid once.

If the ledger has a reply, it is returned without a call. Equal calls in flight share one call. A reply is written to
the disk before it is used and is read back from there, so that a replay cannot differ. A failure is recorded and never
returned as a reply: the next run makes the call again, and a replay raises the recorded failure.

Each request is recorded before it is sent. So after a kill the run knows which of its calls may have been paid, and its
caps still hold; those calls are made again. `store` says which crashes this survives.
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
from sparring.ledger.accounts import Total, totals
from sparring.ledger.budget import Budget, Meter, Spent
from sparring.ledger.prices import Prices, addresses
from sparring.ledger.schema import Entry
from sparring.ledger.store import Store

Mode = Literal["record", "replay", "off"]
_REPLY = adapter(Reply)
# outcomes that are errors of their own; every other one (an endpoint's "timed out", …) is Unavailable in a replay
_ERRORS = {kind.__name__: kind for kind in (CutOff, Skipped, TooLong, Unreadable)}
LOOK_FOR_ROOM = 0.02  # seconds between looks whether a request fits the budget beside those in flight
PREPARED_AT_ONCE = 16  # calls; preparing thousands of calls in one go would delay sending the first ones


class NotRecorded(RunStopped):
    """A replay needs a reply that the ledger does not have."""


class Ledger:
    """The ledger of the run with the id `run`, in a file that it may share with other runs.

    `mode` "record" makes calls that are not in the ledger; "replay" makes none; "off" neither reads nor writes. The
    budget holds in all modes and includes what `run` spent before it was resumed.
    """

    def __init__(
        self,
        path: Path,
        run: str = "",
        mode: Mode = "record",
        budget: Budget | None = None,
        *,
        used: Path | None = None,
        prices: Path | None = None,
        name: str = "",
    ) -> None:
        """`used`: a file to which the keys of the run's calls are appended, cached ones included. `prices`: a file that
        keeps the listed prices. `name`: the name of the run in reports."""
        self.path, self.run, self.mode = path, run, mode
        self.store = None if mode == "off" else Store(path, read_only=mode == "replay")
        earlier: list[Total] = []
        if self.store is not None:
            try:
                self.store.name(run, name or run)
                earlier = totals(path, run)
            except BaseException:
                self.store.close()
                raise
        self.meter = Meter(
            budget or Budget(),
            [(t.phase, t.round, Spent(t.calls, t.prompt_tokens + t.completion_tokens, t.cost)) for t in earlier],
        )
        self.prices = Prices(self.meter.budget.prices, prices)
        self._used_path, self._used_keys = used, set[bytes]()
        self._in_flight: dict[tuple[asyncio.AbstractEventLoop, bytes], tuple[_Call, asyncio.Task[Reply]]] = {}
        self._preparing: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
        self.admitting_speakers: set[type] = set()  # types of speakers that were seen to call `attempts.admit`
        self.is_settling = False

    async def reply(self, speaker: Recordable, role: str, chat: Chat, sampling: Sampling, sample: int) -> Reply:
        """Return the recorded reply, or that of an equal call in flight, or that of a new call."""
        loop = asyncio.get_running_loop()  # each call of `asyncio.run` has its own loop, and needs its own semaphore
        async with self._preparing.setdefault(loop, asyncio.Semaphore(PREPARED_AT_ONCE)):
            call = _Call(self, speaker, role, speaker.request(chat, sampling, sample), sample)
            await asyncio.sleep(0)  # so that prepared calls are sent before the next ones are prepared
        make = partial(self._make, call, partial(speaker.reply, chat, sampling, sample))
        if self.store is None:
            return await make()
        self._note_used(call.key)
        loop_key = (loop, call.key)
        if loop_key not in self._in_flight:
            if recorded := self._recorded_reply(self.store, call.key):
                return recorded
            if self.mode == "replay":
                raise self._missing(self.store, call)
            task = asyncio.create_task(make())
            self._in_flight[loop_key] = (call, task)
            task.add_done_callback(partial(self._finish, loop_key))
        # shielded: if one waiting task is cancelled, the call is paid and continues for others and for the ledger
        return await asyncio.shield(self._in_flight[loop_key][1])

    def _finish(self, loop_key: tuple[asyncio.AbstractEventLoop, bytes], task: asyncio.Task[Reply]) -> None:
        del self._in_flight[loop_key]
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio logs no warning if nobody waits for it any more

    async def _make(self, call: _Call, speak: Callable[[], Awaitable[Reply]]) -> Reply:
        """Make a new call: admit it, record its result whatever that is, and read the reply back from the disk."""
        self.meter.check(call.serving)
        if not call.speaker_admits:
            await call.send(Tokens())
        start = time.monotonic()
        with attempts.listening(call):
            try:
                reply = await speak()
            except asyncio.CancelledError:
                call.abandon()
                raise
            except BaseException as error:
                failed_unreported = call.last is None and isinstance(error, ConversationError)
                if call.is_admitted or failed_unreported:
                    seconds = time.monotonic() - start
                    call.record(Attempt(type(error).__name__, seconds, call.most, error=str(error)))
                raise
        if call.last is None or call.last.reply is not reply:
            used = Tokens(reply.prompt_tokens, reply.completion_tokens)
            call.record(Attempt(REPLIED, time.monotonic() - start, used, reply))
        if self.store is None or call.written is None:
            return reply
        await asyncio.shield(asyncio.wrap_future(call.written))
        return self._recorded_reply(self.store, call.key) or reply

    async def settle(self) -> None:
        """Wait until all sent requests are answered and recorded, since they are paid; cancel calls not yet sent.

        Nothing more is sent meanwhile.
        """
        loop = asyncio.get_running_loop()
        in_flight = [call_and_task for (other, _), call_and_task in self._in_flight.items() if other is loop]
        self.is_settling = True
        try:
            for call, task in in_flight:
                if call.is_waiting:
                    task.cancel()
            await asyncio.gather(*(task for _, task in in_flight), return_exceptions=True)
        finally:
            self.is_settling = False

    def _note_used(self, key: bytes) -> None:
        if self._used_path is not None and key not in self._used_keys:
            self._used_keys.add(key)
            with writing(self._used_path), self._used_path.open("ab") as file:
                file.write(f"{key.hex()}\n".encode())

    def _recorded_reply(self, store: Store, key: bytes) -> Reply | None:
        text = store.reply(key)
        return None if text is None else _REPLY.validate_json(text)

    def _missing(self, store: Store, call: _Call) -> NotRecorded | ConversationError:
        """Return the error of a replay for a call without a reply: its recorded failure, or NotRecorded."""
        if failure := store.failure(call.key):
            kind = _ERRORS.get(failure.outcome, Unavailable)
            return kind(f"{call.model}: {failure.outcome}: {failure.error} (as recorded)")
        return NotRecorded(
            f"the ledger {self.path} has no reply for {call}, and a replay makes no calls; use mode = 'record'"
        )

    def close(self) -> None:
        """Write what is pending and close the file."""
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Call:
    """One call; receives its attempts (`attempts.AttemptSink`), charges and records them."""

    def __init__(self, ledger: Ledger, speaker: Recordable, role: str, request: Mapping[str, Any], sample: int) -> None:
        self._ledger, self._speaker = ledger, type(speaker)
        self._urls = addresses(speaker)
        self.speaker_admits = attempts.admits(speaker)  # otherwise the call counts as sent at once
        self.serving = attempts.serving.get()
        text = clean(json.dumps(request, sort_keys=True, ensure_ascii=False))
        self._entry = Entry(  # without a result
            key=bytes.fromhex(digest(text)),
            request=text,
            run=ledger.run,
            role=role,
            phase=self.serving.phase,
            round=self.serving.round,
            problem=self.serving.problem,
            model=str(request["model"]),
            sample=sample,
        )
        self.key, self.model = self._entry.key, self._entry.model
        self.last: Attempt | None = None
        self.written: Future[None] | None = None
        self.is_admitted = False
        self.most = Tokens()  # that the request in flight may be billed for
        self._reserved = Spent()  # the same as a sum on the meter
        self._sent: int | None = None

    def __str__(self) -> str:
        entry = self._entry
        messages = json.loads(entry.request).get("messages") or [{"content": entry.request}]
        return (
            f"sample {entry.sample} of {entry.role} at {entry.model}, problem {entry.problem!r} in round {entry.round} "
            f"of phase {entry.phase!r}, which ends in {messages[-1]['content'][-60:]!r} (key {entry.key.hex()})"
        )

    @property
    def is_waiting(self) -> bool:
        """Whether the speaker is known to admit its requests and none of this call is in flight."""
        return self._speaker in self._ledger.admitting_speakers and not self.is_admitted

    async def admit(self, most: Tokens) -> None:
        """See `attempts.AttemptSink`."""
        self._ledger.admitting_speakers.add(self._speaker)
        if not self.is_admitted:  # it is if the speaker does not declare `admits`: then `_make` counted it as sent
            await self.send(most)

    async def send(self, most: Tokens) -> None:
        """Count a request that may be billed for `most`.

        Returns when it fits the budget and is recorded, so that it may be sent.
        """
        meter, store = self._ledger.meter, self._ledger.store
        prices, urls = self._ledger.prices, self._urls
        if meter.budget.limits_money and (error := prices.missing(self.model, urls)):
            raise error
        reserved = Spent(1, most.prompt + most.completion, prices.cost(self.model, most, urls))
        while True:
            if self._ledger.is_settling:
                raise RunStopped("the run is stopping and sends nothing more; continue with --resume")
            if meter.admit(self.serving, reserved):
                break
            await asyncio.sleep(LOOK_FOR_ROOM)  # no event: those in flight may belong to another event loop
        self.is_admitted, self.most, self._reserved = True, most, reserved
        if store is None:
            return
        id_ = secrets.randbits(63)  # unique among all runs that share the file; fits SQLite's signed integers
        entry = replace(
            self._entry,
            at=time.time(),
            prompt_tokens=most.prompt,
            completion_tokens=most.completion,
            cost=reserved.money,
        )
        try:
            await asyncio.shield(asyncio.wrap_future(store.send(id_, entry)))
        except BaseException:  # cancelled, or not written: the request is not sent, so it is not paid
            store.withdraw(id_)
            self._leave_flight()
            meter.count(self.serving, Spent(calls=-1))
            raise
        self._sent = id_

    def _leave_flight(self) -> None:
        if self.is_admitted:
            self._ledger.meter.release(self.serving, self._reserved)
        self.is_admitted, self.most, self._reserved = False, Tokens(), Spent()  # a further try is admitted anew

    def abandon(self) -> None:
        """Count a request in flight with the most that it may have cost: its result stays unknown, as on the ledger."""
        self._ledger.meter.count(self.serving, replace(self._reserved, calls=0))
        self._leave_flight()

    def record(self, attempt: Attempt) -> None:
        """See `attempts.AttemptSink`."""
        meter = self._ledger.meter
        if not self.is_admitted:
            meter.count(self.serving, Spent(calls=1))
        sent, self._sent = self._sent, None
        self.last = attempt
        self._leave_flight()
        cost = self._ledger.prices.cost(self.model, attempt.tokens, self._urls)
        meter.count(self.serving, Spent(0, attempt.tokens.prompt + attempt.tokens.completion, cost))
        if self._ledger.store is not None:
            self.written = self._ledger.store.add(self._result(attempt, cost), sent)

    def _result(self, attempt: Attempt, cost: float) -> Entry:
        reply = attempt.reply and _clean(attempt.reply)
        return replace(
            self._entry,
            reply=_REPLY.dump_json(reply, exclude_defaults=True).decode() if reply else None,
            at=time.time(),
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
    """A speaker in a role, with its calls recorded in `ledger`."""

    speaker: Recordable
    ledger: Ledger
    role: str

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """See `speaker.Speaker`; raises BudgetReached at a cap, and NotRecorded if a replay has no reply."""
        attempts.note_asked()
        return await self.ledger.reply(self.speaker, self.role, chat, sampling, sample)
