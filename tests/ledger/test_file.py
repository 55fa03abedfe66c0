"""The ledger's file: several writers, full disks, network shares, and no API key in it."""

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError, RunStopped
from sparring.core import attempts
from sparring.core.attempts import Attempt, Tokens
from sparring.core.chat import question
from sparring.core.speaker import text_reply
from sparring.ledger import (
    Budget,
    Cap,
    Ledger,
    Recorded,
    disk,
    entries,
    totals,
)
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import completion, raw, say, serving, status
from tests.parrot import PLAIN, Parrot, ask

CANARY = "sk-canary-0123456789abcdef"
HERE = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_two_processes_write_one_ledger(path):
    code = f"""
import asyncio, sys
from pathlib import Path
from sparring.core.chat import question
from sparring.ledger import Ledger, Recorded
from sparring.core.speaker import Sampling
from tests.parrot import Parrot
async def main():
    with Ledger(Path({str(path)!r}), sys.argv[1]) as ledger:
        speaker = Recorded(Parrot(seconds=0.001), ledger, "critic")
        for start in range(0, 100, 10):
            await asyncio.gather(*(speaker.reply(question(f"{{k % 2 * sys.argv[1]}}{{k}}"), Sampling())
                                   for k in range(start, start + 10)))
asyncio.run(main())
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code, run], cwd=HERE, stderr=subprocess.PIPE) for run in ("one", "two")
    ]
    for process in both:
        assert process.wait(60) == 0, process.stderr.read().decode()
        process.stderr.close()
    texts = {entry["request"]["messages"][0]["content"] for entry in entries(path)}
    assert texts == {f"{k % 2 * run}{k}" for k in range(100) for run in ("one", "two")}
    assert {total.run: total.failed for total in totals(path)} == {"one": 0, "two": 0}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_many_open_a_new_ledger_at_once(tmp_path):
    errors, together = [], threading.Barrier(4)

    def work():
        for number in range(50):
            together.wait(30)
            try:
                with Ledger(tmp_path / f"{number}.sqlite") as ledger:
                    ask(Recorded(Parrot(), ledger, "critic"), "a")
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_where_two_paid_for_one_call_both_use_the_reply_that_stays(path):
    slow, quick = Parrot(calls=["", ""], seconds=0.05), Parrot()

    async def main(one, other):
        first = asyncio.create_task(one.reply(question("a"), PLAIN))
        await asyncio.sleep(0.01)
        return [(await other.reply(question("a"), PLAIN)).text, (await first).text]

    with Ledger(path, "one") as one, Ledger(path, "two") as two:
        assert asyncio.run(main(Recorded(slow, one, "critic"), Recorded(quick, two, "critic"))) == ["a 1", "a 1"]


@pytest.fixture
def connections(monkeypatch) -> list[sqlite3.Connection]:
    """The connections that are opened, in their order: the first of a ledger is the one that writes."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*args, **kwargs) -> sqlite3.Connection:
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", recorded)
    return opened


def test_what_waits_while_one_commit_is_under_way_goes_with_the_next(path, connections):
    commits = []

    async def main(speaker):
        await asyncio.gather(*(speaker.reply(question(str(k)), PLAIN) for k in range(200)))

    with Ledger(path) as ledger:
        connections[0].set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        asyncio.run(main(Recorded(Parrot(), ledger, "critic")))
    assert len(list(entries(path))) == 200
    assert len(commits) < 100  # of 200 that leave and 200 that are answered


def fill(connection):
    """Let the ledger's file grow no further."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def empty(connection):
    connection.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_is_one_line_and_nothing_leaves(path, connections):
    parrot = Parrot()
    with Ledger(path, budget=Budget(run=Cap(calls=2))) as ledger:
        speaker = Recorded(parrot, ledger, "critic")
        ask(speaker, "a")
        fill(connections[0])
        with pytest.raises(RunStopped, match="full") as caught:
            ask(speaker, "b" * 100_000)
        assert "\n" not in str(caught.value)
        empty(connections[0])
        assert ask(speaker, "c") == ["c 2"]
    assert parrot.calls == ["a", "c"]
    assert [total.open for total in totals(path)] == [0]


def test_a_disk_that_is_full_when_a_reply_comes_loses_nothing(path, connections):
    class Long(Parrot):
        async def reply(self, chat, sampling, sample=0):
            fill(connections[0])
            return text_reply("b" * 100_000, "partner")

    with Ledger(path) as ledger:
        with pytest.raises(RunStopped, match="full"):
            ask(Recorded(Long(), ledger, "critic"), "a")
        empty(connections[0])
    assert len(list(entries(path))) == 1
    assert [total.open for total in totals(path)] == [0]


def test_a_file_that_is_no_ledger_is_left_alone(path):
    path.write_text("# my notes, which are longer than the header of a data base file\n" * 20)
    with pytest.raises(ConfigError, match="is not a readable ledger"):
        Ledger(path)
    assert path.read_text().startswith("# my notes")


COLUMNS = {
    "call": "id INTEGER, key BLOB, request TEXT, reply TEXT",
    "attempt": (
        "id INTEGER, call INTEGER, at REAL, run TEXT, role TEXT, phase TEXT, round INTEGER, problem TEXT, model TEXT, "
        "sample INTEGER, host TEXT, answered_by TEXT, outcome TEXT, finish TEXT, error TEXT, prompt_tokens INTEGER, "
        "completion_tokens INTEGER, thought_tokens INTEGER, cost REAL, seconds REAL"
    ),
    "sent": (
        "id INTEGER, call INTEGER, at REAL, run TEXT, role TEXT, phase TEXT, round INTEGER, model TEXT, "
        "prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL"
    ),
    "run": "id TEXT, name TEXT",
}


def test_the_columns_are_those_of_the_version(path):
    """A field added to `schema.Entry` needs a new version: existing ledgers lack its column."""
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        for table, columns in COLUMNS.items():
            rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
            assert ", ".join(f"{name} {kind}" for _, name, kind, *_ in rows) == columns


OLDER = "CREATE TABLE call (id); CREATE TABLE attempt (id); CREATE TABLE total (run)"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (OLDER, "was written by an older version of sparring (schema 1, and this version uses 2)"),
        (f"{OLDER}; PRAGMA user_version = 99", "was written by a newer version of sparring (schema 99"),
        ("CREATE TABLE bookmarks (id)", "is not a ledger (it is another database)"),
        ("CREATE TABLE bookmarks (id); PRAGMA user_version = 2", "is not a ledger (it is another database)"),
    ],
)
def test_a_ledger_of_another_version_or_kind_is_refused_and_left_alone(made, says, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(made)
    before = path.read_bytes()
    for open_ in (Ledger, totals, lambda path: list(entries(path)), lambda path: Ledger(path, mode="replay")):
        with pytest.raises(ConfigError) as caught:
            open_(path)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_an_empty_file_is_made_a_ledger_and_is_none_to_read(path):
    path.touch()
    with pytest.raises(ConfigError, match="there is no ledger"):
        totals(path)
    with Ledger(path) as ledger:
        ask(Recorded(Parrot(), ledger, "critic"), "a")
    assert len(totals(path)) == 1


def test_a_network_file_system_is_refused_with_the_remedy(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    share = tmp_path / "my share"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {str(share).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n")
    assert disk.file_system(share / "runs" / "l.sqlite", mounts) == "nfs4"
    assert disk.file_system(tmp_path / "l.sqlite", mounts) == "ext4"
    assert disk.file_system(tmp_path, tmp_path / "nothing") == ""
    monkeypatch.setattr(disk, "file_system", lambda path: "nfs4")
    with pytest.raises(ConfigError, match=r"nfs4.*; put it on a disk of this machine") as caught:
        Ledger(share / "l.sqlite")
    assert "\n" not in str(caught.value)
    assert not share.exists()


def test_a_disk_that_refuses_write_ahead_logging_is_refused_with_the_remedy(path, monkeypatch):
    class NoWal(sqlite3.Connection):
        def execute(self, sql, *more):
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *more)

    plain = sqlite3.connect
    monkeypatch.setattr(disk.sqlite3, "connect", lambda *a, **k: plain(*a, factory=NoWal, **k))
    with pytest.raises(ConfigError, match="put it on a disk of this machine"):
        Ledger(path)


def test_a_look_up_is_quick_among_many_calls(path):
    with Ledger(path) as ledger:
        speaker = Recorded(Parrot(), ledger, "critic")

        async def main():
            await asyncio.gather(*(speaker.reply(question(str(k)), PLAIN) for k in range(3000)))
            times = []
            for k in range(0, 3000, 10):
                start = time.perf_counter()
                await speaker.reply(question(str(k)), PLAIN)
                times.append(time.perf_counter() - start)
            return sorted(times)[len(times) // 2]

        assert asyncio.run(main()) < 1e-3


def test_half_characters_in_a_reply_or_request_do_not_stop_the_ledger(path):
    class Torn(Parrot):
        async def reply(self, chat, sampling, sample=0):
            return text_reply("ok \ud83d", "partner")

        def request(self, chat, sampling, sample=0):
            return {"model": "torn", "asked": "\ud83d"}

    with Ledger(path) as ledger:
        assert ask(Recorded(Torn(), ledger, "critic"), "a", "a") == ["ok �"] * 2


def test_a_speaker_that_reports_is_recorded_by_its_report(path):
    class Clerk(Parrot):
        async def reply(self, chat, sampling, sample=0):
            await attempts.admit()
            reply = await super().reply(chat, sampling, sample)
            attempts.report(Attempt("replied", 9.0, Tokens(1, 2, 1), reply, host="desk"))
            return reply

    with Ledger(path) as ledger:
        ask(Recorded(Clerk(), ledger, "critic"), "a")
        assert (ledger.meter.run.calls, ledger.meter.run.tokens) == (1, 3)
    (entry,) = entries(path)
    assert (entry["host"], entry["seconds"], entry["thought_tokens"]) == ("desk", 9.0, 1)


def test_the_key_is_in_no_file_of_the_ledger(path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    echoes = [say(f"I saw {CANARY}"), status(400, CANARY), status(401, CANARY), raw(CANARY.encode()), raw(b"{", 500)]

    async def main():
        async with serving(*echoes, after=raw(json.dumps(completion(model=CANARY)).encode())) as server:
            speaker = Recorded(Endpoint("m", server.url, retries=0), ledger, "critic")
            calls = (speaker.reply(question(str(k)), PLAIN) for k in range(8))
            return await asyncio.gather(*calls, return_exceptions=True)

    with Ledger(path) as ledger:
        results = asyncio.run(main())
        files = list(path.parent.glob("ledger.sqlite*"))
        assert len(files) == 3, "the write-ahead log is looked into as well"
        assert not [file for file in files if CANARY.encode() in file.read_bytes()]
    assert CANARY not in path.read_bytes().decode("latin-1")
    assert CANARY not in caplog.text + repr(results)
