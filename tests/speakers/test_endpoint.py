"""What the endpoint speaker sends: the request, its identity, its key, and what a server does not accept."""

import asyncio
import json
import logging
import traceback
import warnings
from pathlib import Path

import pytest

from sparring.client.connection import SHORTEST_KEY
from sparring.common.errors import ConfigError, Unavailable
from sparring.core.attempts import Recordable, Tokens
from sparring.core.chat import LEARNER, Part
from sparring.core.speaker import Sampling, Speaker, prefill
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import cut, late, never, raw, say, serving, status
from tests.speakers.asking import ASKED, CANARY, PLAIN, ask

HERE = Path(__file__).parent
DEAD = "http://127.0.0.1:9/v1"  # the port of a service that no machine runs today
pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(("together", "connections"), [(1, 1), (8, 8), (40, 40)])
def test_there_are_no_more_connections_than_calls_under_way(together, connections):
    async def main():
        async with serving(after=late(0.05)) as server:
            speaker = Endpoint("m", server.url, in_flight=64)
            for _ in range(3):
                replies = await asyncio.gather(*(speaker.reply(ASKED, PLAIN, k) for k in range(together)))
                assert [reply.text for reply in replies] == ["fine"] * together
            return server.connected

    assert asyncio.run(main()) == connections


def test_an_endpoint_is_a_speaker_whose_calls_can_be_recorded():
    speaker = Endpoint("m", "http://localhost/v1")
    assert isinstance(speaker, Speaker)
    assert isinstance(speaker, Recordable)
    assert Endpoint.name == "endpoint"


def test_the_request_holds_messages_sampling_and_extra_body():
    sampling = Sampling(temperature=0.3, top_p=0.9, top_k=7, max_tokens=50, stop=("END",))
    reply, log, server = ask(say("42"), sampling=sampling, extra_body={"min_p": 0.1})
    assert reply.text == "42"
    assert (reply.finish, reply.prompt_tokens, reply.completion_tokens) == ("stop", 10, 5)
    assert server.requests[0].body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "You are a critic."},
            {"role": "user", "content": "What is 6 × 7?"},
        ],
        "temperature": 0.3,
        "top_p": 0.9,
        "top_k": 7,
        "max_tokens": 50,
        "stop": ["END"],
        "min_p": 0.1,
    }
    assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert log.outcomes == ["replied"]
    assert log[0].host == server.url
    assert log[0].reply == reply


def test_settings_that_filter_nothing_are_not_sent():
    body = ask(say())[2].requests[0].body
    assert not {"top_k", "stop", "seed"} & body.keys()


def test_messages_of_its_own_author_are_the_assistants():
    chat = ASKED.say(LEARNER, "41").say("partner", "Look again.").say(LEARNER, "42")
    sent = ask(say(), chat=chat)[2].requests[0].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]


def test_an_endpoint_cannot_continue_its_own_message():
    error, _, server = ask(say(), chat=prefill(ASKED, "partner", [Part("I think", "partner")]))
    assert isinstance(error, ConfigError)
    assert not server.requests


def test_each_sample_has_a_seed_of_its_own_and_keeps_it():
    seeds = [ask(say(), sample=k, seed=5)[2].requests[0].body["seed"] for k in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_identity_holds_digests_of_the_texts_in_extra_body():
    def request(**extra):
        return Endpoint("m", "http://a", extra_body=extra).request(ASKED, Sampling())

    request_ = request(api_key=CANARY, nested={"list": [CANARY, 1, True, None]}, min_p=0.1)
    assert CANARY not in json.dumps(request_)
    assert {key: value for key, value in request_["extra_body"].items() if key == "min_p"} == {"min_p": 0.1}
    assert request_["extra_body"]["nested"]["list"][1:] == [1, True, None]
    assert request(api_key=CANARY) != request(api_key=CANARY + "x")
    assert request(**request_["extra_body"]) == request_  # so a bundle's recipe names the same calls


def test_the_identity_holds_no_host_and_no_key():
    one, two = (
        Endpoint("m", url, timeout=t).request(ASKED, Sampling()) for url, t in [("http://a", 1), ("http://b", 2)]
    )
    assert one == two
    assert Endpoint("m", "http://a").request(ASKED, Sampling(), 1) != one
    assert Endpoint("m", "http://a", extra_body={"x": 1}).request(ASKED, Sampling()) != one


def test_a_server_that_wants_the_new_name_of_the_limit_gets_it_from_then_on():
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    async def main():
        async with serving(status(400, words)) as server:
            speaker = Endpoint("m", server.url, retries=0)
            await speaker.reply(ASKED, Sampling(max_tokens=9))
            await speaker.reply(ASKED, Sampling(max_tokens=9))
            return [(r.body.get("max_tokens"), r.body.get("max_completion_tokens")) for r in server.requests]

    assert asyncio.run(main()) == [(9, None), (None, 9), (None, 9)]


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("temperature", status(400, "Unsupported value: 'temperature' does not support 0.2. Only the default is.")),
        ("top_p", status(400, "top_p is not supported by this model")),
        ("stop", status(400, "Unsupported parameter: 'stop'")),
        ("seed", raw(b'{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', 422)),
    ],
)
def test_a_sampling_parameter_that_is_refused_is_left_out_and_logged(field, fault, caplog):
    reply, log, server = ask(fault, say("42"), sampling=Sampling(0.2, 0.5, stop=("a",)), seed=1, retries=0)
    assert reply.text == "42"
    assert server.requests[0].body.keys() - server.requests[1].body.keys() == {field}
    assert log.outcomes == ["refused", "replied"]
    assert field in caplog.text


def test_a_value_out_of_range_is_not_taken_for_a_parameter_refused():
    error, _, server = ask(status(400, "temperature must be at most 2, not 9"), sampling=Sampling(9.0))
    assert "at most 2" in str(error)
    assert len(server.requests) == 1


def test_a_server_that_refuses_everything_gets_few_requests():
    words = "'temperature' is not supported; use 'max_completion_tokens'"
    error, _, server = ask(after=status(400, words))
    assert isinstance(error, Unavailable)
    assert len(server.requests) <= 4


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_is_not_accepted_is_a_config_error(code):
    error, log, _ = ask(status(code, f"bad key {CANARY}"))
    assert isinstance(error, ConfigError)
    assert "OPENAI_API_KEY" in str(error)
    assert CANARY not in str(error) + repr(log)
    assert log.outcomes == ["not allowed"]
    assert "\n" not in str(error)


def test_a_missing_key_is_named_only_where_the_server_asks_for_one(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(say("42"))[0].text == "42"
    assert "SPARRING_KEY, which is not set" in str(ask(status(401), key_variable="SPARRING_KEY")[0])


def test_a_key_with_a_line_break_is_not_sent_and_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{CANARY}\nx: y")
    error, _, server = ask(say())
    assert isinstance(error, ConfigError)
    assert CANARY not in str(error)
    assert not server.requests


@pytest.mark.parametrize("key", ["EMPTY", "test", "token", "1", '"', "x" * (SHORTEST_KEY - 1)])
def test_a_placeholder_for_a_key_changes_no_reply(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    text = f"the EMPTY test has 1 token, {key}"
    reply, log, _ = ask(say(text))
    assert reply.text == text
    assert log[0].tokens == Tokens(10, 5)
    assert text in str(ask(status(400, text))[0])


def test_the_key_occurs_in_no_repr_log_warning_or_exception(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    echo = status(400, f"you sent Bearer {CANARY}")
    seen = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for fault in (echo, status(500, CANARY), say(f"your key is {CANARY}"), raw(CANARY.encode()), cut(), never()):
            result, log, _ = ask(fault, retries=0, timeout=0.2)
            seen += [repr(result), str(result), repr(log)]
            if isinstance(result, Exception):
                trace = traceback.TracebackException.from_exception(result, capture_locals=True)
                seen += [str(frame.locals) for frame in trace.stack if Path(frame.filename).parent != HERE]
                seen += [str(trace.__cause__), str(trace.__context__)]
    seen += [repr(Endpoint("m", "http://localhost")), caplog.text, *capfd.readouterr(), *map(str, warned)]
    assert not [text for text in seen if CANARY in text]


def test_it_is_ready_where_one_of_its_servers_answers_whatever_that_says():
    async def main():
        async with serving() as server:
            await asyncio.to_thread(Endpoint("m", (DEAD, server.url)).ready)
            return server.looked_for, server.requests

    assert asyncio.run(main()) == (1, [])


def test_it_is_not_ready_while_no_server_is_there():
    with pytest.raises(ConfigError, match=r"no server can be reached at http://127.0.0.1:9/v1 \(.*refused.*start it"):
        Endpoint("m", DEAD).ready()


def test_it_is_not_ready_while_the_key_that_is_named_is_unset(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable MY_KEY is not set"):
        Endpoint("m", DEAD, key_variable="MY_KEY").ready()
