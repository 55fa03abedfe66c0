"""Reading and writing the calls and attempts of a ledger in SQLite.

One thread writes. What is handed in during a commit goes into the next one, so that many attempts share a commit.

A recorded attempt survives a power failure. The mark of a request that is about to be sent survives the death of this
process (`kill -9`, a crash, the out-of-memory killer). It survives a power failure only after the next attempt is
recorded, since otherwise each request would wait for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import NamedTuple

from sparring.ledger.disk import open_for_reading, open_for_writing, sqlite_errors
from sparring.ledger.schema import ATTEMPT_COLUMNS, SENT_COLUMNS, Entry

# values of SQLite's `synchronous`: a commit waits for the disk; a commit waits for the operating system only
_WAIT_FOR_DISK, _WAIT_FOR_SYSTEM = "FULL", "NORMAL"


class Failed(NamedTuple):
    """The outcome of a try that brought no reply."""

    outcome: str
    error: str


def _placeholders(columns: Iterable[str]) -> str:
    return ", ".join(f":{name}" for name in columns)


_ADD_CALL = """INSERT INTO call (key, request, reply) VALUES (:key, :request, :reply) ON CONFLICT (key)
    DO UPDATE SET reply = excluded.reply WHERE reply IS NULL AND excluded.reply IS NOT NULL"""
_ADD_ATTEMPT = f"""INSERT INTO attempt (call, {", ".join(ATTEMPT_COLUMNS)})
    VALUES ((SELECT id FROM call WHERE key = :key), {_placeholders(ATTEMPT_COLUMNS)})"""
_ADD_SENT = f"""INSERT INTO sent (id, call, {", ".join(SENT_COLUMNS)})
    VALUES (:id, (SELECT id FROM call WHERE key = :key), {_placeholders(SENT_COLUMNS)})"""
_NAME_RUN = "INSERT INTO run VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name"


@dataclass
class _Changes:
    """The content of one commit. `sent` maps the ids of requests to their entries."""

    sent: dict[int, Entry] = field(default_factory=dict)
    attempts: list[Entry] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)  # ids of requests whose result is known or that were never sent

    def __bool__(self) -> bool:
        return bool(self.sent or self.attempts or self.settled)

    def extend(self, later: _Changes) -> _Changes:
        """Append `later` to these changes and return them."""
        self.sent |= later.sent
        self.attempts += later.attempts
        self.settled += later.settled
        return self

    def write(self, connection: Connection) -> None:
        """Write all changes; rows of `sent` are added before they are deleted."""
        sent = [{**vars(entry), "id": id_} for id_, entry in self.sent.items()]
        attempts = [vars(entry) for entry in self.attempts]
        connection.executemany(_ADD_CALL, sent + attempts)
        connection.executemany(_ADD_SENT, sent)
        connection.executemany(_ADD_ATTEMPT, attempts)
        connection.executemany("DELETE FROM sent WHERE id = ?", [(id_,) for id_ in self.settled])


class Store:
    """An open ledger file. `read_only`: nothing is written, and the file must exist."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._write_connection = None if read_only else open_for_writing(path)
        try:
            self._read_connection = open_for_reading(path)
        except BaseException:
            if self._write_connection is not None:
                self._write_connection.close()
            raise
        self._pending = _Changes()
        self._next_commit: Future[None] | None = None  # the commit that will include what is pending
        self._lock = Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    def name(self, run: str, name: str) -> None:
        """Store `name` as the current name of the run with the id `run`."""
        if self._write_connection is not None:
            with sqlite_errors(self.path):
                self._write_connection.execute(_NAME_RUN, (run, name))

    def reply(self, key: bytes) -> str | None:
        """Return the reply (JSON) to the call `key`, None if it has none."""
        with sqlite_errors(self.path):
            row = self._read_connection.execute("SELECT reply FROM call WHERE key = ?", (key,)).fetchone()
        return row["reply"] if row else None

    def failure(self, key: bytes) -> Failed | None:
        """Return the last failure of the call `key`, None if it never failed."""
        query = """SELECT outcome, error FROM attempt WHERE outcome != 'replied'
            AND call = (SELECT id FROM call WHERE key = ?) ORDER BY id DESC LIMIT 1"""
        with sqlite_errors(self.path):
            row = self._read_connection.execute(query, (key,)).fetchone()
        return Failed(row["outcome"], row["error"]) if row else None

    def send(self, id_: int, entry: Entry) -> Future[None]:
        """Record that a request is about to be sent, under a new `id_`; it may be sent once the future is done."""
        return self._hand_in(_Changes(sent={id_: entry}))

    def withdraw(self, id_: int) -> Future[None]:
        """Remove the request `id_`, which was recorded by `send` and never sent."""
        return self._hand_in(_Changes(settled=[id_]))

    def add(self, entry: Entry, sent: int | None = None) -> Future[None]:
        """Record the attempt `entry`, the result of the request with the id `sent`; done when it is on the disk.

        If the call has a reply already, it keeps that one.
        """
        return self._hand_in(_Changes(attempts=[entry], settled=[] if sent is None else [sent]))

    def _hand_in(self, changes: _Changes) -> Future[None]:
        with self._lock:
            self._pending.extend(changes)
            if self._next_commit is None:
                self._next_commit = self._writer.submit(self._commit)
            return self._next_commit

    def _commit(self) -> None:
        """Write everything pending; if that fails, it stays pending."""
        with self._lock:
            changes, self._pending, self._next_commit = self._pending, _Changes(), None
        if not changes or self._write_connection is None:
            return
        try:
            with sqlite_errors(self.path):
                level = _WAIT_FOR_DISK if changes.attempts else _WAIT_FOR_SYSTEM
                self._write_connection.execute(f"PRAGMA synchronous = {level}")
                with self._write_connection:
                    self._write_connection.execute("BEGIN IMMEDIATE")
                    changes.write(self._write_connection)
        except BaseException:
            with self._lock:
                self._pending = changes.extend(self._pending)
            raise

    def close(self) -> None:
        """Write what is pending and close the file."""
        try:
            self._writer.submit(self._commit).result()
        finally:
            self._writer.shutdown()
            self._read_connection.close()
            if self._write_connection is not None:
                self._write_connection.close()
