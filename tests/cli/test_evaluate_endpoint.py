"""`sparring evaluate` with a learner behind an endpoint that gives no reply to some problems, or to none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Said, refused, sparring_
from tests.fault_server import Answer, Server, say, standing, status


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with standing(say()) as server:
        yield server


def words(server: Server, folder: Path, *options: object) -> tuple[object, ...]:
    """The words that evaluate the server's model on ten problems, one after the other."""
    settings = (
        "learner.by=endpoint", f"learner.base_url={server.url}", "learner.retries=0", "evaluation.at_once=1",
        "task.train=20", "task.range=easy",
    )  # fmt: skip
    sets = tuple(word for setting in settings for word in ("--set", setting))
    return ("m", "--task", "multistep_arithmetic", "--problems", 10, "--run", folder, *sets, *options)


def evaluated(server: Server, folder: Path, *script: Answer, options: tuple[object, ...] = ()) -> Said:
    server.script = [*[say()] * len(server.requests), *script]
    return sparring_("evaluate", *words(server, folder, *options))


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]


def test_a_learner_that_never_replies_is_no_measurement_and_the_evaluation_goes_on_when_it_does(server, tmp_path):
    folder = tmp_path / "evaluation"
    server.script = [say(), *[status(500, "boom")] * 20]
    refused(
        "evaluate", *words(server, folder),
        says=("more than 20% of the 10 problems got no reply", "max_unavailable under [evaluation]",
              "3 × learner: Unavailable (m: server error: 500 boom)", "is kept", "--resume"),
    )  # fmt: skip
    assert len(server.requests) == 4
    assert not (folder / "results.json").exists()
    said = evaluated(server, folder, options=("--resume",))
    assert said.code == 0, said
    assert len(server.requests) == 4 + 9  # the one that had a reply keeps it
    assert not [row for row in rows(folder) if row["failures"]]


def test_few_problems_without_a_reply_are_named_and_asked_again(server, tmp_path):
    folder = tmp_path / "evaluation"
    said = evaluated(server, folder, status(404, "no such model"), say(), status(404, "no such model"))
    assert said.code == 0, said
    text = " ".join(said.out.split())
    assert "failures: 2 × learner: Unavailable (m: refused: 404 no such model)" in text
    assert "2 problems got no reply and are measured as unanswered; --resume asks them again" in text
    assert [bool(row["failures"]) for row in rows(folder)] == [True, False, True, *[False] * 7]
    well = tmp_path / "well"
    assert evaluated(server, well).code == 0
    missing = f"{folder}: 2 problems got no reply and are measured as unanswered"
    assert missing in sparring_("compare", folder, well).out
    before = len(server.requests)
    said = evaluated(server, folder, options=("--resume",))
    assert "failures: none" in said.out
    assert "got no reply" not in said.out
    assert len(server.requests) == before + 2
    assert missing not in sparring_("compare", folder, well).out


def test_the_share_may_change_on_resume(server, tmp_path):
    folder = tmp_path / "evaluation"
    dead = [status(400, "filtered")] * 30
    server.script = dead
    refused("evaluate", *words(server, folder), says=("more than 20%",))
    options = ("--resume", "--set", "evaluation.max_unavailable=1")
    server.script = [*dead, *dead]
    said = sparring_("evaluate", *words(server, folder, *options))
    assert said.code == 0, said
    assert len(rows(folder)) == 10
