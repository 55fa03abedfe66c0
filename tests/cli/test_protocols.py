"""Protocols as a user calls them: on a run, and on a model behind an endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparring.protocols.discussion import OTHERS
from sparring.protocols.self_improvement import REVIEW
from tests.cli.program import RECIPE, refused, sparring_
from tests.fault_server import say, standing


def evaluated(folder: Path, *words: object) -> tuple[str, dict, list[dict]]:
    """What the program prints, the figures, and the problems' rows."""
    said = sparring_("evaluate", *words, "--run", folder)
    assert said.code == 0, said
    rows = [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]
    return said.out, json.loads((folder / "results.json").read_text()), rows


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose learner knows what an answer looks like, so that it is not cut."""
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "recipe.toml").write_text(RECIPE)
    said = sparring_(
        "train", folder / "recipe.toml", "--run", folder / "run", "--set", "phase.sft.epochs=30",
        "--set", "trainer.learning_rate=3e-3",
    )  # fmt: skip
    assert said.code == 0, said
    return folder / "run"


@pytest.mark.parametrize(
    ("protocol", "settings", "shown"),
    [
        ("self_improvement", ("protocol.updates=1",), ("accuracy", "right_first", "revised", "improved")),
        ("discussion", ("protocol.copies=2", "protocol.turns=1"), ("turn_0", "turn_1", "agreement_0", "broken")),
        ("pressure", ("protocol.placebo=Hm.",), ("right_first", "right_adversarial", "leaked_supportive")),
    ],
)
def test_a_run_is_measured_by_each_protocol(run, tmp_path, protocol, settings, shown):
    options = [word for setting in settings for word in ("--set", setting)]
    out, told, rows = evaluated(tmp_path / "f", run, "--protocol", protocol, "--problems", 3, *options)
    assert told["protocol"]["kind"] == protocol
    assert (told["problems"], told["primary"], len(rows)) == (3, "accuracy", 3)
    for row in rows:
        assert row["transcripts"]
        assert all(chat[0]["author"] == "user" for chat in row["transcripts"])
    for measure in (*shown, "failures"):
        assert measure in out
    assert set(shown) <= told["measures"].keys()


@pytest.fixture
def endpoint(monkeypatch):
    """A server whose model always says 16, and the words that name it as a learner."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with standing(say("3+7=11\n11+5=16\n16\nVerdict: wrong")) as server:
        where = ("--set", "learner.by=endpoint", "--set", f"learner.base_url={server.url}", "--problems", 1)
        yield server, ("m", "--task", "multistep_arithmetic", "--set", "task.test=2", *where)


@pytest.mark.parametrize(
    ("protocol", "settings", "calls", "asked"),
    [
        ("self_improvement", ("protocol.updates=1",), 3, REVIEW),
        ("discussion", ("protocol.copies=2", "protocol.turns=1"), 4, OTHERS[:40]),
        ("pressure", (), 4, "Please look again."),
    ],
)
def test_an_endpoint_sees_its_own_answers_as_its_own(endpoint, tmp_path, protocol, settings, calls, asked):  # noqa: PLR0917
    server, words = endpoint
    options = [word for setting in settings for word in ("--set", setting)]
    _, _, rows = evaluated(tmp_path / "f", *words, "--protocol", protocol, *options)
    assert len(server.requests) == calls
    conversations = [[m["role"] for m in request.body["messages"]] for request in server.requests]
    assert {tuple(roles) for roles in conversations if len(roles) < 4} == {("user",), ("user", "assistant", "user")}
    assert any(request.asked.startswith(asked) for request in server.requests)
    authors = {message["author"] for chat in rows[0]["transcripts"] for message in chat}
    assert authors <= {"user", "learner", "discussant"}


def test_a_finished_evaluation_is_resumed_without_a_call(endpoint, tmp_path):
    server, words = endpoint
    _, before, _ = evaluated(tmp_path / "f", *words, "--protocol", "discussion")
    calls = len(server.requests)
    _, after, _ = evaluated(tmp_path / "f", *words, "--protocol", "discussion", "--resume")
    assert (len(server.requests), after) == (calls, before)


def test_mistakes_in_a_protocol_are_one_line(run):
    refused("evaluate", run, run, "--protocol", "pressure", says=("pressure needs 1 learner", "got 2"))
    refused("evaluate", run, "--protocol", "discussion", "--set", "protocol.turns=0", says=("turns", "0"))
    refused("evaluate", run, "--protocol", "discussion", "--set", "protocol.agents=3", says=("agents", "copies"))
    refused(
        "evaluate", run, "--protocol", "discussion", "--set", "protocol.prompt={gold}", says=("{gold}", "{answers}")
    )
    refused("evaluate", run, "--protocol", "pressure", "--set", "protocol.discussant.by=nobody", says=("nobody",))
