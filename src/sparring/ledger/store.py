"""The file of a ledger, open: calls and attempts in SQLite.

One thread writes: what is handed in while a commit is on its way to the disk goes there together with the next.
Attempts are safe from a loss of power. The mark of a request that is sent is safe from the death of this process
(`kill -9`, a crash, the out-of-memory killer), and from a loss of power only with the next attempt that is written:
each request would otherwise wait for the disk, which costs more than the few calls that such a loss may forget.

Not here: the tables (`schema`), what a call costs, what is in flight, what a mode allows.
"""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from sparring.ledger.disk import open_for_reading, open_for_writing, refusing

SAFE, QUICK = "FULL", "NORMAL"  # SQLite's words: a commit has reached the disk; it has reached the operating system


@dataclass(frozen=True)
class Entry:
    """One attempt as it is written. `key`, `request` and `reply` are of its call: JSON; None: there was no reply."""

    key: bytes
    request: str
    reply: str | None
    at: float
    run: str
    role: str
    phase: str
    round: int
    problem: str
    model: str
    sample: int
    host: str
    answered_by: str
    outcome: str
    finish: str
    error: str
    prompt_tokens: int
    completion_tokens: int
    thought_tokens: int
    cost: float
    seconds: float


@dataclass(frozen=True)
class Sent:
    """A request that is about to leave, under an `id` of its own, and the most that it may be billed for."""

    id: int
    key: bytes
    request: str
    at: float
    run: str
    role: str
    phase: str
    round: int
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Failed(NamedTuple):
    """What became of a try that brought no reply."""

    outcome: str
    error: str


_OF_ATTEMPT = [column.name for column in fields(Entry)][3:]
_OF_SENT = [column.name for column in fields(Sent)][3:]
_ADD_CALL = """INSERT INTO call (key, request, reply) VALUES (:key, :request, :reply) ON CONFLICT (key)
    DO UPDATE SET reply = excluded.reply WHERE reply IS NULL AND excluded.reply IS NOT NULL"""
_ADD_ATTEMPT = f"""INSERT INTO attempt (call, {", ".join(_OF_ATTEMPT)})
    VALUES ((SELECT id FROM call WHERE key = :key), {", ".join(f":{name}" for name in _OF_ATTEMPT)})"""
_ADD_SENT = f"""INSERT INTO sent (id, call, {", ".join(_OF_SENT)})
    VALUES (:id, (SELECT id FROM call WHERE key = :key), {", ".join(f":{name}" for name in _OF_SENT)})"""
_NAME_RUN = "INSERT INTO run VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name"


@dataclass
class _Group:
    """What is written in one commit."""

    sent: list[Sent] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)  # ids of requests whose result is known, or that never left

    def __bool__(self) -> bool:
        return bool(self.sent or self.entries or self.settled)

    def take(self, later: _Group) -> _Group:
        """Itself, with what `later` holds put behind."""
        self.sent += later.sent
        self.entries += later.entries
        self.settled += later.settled
        return self

    def write(self, connection: sqlite3.Connection) -> None:
        """Writes all of it, in an order in which what is settled is there."""
        told = [vars(entry) for entry in self.entries]
        leaving = [{**vars(sent), "reply": None} for sent in self.sent]
        connection.executemany(_ADD_CALL, leaving + told)
        connection.executemany(_ADD_SENT, leaving)
        connection.executemany(_ADD_ATTEMPT, told)
        connection.executemany("DELETE FROM sent WHERE id = ?", [(id_,) for id_ in self.settled])


class Store:
    """The open file. `reading`: nothing is ever written, and the file must be there."""

    def __init__(self, path: Path, reading: bool = False) -> None:
        self.path = path
        self._writing = None if reading else open_for_writing(path)
        self._reading = open_for_reading(path)
        self._waiting = _Group()
        self._next: Future[None] | None = None  # the commit that will take along what waits
        self._changing = Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    def name(self, run: str, name: str) -> None:
        """Writes down what the run with the id `run` is called now."""
        if self._writing is not None:
            with refusing(self.path):
                self._writing.execute(_NAME_RUN, (run, name))

    def reply(self, key: bytes) -> str | None:
        """The reply of the call `key`, None while it has none."""
        with refusing(self.path):
            row = self._reading.execute("SELECT reply FROM call WHERE key = ?", (key,)).fetchone()
        return row["reply"] if row else None

    def failure(self, key: bytes) -> Failed | None:
        """The last failure of the call `key`, None if it never failed."""
        query = """SELECT outcome, error FROM attempt WHERE outcome != 'replied'
            AND call = (SELECT id FROM call WHERE key = ?) ORDER BY id DESC LIMIT 1"""
        with refusing(self.path):
            row = self._reading.execute(query, (key,)).fetchone()
        return Failed(row["outcome"], row["error"]) if row else None

    def send(self, sent: Sent) -> Future[None]:
        """Hands in that a request is about to leave; done when that is written, and it may leave."""
        return self._hand_in(_Group(sent=[sent]))

    def withdraw(self, sent: int) -> Future[None]:
        """Takes back a request that was handed in by `send`, and did not leave."""
        return self._hand_in(_Group(settled=[sent]))

    def add(self, entry: Entry, sent: int | None = None) -> Future[None]:
        """Hands `entry` in, what came of the request `sent`; done when it is on the disk. Where its call has a reply
        already, that one stays."""
        return self._hand_in(_Group(entries=[entry], settled=[] if sent is None else [sent]))

    def _hand_in(self, group: _Group) -> Future[None]:
        with self._changing:
            self._waiting.take(group)
            if self._next is None:
                self._next = self._writer.submit(self._commit)
            return self._next

    def _commit(self) -> None:
        """Writes all that waits; what cannot be written goes on waiting."""
        with self._changing:
            group, self._waiting, self._next = self._waiting, _Group(), None
        if not group or self._writing is None:
            return
        try:
            with refusing(self.path):
                self._writing.execute(f"PRAGMA synchronous = {SAFE if group.entries else QUICK}")
                with self._writing:
                    self._writing.execute("BEGIN IMMEDIATE")
                    group.write(self._writing)
        except BaseException:
            with self._changing:
                self._waiting = group.take(self._waiting)
            raise

    def close(self) -> None:
        """Writes what waits and closes the file."""
        try:
            self._writer.submit(self._commit).result()
        finally:
            self._writer.shutdown()
            self._reading.close()
            if self._writing is not None:
                self._writing.close()
