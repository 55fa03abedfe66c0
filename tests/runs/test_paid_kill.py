"""Runs that pay, killed at any moment: what the ledger held is not asked again, and they end as if never stopped.

The server lives on in the test's process while sittings of the run die, so it knows what was asked when, and what it
had answered. The ledger is read as the kill left it, from a copy, so that mending it is left to the next sitting.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from sparring.config.recipe import Recipe
from sparring.ledger import entries, totals
from sparring.runs.display import Display
from sparring.runs.run import train
from tests.fault_server import Server, say, standing
from tests.runs.test_paid_run import partner, weights
from tests.runs.test_run import metrics

QUIET = Display(quiet=True)
IN_FLIGHT = 6
LONGEST = 600.0  # seconds that the server of one test stands


@contextmanager
def server() -> Iterator[Server]:
    """The partner on a real socket, in a thread of its own; it takes up to 40 ms for a reply."""
    rng = random.Random(0)

    async def answer(request, writer):
        await asyncio.sleep(rng.random() * 0.04)
        await say(partner(request))(request, writer)

    with standing(answer, LONGEST) as found:
        yield found


def table(url: str) -> dict:
    endpoint = {"by": "endpoint", "model": "m", "base_url": url, "retries": 0, "timeout": 60, "in_flight": IN_FLIGHT}
    return {
        "task": {"kind": "multistep_arithmetic", "train": 48, "development": 4, "test": 4},
        "phase": [
            {"method": "sft", "epochs": 4, "max_tokens": 24},
            {"method": "saie", "problems": 12, "rounds": 2, "max_tokens": 24, "discussant": endpoint},
            {"method": "tripost", "problems": 12, "max_tokens": 24, "critic": endpoint, "editor": endpoint},
            {"method": "response_preference", "problems": 8, "rounds": 2, "samples": 3, "max_tokens": 24,
             "judge": endpoint},
        ],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1, "save_every": 16, "max_partner_failures": 0.0, "max_learner_failures": 1.0},
    }  # fmt: skip


def sitting(recipe: dict, folder: Path) -> None:
    """Goes on with the run, in a process that is there to be killed."""
    train(Recipe.of(recipe), folder, resume=True, display=QUIET)


# A process that has imported everything and forks the sittings: each then starts at once.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])


@dataclass
class Kill:
    """What was known when a sitting was dead: the requests heard by then, and which the ledger had a reply to."""

    heard: int
    held: set[str]


@dataclass
class Story:
    """A run that was killed, and what its server heard."""

    folder: Path
    kills: list[Kill] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def killed_and_resumed(folder: Path, kills: int, rng: random.Random) -> Story:
    """A run of which so many sittings are killed, each after some requests or files more, and the last one ends."""
    story = Story(folder)
    with server() as running:
        recipe = table(running.url)
        for _ in range(kills):
            process = FORKED.Process(target=sitting, args=(recipe, folder))
            process.start()
            _wait(process, running, folder, rng.randrange(1, 60))
            time.sleep(rng.random() * 0.05)
            process.kill()
            process.join()
            while running.connected:  # what the dead one had sent is read to its end
                time.sleep(0.01)
            if process.exitcode != 0:
                story.kills.append(Kill(len(running.requests), held(folder / "ledger.sqlite")))
        process = FORKED.Process(target=sitting, args=(recipe, folder))
        process.start()
        process.join()
        assert process.exitcode == 0
        story.asked = [words(request.body["messages"]) for request in running.requests]
    return story


def _wait(process, running: Server, folder: Path, patience: int) -> None:
    """Until so many requests were heard or files written, whatever the machine's pace: kills fall into all stages."""

    def events() -> int:
        return len(running.requests) + sum(len(files) for _, _, files in os.walk(folder))

    start = events()
    while process.is_alive() and abs(events() - start) < patience:
        time.sleep(0.003)


def words(messages: list[dict]) -> str:
    return json.dumps(messages, sort_keys=True)


def held(ledger: Path) -> set[str]:
    """What the ledger has a reply to, as the kill left it."""
    if not ledger.exists():
        return set()
    copy = ledger.with_name("copy")
    copy.mkdir()
    for path in ledger.parent.glob("ledger.sqlite*"):
        if not path.name.endswith("-shm"):  # made anew from the others, as after a loss of power
            shutil.copy(path, copy)
    try:
        with closing(sqlite3.connect(copy / ledger.name)) as opened:
            if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'call'").fetchone():
                return set()  # killed before it was made
            rows = opened.execute("SELECT request FROM call WHERE reply IS NOT NULL").fetchall()
            return {words(json.loads(request)["messages"]) for (request,) in rows}
    finally:
        shutil.rmtree(copy)


class Whole(NamedTuple):
    """A run that was never stopped, and what was asked for it."""

    folder: Path
    asked: set[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Whole:
    folder = tmp_path_factory.mktemp("paid") / "whole"
    with server() as running:
        train(Recipe.of(table(running.url)), folder, display=QUIET)
        asked = [words(request.body["messages"]) for request in running.requests]
    assert len(asked) == len(set(asked)) > 100
    return Whole(folder, set(asked))


def assert_nothing_was_paid_twice(story: Story, whole: Whole) -> None:
    """No request follows its reply in the ledger; what was under way at a kill, and that alone, is asked again."""
    for kill in story.kills:
        assert not kill.held & set(story.asked[kill.heard :])
    assert set(story.asked) == whole.asked
    assert len(story.asked) - len(whole.asked) <= len(story.kills) * 2 * IN_FLIGHT


def assert_as_if_never_stopped(story: Story, whole: Whole) -> None:
    assert metrics(story.folder) == metrics(whole.folder)
    assert weights(story.folder) == weights(whole.folder)
    ledger = story.folder / "ledger.sqlite"
    found = totals(ledger)
    assert sum(total.calls - total.open for total in found) == len(whole.asked)
    assert sum(total.open for total in found) <= len(story.kills) * IN_FLIGHT
    assert len({total.run for total in found}) == 1
    assert {entry["outcome"] for entry in entries(ledger)} == {"replied"}


def test_killed_at_five_points_nothing_is_paid_twice_and_it_ends_as_if_it_had_never_stopped(whole, tmp_path):
    story = killed_and_resumed(tmp_path / "run", 5, random.Random(1))
    assert len(story.kills) >= 4
    assert any(0 < len(kill.held) < len(whole.asked) for kill in story.kills)  # some of them while it paid
    assert_nothing_was_paid_twice(story, whole)
    assert_as_if_never_stopped(story, whole)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_fifty_points_nothing_is_paid_twice_and_it_ends_as_if_it_had_never_stopped(seed, whole, tmp_path):
    story = killed_and_resumed(tmp_path / "run", 5, random.Random(seed + 2))
    assert_nothing_was_paid_twice(story, whole)
    assert_as_if_never_stopped(story, whole)
