"""`sparring talk` with a model behind an endpoint: what it is asked, what is shown, what it costs, what fails."""

from __future__ import annotations

import pytest

from tests.cli.program import refused, sparring_
from tests.fault_server import Answer, Server, say, standing, status

PRICE = ("--set", "budget.prices.m=[0.1,0.4]")


@pytest.fixture
def server(monkeypatch):
    """A server whose model says "fine", unless its `script` says otherwise."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with standing(say()) as server:
        yield server


def at(server: Server, *script: Answer) -> tuple[str, ...]:
    """Let the server answer by `script`; return the settings that name it as the learner."""
    server.script = [*[say()] * len(server.requests), *script]
    settings = ("learner.by=endpoint", f"learner.base_url={server.url}", "learner.retries=0")
    return tuple(word for setting in settings for word in ("--set", setting))


def lines(out: str) -> list[str]:
    return [line.removeprefix("you: ") for line in out.splitlines() if "learner:" in line or "no answer:" in line]


def asked(server: Server) -> list[list[tuple[str, str]]]:
    return [[(turn["role"], turn["content"]) for turn in request.body["messages"]] for request in server.requests]


@pytest.mark.parametrize("model", [("m",), ("--set", "learner.model=m")])
def test_each_message_is_asked_with_the_chat_so_far(server, model):
    said = sparring_("talk", *model, *at(server, say("[bold]one[/bold]"), say("two")), stdin="hi\nand now?\n\n")
    assert (said.code, said.err) == (0, "")
    assert lines(said.out) == ["learner: [bold]one[/bold]", "learner: two"]
    first = [("user", "hi")]
    assert asked(server) == [first, [*first, ("assistant", "[bold]one[/bold]"), ("user", "and now?")]]
    assert [(request.body["model"], request.body["max_tokens"]) for request in server.requests] == [("m", 512)] * 2
    assert "spent" not in said.out  # no price is known


@pytest.mark.parametrize("whole", [(), ("--whole",)])
def test_a_reply_that_is_cut_has_the_mark_and_stays_in_the_chat(server, whole):
    cut = say("So far", finish_reason="length")
    said = sparring_("talk", "m", *at(server, cut), "--max-tokens", 5, *whole, stdin="hi\ngo on\n")
    assert lines(said.out) == ["learner: So far … [the reply was cut at its limit after 5 tokens]", "learner: fine"]
    assert server.requests[0].body["max_tokens"] == 5
    assert asked(server)[1][1] == ("assistant", "So far")


def test_a_thought_is_shown_only_where_all_is_shown(server):
    thought = say("<think>secret</think>\n\nseven")
    said = sparring_("talk", "m", *at(server, thought), stdin="hi\nagain\n")
    assert lines(said.out) == ["learner: seven", "learner: fine"]
    assert "secret" not in said.out + str(asked(server))
    whole = sparring_("talk", "m", *at(server, thought), "--whole", stdin="hi\n")
    assert "secret" in whole.out


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (status(401, "No key given"), ("environment variable OPENAI_API_KEY, which is not set", "No key given")),
        (status(500, "down"), ("m: ", "500", "down")),
    ],
)
def test_an_endpoint_that_gives_nothing_from_the_start_ends_the_chat_in_one_line(server, monkeypatch, answer, says):
    monkeypatch.delenv("OPENAI_API_KEY")
    refused("talk", "m", *at(server, answer), says=says, stdin="hi\nho\n")
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_one_line():
    where = ("--set", "learner.by=endpoint", "--set", "learner.base_url=http://127.0.0.1:9/v1")
    refused("talk", "m", *where, says=("no server can be reached at http://127.0.0.1:9/v1",), stdin="hi\n")


@pytest.mark.parametrize("fault", [status(401, "expired"), status(500, "down")])
def test_a_later_failure_is_shown_and_the_chat_goes_on(server, fault):
    said = sparring_("talk", "m", *at(server, say("one"), fault, say("three")), stdin="hi\nlost\nhi again\n")
    assert (said.code, said.err) == (0, "")
    first, second, third = lines(said.out)
    assert (first, third) == ("learner: one", "learner: three")
    assert second.startswith("no answer: ")
    assert "expired" in second or "down" in second
    assert asked(server)[2] == [("user", "hi"), ("assistant", "one"), ("user", "hi again")]


def test_the_cost_is_said_at_the_end_also_where_a_cap_ends_the_chat(server):
    said = sparring_("talk", "m", *at(server), *PRICE, stdin="a\nb\n")
    assert said.out.rstrip().endswith("spent in this chat: 2 calls, 30 tokens, 6e-06 in money")
    capped = sparring_("talk", "m", *at(server), *PRICE, "--set", "budget.run.calls=1", stdin="a\nb\n")
    assert capped.code == 2
    assert capped.out.rstrip().endswith("spent in this chat: 1 calls, 15 tokens, 3e-06 in money")
    assert "raise budget.run.calls, and name a file in ledger.path" in capped.err
    assert "recorded calls" not in capped.err  # there are none
    assert len(server.requests) == 3
    unpriced = sparring_("talk", "m", *at(server), "--set", "budget.run.money=1", stdin="a\n")
    assert "needs the price of 'm'; add it to budget.prices" in unpriced.err
    assert not unpriced.out  # nobody typed in vain


def test_a_chat_on_a_ledger_is_paid_once_and_replayed_without_a_server(server, tmp_path):
    ledger = ("--set", f"ledger.path={tmp_path / 'chats.sqlite'}")
    words = ("talk", "m", *at(server, say("one"), say("two")), *ledger, *PRICE)
    before = sparring_(*words, stdin="a\nb\n")
    again = sparring_(*words, stdin="a\nb\nc\n")
    assert len(server.requests) == 3
    assert lines(again.out) == [*lines(before.out), "learner: fine"]
    assert "spent in this chat: 1 calls" in again.out
    stopped = sparring_(*words, "--set", "budget.run.calls=0", stdin="z\n")
    assert "raise budget.run.calls and resume: recorded calls are not paid again" in stopped.err
    totals = sparring_("ledger", tmp_path / "chats.sqlite")
    assert "3 calls, 0 failed" in totals.out
    replayed = sparring_(*words, "--set", "ledger.mode=replay", stdin="a\nb\n")
    assert lines(replayed.out) == lines(before.out)
    refused(*words, "--set", "ledger.mode=replay", says=("has no reply", "a replay makes no calls"), stdin="z\n")
    assert len(server.requests) == 3


def test_without_a_ledger_file_nothing_is_written(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sparring_("talk", "m", *at(server), stdin="a\n").code == 0
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line(run):
    endpoint = ("--set", "learner.by=endpoint")
    for words, says in (
        ((), ("the chat names no learner", "learner.by=endpoint")),
        (("m", *endpoint), ("the key base_url is missing",)),
        (("m", *endpoint, "--set", "learner.base_urls=x"), ("unknown key 'base_urls'", "did you mean 'base_url'")),
        (("m", "--set", "learner.by=endpiont"), ("unknown speaker 'endpiont'", "did you mean 'endpoint'")),
        (("m", "--set", "learnr.by=endpoint"), ("unknown table of a chat 'learnr'", "did you mean 'learner'")),
        (("m", "--set", "budget=1"), ("budget = 1 is not a table",)),
        (("m", *endpoint, "--set", "ledger.mode=replay"), ("needs the ledger of an earlier chat", "ledger.path")),
        ((run, "--set", "learner.device=gpux"), ("gpux",)),
        ((run, "--set", "learner.device=cuda:98"), ("cuda:98",)),
        ((run, "--set", "learner.base_url=http://h/v1"), ("unknown key 'base_url'",)),
    ):
        refused("talk", *words, says=says, stdin="hi\n")


def test_the_help_names_the_settings_of_an_endpoint():
    text = " ".join(sparring_("talk", "--help").out.replace("│", " ").split())
    names = ("--set learner.by=endpoint", "learner.base_url=http", "OPENAI_API_KEY", "learner.key_variable")
    assert [name for name in names if name not in text] == []
