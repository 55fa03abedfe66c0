"""The tables of a ledger's file, and the number that says which tables they are.

`call` holds each request once, under the digest of its content, with its one reply; `attempt` grows by a row with every
try; `total` is kept by a trigger, so that sums over a million attempts are there at once. `sent` holds the requests
that have left and whose result is not written down yet; `run` the names of the runs, which are known by their ids.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sparring.common.errors import ConfigError

VERSION = 2  # 1 had no number, and knew runs by their folders' names
_OURS = {"call", "attempt", "total"}  # in every version

_TABLES = (
    "CREATE TABLE call (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, request TEXT NOT NULL, reply TEXT)",
    """CREATE TABLE attempt (
        id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES call(id), at REAL NOT NULL, run TEXT NOT NULL,
        role TEXT NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, problem TEXT NOT NULL,
        model TEXT NOT NULL, sample INTEGER NOT NULL, host TEXT NOT NULL, answered_by TEXT NOT NULL,
        outcome TEXT NOT NULL, finish TEXT NOT NULL, error TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, thought_tokens INTEGER NOT NULL,
        cost REAL NOT NULL, seconds REAL NOT NULL)""",
    "CREATE INDEX failed ON attempt(call) WHERE outcome != 'replied'",
    """CREATE TABLE total (
        run TEXT, role TEXT, phase TEXT, round INTEGER, model TEXT, calls INTEGER, failed INTEGER,
        prompt_tokens INTEGER, completion_tokens INTEGER, thought_tokens INTEGER, cost REAL, seconds REAL,
        PRIMARY KEY (run, role, phase, round, model)) WITHOUT ROWID""",
    """CREATE TRIGGER add_up AFTER INSERT ON attempt BEGIN
        INSERT INTO total VALUES (new.run, new.role, new.phase, new.round, new.model, 1, new.outcome != 'replied',
            new.prompt_tokens, new.completion_tokens, new.thought_tokens, new.cost, new.seconds)
        ON CONFLICT (run, role, phase, round, model) DO UPDATE SET
            calls = calls + 1, failed = failed + excluded.failed,
            prompt_tokens = prompt_tokens + excluded.prompt_tokens,
            completion_tokens = completion_tokens + excluded.completion_tokens,
            thought_tokens = thought_tokens + excluded.thought_tokens,
            cost = cost + excluded.cost, seconds = seconds + excluded.seconds;
    END""",
    """CREATE TABLE sent (
        id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES call(id), at REAL NOT NULL, run TEXT NOT NULL,
        role TEXT NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, model TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL)""",
    "CREATE TABLE run (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
)


def is_made(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the ledger at `path` has its tables; ConfigError where it has those of something else."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()  # second: another may make them meanwhile
    if version == VERSION and (not names or names >= _OURS):
        return True
    if not names and not version:
        return False
    if not names >= _OURS:
        raise ConfigError(f"{path} is no ledger (it is a data base of something else); name another file")
    age = "a newer" if version > VERSION else "an older"
    raise ConfigError(
        f"the ledger {path} was written by {age} version of sparring (schema {version or 1}, and this version uses "
        f"{VERSION}); use that version, or name another file"
    )


def make(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables where there are none; of several that open a new file one makes them."""
    if is_made(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if not is_made(connection, path):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
