"""The columns of an attempt, the tables of a ledger's file, and their version.

`call` holds each request once, under the digest of its content, with its one reply. `attempt` has a row for each try.
`total` holds sums over the attempts, kept by a trigger, so that reading them is fast. `sent` holds the requests that
were sent and have no recorded result yet. `run` maps the ids of the runs to their names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from sparring.common.errors import ConfigError

VERSION = 2  # version 1 had no number, and named runs by their folders


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One attempt; before its request is sent, the same without a result, with the most that it may be billed for.

    `key`, `request` (JSON) and `reply` (JSON; None: no reply) go into the table `call`. Each other field is a column of
    `attempt` with its name, in this order. A change here is a new VERSION.
    """

    key: bytes
    request: str
    reply: str | None = None
    at: float = 0.0  # Unix time in seconds
    run: str
    role: str
    phase: str
    round: int
    problem: str
    model: str
    sample: int
    host: str = ""
    answered_by: str = ""
    outcome: str = ""
    finish: str = ""
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thought_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0


_SQL_TYPES = {"float": "REAL", "int": "INTEGER", "str": "TEXT"}
_TYPES = {field.name: _SQL_TYPES.get(str(field.type), "") for field in fields(Entry)}
ATTEMPT_COLUMNS = tuple(name for name in _TYPES if name not in ("key", "request", "reply"))
SENT_COLUMNS = ("at", "run", "role", "phase", "round", "model", "prompt_tokens", "completion_tokens", "cost")


def _declarations(columns: Iterable[str]) -> str:
    return ", ".join(f"{name} {_TYPES[name]} NOT NULL" for name in columns)


_TABLES = (
    "CREATE TABLE call (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, request TEXT NOT NULL, reply TEXT)",
    f"""CREATE TABLE attempt (
        id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES call(id), {_declarations(ATTEMPT_COLUMNS)})""",
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
    f"""CREATE TABLE sent (
        id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES call(id), {_declarations(SENT_COLUMNS)})""",
    "CREATE TABLE run (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
)
_ALL_VERSIONS = {"call", "attempt", "total"}  # tables that every version has


def has_tables(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the database at `path` has a ledger's tables.

    False if it is empty; raises ConfigError if it is another database or a ledger of another version.
    """
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    # the version is read after the names: another process may create the tables in between
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version == VERSION and (not names or names >= _ALL_VERSIONS):
        return True
    if not names and not version:
        return False
    if not names >= _ALL_VERSIONS:
        raise ConfigError(f"{path} is not a ledger (it is another database); name another file")
    age = "a newer" if version > VERSION else "an older"
    raise ConfigError(
        f"the ledger {path} was written by {age} version of sparring (schema {version or 1}, and this version uses "
        f"{VERSION}); use that version, or name another file"
    )


def create_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables if they are missing; of several processes that open a new file, one creates them."""
    if has_tables(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if not has_tables(connection, path):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
