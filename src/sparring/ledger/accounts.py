"""Reading a ledger, also while it is in use: sums, failures, and every attempt, exported to JSONL and restored."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from sparring.common.files import writing
from sparring.ledger.disk import open_for_reading, sqlite_errors
from sparring.ledger.schema import Entry
from sparring.ledger.store import Store


class Total(NamedTuple):
    """Sums over the attempts of one role with one model in one round; `cost` in the unit of the price table.

    Requests that were sent and have no recorded result have a sum of their own, in which all `calls` are `open`: they
    are in flight, or the process was killed and they may have been paid. Their tokens and cost are upper bounds.
    """

    run: str
    role: str
    phase: str
    round: int
    model: str
    calls: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    thought_tokens: int
    cost: float
    seconds: float
    open: int = 0


_TOTALS = """
    SELECT *, 0 AS open FROM total WHERE run = coalesce(:run, run)
    UNION ALL
    SELECT run, role, phase, round, model, count(*), 0, sum(prompt_tokens), sum(completion_tokens), 0, sum(cost), 0,
        count(*) FROM sent WHERE run = coalesce(:run, run) GROUP BY run, role, phase, round, model
    ORDER BY run, phase, round, role, model, open"""


def totals(path: Path, run: str | None = None) -> list[Total]:
    """Return the sums of `run` (None: of every run) in the ledger at `path`."""
    with closing(open_for_reading(path)) as ledger, sqlite_errors(path):
        return [Total(*row) for row in ledger.execute(_TOTALS, {"run": run})]


def runs(path: Path) -> dict[str, str]:
    """Return the names of the runs in the ledger at `path`, by their ids."""
    with closing(open_for_reading(path)) as ledger, sqlite_errors(path):
        return dict(map(tuple, ledger.execute("SELECT id, name FROM run ORDER BY name, id")))


def entries(
    path: Path, run: str | None = None, failed: bool = False, calls: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the attempts of `run` (None: of every run) in their order, with request and reply.

    `failed`: only failed attempts. `calls`: only attempts of the calls with these keys.
    """
    query = f"""SELECT attempt.*, hex(call.key) AS key, call.request, call.reply FROM attempt
        JOIN call ON call.id = attempt.call
        WHERE run = coalesce(?, run) {"AND outcome != 'replied'" if failed else ""} ORDER BY attempt.id"""
    with closing(open_for_reading(path)) as ledger, sqlite_errors(path):
        for row in ledger.execute(query, (run,)):
            key = row["key"].lower()
            if calls is not None and key not in calls:
                continue
            entry = {**row, "key": key, "request": json.loads(row["request"])}
            has_reply = row["outcome"] == "replied"  # of this attempt: a later one may have brought the call's reply
            entry["reply"] = json.loads(row["reply"]) if has_reply else None
            yield entry


def restore(path: Path, source: Path, run: str, name: str) -> None:
    """Create a ledger at `path` from `source`, a file written by `export`, with all attempts under `run` and `name`."""
    columns = [column.name for column in fields(Entry)]
    with closing(Store(path)) as store, source.open(encoding="utf-8") as file:
        store.name(run, name)
        for entry in map(json.loads, file):
            request = json.dumps(entry["request"], sort_keys=True, ensure_ascii=False)
            reply = entry["reply"] and json.dumps(entry["reply"], ensure_ascii=False)
            values = {**entry, "run": run, "key": bytes.fromhex(entry["key"]), "request": request, "reply": reply}
            store.add(Entry(**{column: values[column] for column in columns}))


def export(path: Path, to: Path, run: str | None = None, calls: Collection[str] | None = None) -> int:
    """Write the attempts of `run` (None: of every run) to `to`, one JSON object per line, and return their number.

    `calls`: only attempts of the calls with these keys.
    """
    partial, count = to.with_name(to.name + ".partial"), 0
    with writing(to):
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for count, entry in enumerate(entries(path, run, calls=calls), start=1):  # noqa: B007 (the last one is the count)
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        partial.replace(to)
    return count
