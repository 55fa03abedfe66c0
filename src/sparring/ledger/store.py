"""The file of a ledger: calls and attempts in SQLite.

`call` holds each request once, under the digest of its content, with its one reply; `attempt` grows by a row with every
try; `total` is kept by a trigger, so that sums over a million attempts are there at once. One thread writes: what is
handed in while a commit is on its way to the disk goes there together with the next.

Not here: what a call costs, what is in flight, what a mode allows.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from sparring.ledger.disk import open_for_reading, open_for_writing, refusing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS call (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, request TEXT NOT NULL, reply TEXT);
CREATE TABLE IF NOT EXISTS attempt (
    id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES call(id), at REAL NOT NULL, run TEXT NOT NULL,
    role TEXT NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, problem TEXT NOT NULL,
    model TEXT NOT NULL, sample INTEGER NOT NULL, host TEXT NOT NULL, answered_by TEXT NOT NULL,
    outcome TEXT NOT NULL, finish TEXT NOT NULL, error TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, thought_tokens INTEGER NOT NULL,
    cost REAL NOT NULL, seconds REAL NOT NULL);
CREATE INDEX IF NOT EXISTS failed ON attempt(call) WHERE outcome != 'replied';
CREATE TABLE IF NOT EXISTS total (
    run TEXT, role TEXT, phase TEXT, round INTEGER, model TEXT, calls INTEGER, failed INTEGER,
    prompt_tokens INTEGER, completion_tokens INTEGER, thought_tokens INTEGER, cost REAL, seconds REAL,
    PRIMARY KEY (run, role, phase, round, model)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS add_up AFTER INSERT ON attempt BEGIN
    INSERT INTO total VALUES (new.run, new.role, new.phase, new.round, new.model, 1, new.outcome != 'replied',
        new.prompt_tokens, new.completion_tokens, new.thought_tokens, new.cost, new.seconds)
    ON CONFLICT (run, role, phase, round, model) DO UPDATE SET
        calls = calls + 1, failed = failed + excluded.failed,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        thought_tokens = thought_tokens + excluded.thought_tokens,
        cost = cost + excluded.cost, seconds = seconds + excluded.seconds;
END;
"""


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


class Failed(NamedTuple):
    """What became of a try that brought no reply."""

    outcome: str
    error: str


_OF_ATTEMPT = [column.name for column in fields(Entry)][3:]
_ADD_CALL = """INSERT INTO call (key, request, reply) VALUES (:key, :request, :reply) ON CONFLICT (key)
    DO UPDATE SET reply = excluded.reply WHERE reply IS NULL AND excluded.reply IS NOT NULL"""
_ADD_ATTEMPT = f"""INSERT INTO attempt (call, {", ".join(_OF_ATTEMPT)})
    VALUES ((SELECT id FROM call WHERE key = :key), {", ".join(f":{name}" for name in _OF_ATTEMPT)})"""


class Store:
    """The open file. `reading`: nothing is ever written, and the file must be there."""

    def __init__(self, path: Path, reading: bool = False) -> None:
        self.path = path
        self._writing = None if reading else open_for_writing(path, _SCHEMA)
        self._reading = open_for_reading(path)
        self._waiting: list[Entry] = []
        self._next: Future[None] | None = None  # the commit that will take along what waits
        self._changing = Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

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

    def add(self, entry: Entry) -> Future[None]:
        """Hands `entry` in; done when it is on the disk. Where its call has a reply already, that one stays."""
        with self._changing:
            self._waiting.append(entry)
            if self._next is None:
                self._next = self._writer.submit(self._commit)
            return self._next

    def _commit(self) -> None:
        """Writes all that waits; what cannot be written goes on waiting."""
        with self._changing:
            group, self._waiting, self._next = self._waiting, [], None
        if not group or self._writing is None:
            return
        try:
            with refusing(self.path), self._writing:
                self._writing.execute("BEGIN IMMEDIATE")
                told = [vars(entry) for entry in group]
                self._writing.executemany(_ADD_CALL, told)
                self._writing.executemany(_ADD_ATTEMPT, told)
        except BaseException:
            with self._changing:
                self._waiting = group + self._waiting
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
