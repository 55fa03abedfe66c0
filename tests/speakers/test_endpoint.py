"""The endpoint speaker against a server that fails on a script."""

import asyncio
import gzip
import json
import logging
import random
import time
import traceback
import warnings
from email.utils import formatdate

import pytest

from sparring.common.errors import ConfigError, Unavailable
from sparring.core import attempts
from sparring.core.attempts import Attempt, Recordable
from sparring.core.chat import LEARNER, Part, question
from sparring.core.speaker import Sampling, Speaker, prefill
from sparring.speakers import endpoint
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import completion, cut, flood, late, never, raw, say, serving, status

CANARY = "sk-canary-0123456789abcdef"
PLAIN = Sampling()
ASKED = question("What is 6 × 7?", "You are a critic.")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)


class Log(list):
    """A sink that keeps all attempts."""

    async def admit(self, most):
        pass

    def record(self, attempt: Attempt):
        self.append(attempt)

    @property
    def outcomes(self):
        return [attempt.outcome for attempt in self]


def ask(*script, chat=ASKED, sampling=PLAIN, sample=0, after=None, log=None, **settings):
    """Return the reply (or error), the attempts and the server after one call to a server with `script`."""

    async def main():
        async with serving(*script, after=after) as server:
            speaker = Endpoint("m", server.url, **settings)
            with attempts.listening(log):
                try:
                    return await speaker.reply(chat, sampling, sample), log, server
                except (Unavailable, ConfigError) as error:
                    return error, log, server

    log = Log() if log is None else log
    return asyncio.run(main())


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


def test_the_request_says_what_was_asked():
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


def test_what_filters_nothing_is_not_sent():
    body = ask(say())[2].requests[0].body
    assert not {"top_k", "stop", "seed"} & body.keys()


def test_words_of_its_own_author_are_the_assistants():
    chat = ASKED.say(LEARNER, "41").say("partner", "Look again.").say(LEARNER, "42")
    sent = ask(say(), chat=chat)[2].requests[0].body["messages"]
    assert [said["role"] for said in sent] == ["system", "user", "assistant", "user"]


def test_a_message_it_has_begun_is_not_gone_on_with():
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

    found = request(api_key=CANARY, nested={"list": [CANARY, 1, True, None]}, min_p=0.1)
    assert CANARY not in json.dumps(found)
    assert {key: value for key, value in found["extra_body"].items() if key == "min_p"} == {"min_p": 0.1}
    assert found["extra_body"]["nested"]["list"][1:] == [1, True, None]
    assert request(api_key=CANARY) != request(api_key=CANARY + "x")
    assert request(**found["extra_body"]) == found  # so a bundle's recipe names the same calls


def test_the_identity_holds_no_host_and_no_key():
    one, two = (
        Endpoint("m", url, timeout=t).request(ASKED, Sampling()) for url, t in [("http://a", 1), ("http://b", 2)]
    )
    assert one == two
    assert Endpoint("m", "http://a").request(ASKED, Sampling(), 1) != one
    assert Endpoint("m", "http://a", extra_body={"x": 1}).request(ASKED, Sampling()) != one


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (status(500), "server error"),
        (status(503), "server error"),
        (status(408), "timed out"),
        (status(409), "refused for now"),
        (status(429), "rate limited"),
        (cut(), "cut connection"),
        (never(), "timed out"),
        (raw(b'{"choices": [{"mess'), "not JSON"),
        (raw(b"[" * 100_000), "not JSON"),
        (raw(b"<html>502</html>"), "not JSON"),
        (raw(b"\xff\xfe\x00"), "not JSON"),
        (raw(b'{"error": {"message": "overloaded"}}'), "server error"),
        (say(choices=[]), "empty"),
        (say(None), "empty"),
        (say(choices=[{"text": "old form"}]), "wrong fields"),
        (say(choices={}), "wrong fields"),
        (say(choices=["x"]), "wrong fields"),
        (say(message={"content": ["parts"]}), "wrong fields"),
        (say(finish_reason=3), "wrong fields"),
        *(
            (say("so far", finish_reason=end), "broken off")
            for end in ("abort", "error", "pause_turn", "load", "x" * 99)
        ),
        (raw(b"[1]"), "wrong fields"),
    ],
)
def test_a_passing_fault_has_a_name_and_is_tried_again(fault, outcome):
    reply, log, _ = ask(fault, say("42"), timeout=0.3 if outcome == "timed out" else 30.0)
    assert reply.text == "42"
    assert log.outcomes == [outcome, "replied"]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (status(400, "too long a prompt"), "refused"),
        (status(404, "no such model"), "refused"),
        (status(422, "so not"), "refused"),
        (status(429, "insufficient_quota: pay first"), "rate limited"),
        (status(429, retry_after="100000"), "rate limited"),
        (flood(50), "too large"),
        (flood(50, 500), "too large"),
        *((say("x", finish_reason=end), "filtered") for end in ("content_filter", "SAFETY", "guardrail_intervened")),
        *((say("x", finish_reason=end), "tool call") for end in ("tool_calls", "function_call", "tool_use")),
        (say(None, message={"refusal": "I cannot\nhelp with that."}), "declined"),
        (say("", message={"refusal": "No."}), "declined"),
        (say("I was going to", finish_reason="refusal"), "declined"),
    ],
)
def test_a_lasting_fault_has_a_name_and_is_not_tried_again(fault, outcome):
    error, log, server = ask(fault)
    assert isinstance(error, Unavailable)
    assert str(error).startswith(f"m: {outcome}: ")
    assert log.outcomes == [outcome]
    assert len(server.requests) == 1


def test_a_refusal_carries_the_servers_own_words():
    error, log, _ = ask(raw(b'{"object": "error", "message": "This model\'s limit\\nis 4096 tokens"}', 400))
    assert "400 This model's limit is 4096 tokens" in str(error)
    assert log[0].error == "400 This model's limit is 4096 tokens"


def test_a_large_body_is_not_read_to_its_end():
    error, _, server = ask(flood(50))
    assert "more than 8 MB" in str(error)
    assert server.requests[0].flooded < 20 * 2**20


@pytest.mark.parametrize("code", [200, 500])
def test_a_compressed_body_is_read_as_far_as_a_plain_one(code):
    packed = {"content-encoding": "gzip"}
    words = "".join(random.Random(0).choices("abcdefgh", k=300_000))  # more than 100 KB when it is packed
    told = {"error": {"message": words}} if code == 500 else completion(words)
    found, _, _ = ask(raw(gzip.compress(json.dumps(told).encode()), code, packed), retries=0)
    assert words[:400] in (str(found) if code == 500 else found.text)
    bomb = gzip.compress(b" " * 100 * 2**20, 1)
    error, log, _ = ask(raw(bomb, code, packed))
    assert "too large: a body of more than 8 MB" in str(error)
    assert log.outcomes == ["too large"]
    twice = gzip.compress(gzip.compress(b" " * 2**20))
    error, _, _ = ask(raw(twice, code, {"content-encoding": "gzip, gzip"}), retries=0)
    assert "compressed more than once" in str(error)


@pytest.mark.parametrize("code", [503, 429])
def test_a_body_compressed_twice_is_tried_again_where_its_status_says_so(code):
    twice = raw(gzip.compress(gzip.compress(b"{}")), code, {"content-encoding": "gzip, gzip"})
    reply, log, _ = ask(twice, say("42"))
    assert reply.text == "42"
    assert log.outcomes == ["server error" if code == 503 else "rate limited", "replied"]
    assert "compressed more than once" in log[0].error


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_its_target_and_the_remedy_are_told(code):
    async def main():
        async with serving(after=flood(50)) as other:
            location = other.url.replace("127.0.0.1", f"user:{CANARY}@localhost") + f"?key={CANARY}"
            async with serving(after=raw(b"", code, {"location": location})) as server:
                with attempts.listening(log), pytest.raises(Unavailable) as caught:
                    await Endpoint("m", server.url).reply(ASKED, PLAIN)
                return caught.value, server, other

    log = Log()
    error, server, other = asyncio.run(main())
    assert str(error) == (
        f"m: redirected: {code} to localhost; redirects are not followed; set base_url to the final address"
    )
    assert log.outcomes == ["redirected"]
    assert (len(server.requests), len(other.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/elsewhere", "to another path"),
        ("", "to nowhere"),
        ("http://[::1", "to another path"),
        ("//" + "h" * 300, "hh"),
    ],
)
def test_a_redirect_to_no_host_is_told_too(location, says):
    error, log, server = ask(after=raw(b"", 307, {"location": location}))
    assert says in str(error)
    assert len(str(error)) < 300
    assert (log.outcomes, len(server.requests)) == (["redirected"], 1)


def test_the_body_of_a_redirect_is_read_no_further_than_any_other():
    _, log, server = ask(flood(50, 302))
    assert log.outcomes == ["too large"]
    assert server.requests[0].flooded < 20 * 2**20


def test_a_compressed_body_without_its_end_is_a_cut_connection():
    whole = gzip.compress(json.dumps(completion("42")).encode())
    reply, log, _ = ask(raw(b"no gzip" + whole, headers={"content-encoding": "gzip"}), say("42"))
    assert reply.text == "42"
    assert log.outcomes == ["cut connection", "replied"]


def test_tries_end_and_the_last_reason_is_told():
    error, _, server = ask(after=status(500, "boom"), retries=2)
    assert str(error) == "m: server error: 500 boom (tried 3 times)"
    assert len(server.requests) == 3


def test_a_late_reply_within_the_limit_is_a_reply_and_its_time_is_known():
    reply, log, _ = ask(late(0.2), timeout=2)
    assert reply.text == "fine"
    assert 0.2 <= log[0].seconds < 1


def test_a_body_that_trickles_does_not_outlast_the_timeout():
    async def drip(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.05)

    start = time.monotonic()
    assert "timed out" in str(ask(drip, timeout=0.3, retries=0)[0])
    assert time.monotonic() - start < 1.5


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form):
    async def later(request, writer):
        said = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)  # of whole seconds
        await status(429, retry_after=said)(request, writer)

    reply, _, server = ask(later, say("42"))
    assert reply.text == "42"
    assert 0.9 < server.requests[1].at - server.requests[0].at < 3


@pytest.mark.parametrize(
    "said", ["21 Oct 2015 07:28:00 +9999999999999999", "inf", "nan", "-5", "1" * 400, "\xb2", "1\r\nretry-after: 2"]
)
def test_a_retry_after_that_makes_no_sense_is_ignored_and_no_call_is_lost(said):
    reply, log, _ = ask(status(429, retry_after=said), say("42"))
    assert reply.text == "42"
    assert log.outcomes == ["rate limited", "replied"]


def test_a_fault_of_ours_is_raised_and_the_call_is_reported(monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr(endpoint, "read_completion", broken)
    with pytest.raises(ZeroDivisionError):
        ask(say("42"), log=(log := Log()))
    assert [(attempt.outcome, attempt.error) for attempt in log] == [("ZeroDivisionError", "by nobody")]


def test_while_a_server_asks_for_a_rest_no_call_comes():
    async def main():
        async with serving(status(429, retry_after="0.5")) as server:
            speaker = Endpoint("m", server.url, in_flight=1)
            await asyncio.gather(*(speaker.reply(question(str(k)), Sampling()) for k in range(3)))
            return [request.at - server.requests[0].at for request in server.requests]

    first, *others = asyncio.run(main())
    assert first == 0
    assert min(others) > 0.45


def test_a_rate_limit_uses_up_no_retry():
    reply, log, _ = ask(*[status(429, retry_after="0.01")] * 5, say("42"), retries=1)
    assert reply.text == "42"
    assert log.outcomes == ["rate limited"] * 5 + ["replied"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_is_not_accepted_is_the_users_to_mend(code):
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
                told = traceback.TracebackException.from_exception(result, capture_locals=True)
                seen += [str(frame.locals) for frame in told.stack if frame.filename != __file__]
                seen += [str(told.__cause__), str(told.__context__)]
    seen += [repr(Endpoint("m", "http://localhost")), caplog.text, *capfd.readouterr(), *map(str, warned)]
    assert not [text for text in seen if CANARY in text]


def test_thoughts_are_recorded_and_billed_and_never_the_reply():
    usage = {"prompt_tokens": 10, "completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 80}}
    for field in ("reasoning_content", "reasoning"):
        reply, log, _ = ask(say("42", message={field: "six sevens"}, usage=usage))
        assert reply.text == "42"
        assert [(part.text, part.thought) for part in reply.parts] == [("six sevens", True), ("42", False)]
        assert reply.completion_tokens == 90
        assert log[0].tokens.thought == 80


def test_a_refusal_is_told_in_its_own_words_and_billed():
    error, log, _ = ask(say(None, message={"refusal": "I cannot\nhelp."}))
    assert str(error) == "m: declined: I cannot help."
    assert log[0].tokens.completion == 5
    assert ask(say("42", message={"refusal": None}))[0].text == "42"


@pytest.mark.parametrize(
    ("content", "thought", "words"),
    [
        ("<think>six sevens</think>\n\n42", "<think>six sevens</think>", "42"),
        ("\n <think>a</think><think>b</think> 42", "\n <think>a</think><think>b</think>", "42"),
        ("six sevens</think>42", "six sevens</think>", "42"),  # its template had opened the thought
        ("<think></think>42", "<think></think>", "42"),
        ("42 <think>is</think> right", None, "42 <think>is</think> right"),
        (" 42", None, " 42"),
    ],
)
def test_a_thought_in_the_content_is_never_the_reply(content, thought, words):
    reply, _, _ = ask(say(content))
    assert (reply.text, reply.finish) == (words, "stop")
    assert [part.text for part in reply.parts if part.thought] == ([thought] if thought else [])


@pytest.mark.parametrize("content", ["<think>six sev", "<think>a</think> <think>42"])
@pytest.mark.parametrize("finish", ["stop", "length", None])
def test_a_thought_without_an_end_is_a_cut_reply_without_words(content, finish):
    reply, _, _ = ask(say(content, finish_reason=finish))
    assert (reply.text, reply.finish) == ("", "length")


def test_a_stop_string_in_a_thought_ends_no_reply():
    reply, _, _ = ask(say("<think>END?</think>42 END 43"), sampling=Sampling(stop=("END",)))
    assert reply.text == "42 "


def test_a_count_of_tokens_may_be_written_as_a_decimal():
    usage = {"prompt_tokens": 1000.0, "completion_tokens": 7.0, "total_tokens": float("inf")}
    reply, _, _ = ask(say("42", usage=usage))
    assert (reply.prompt_tokens, reply.completion_tokens) == (1000, 7)


def test_thoughts_that_used_up_the_limit_are_a_cut_reply_without_words():
    reply, _, _ = ask(say(None, message={"reasoning_content": "hmm"}, finish_reason="length"))
    assert (reply.text, reply.finish) == ("", "length")


def test_thoughts_that_a_server_counts_apart_are_billed():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 95}
    assert ask(say("42", usage=usage))[0].completion_tokens == 85


def test_an_empty_reply_that_was_billed_is_reported_with_its_tokens():
    _, log, _ = ask(say(None), retries=0)
    assert (log[0].tokens.prompt, log[0].tokens.completion) == (10, 5)


def test_tokens_are_estimated_where_the_server_does_not_say():
    reply, _, _ = ask(say("x" * 40, usage=None))
    assert reply.prompt_tokens == sum(len(m.text) for m in ASKED.messages) // 4
    assert reply.completion_tokens == 10


@pytest.mark.parametrize(
    ("changes", "finish"),
    [
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "max_tokens"}, "length"),
        ({"finish_reason": "model_length"}, "length"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        *(
            ({"finish_reason": end}, "stop")
            for end in ("stop", "STOP", "eos_token", "eos", "stop_sequence", "end_turn")
        ),
        ({"finish_reason": ""}, "stop"),
        ({"finish_reason": None}, "stop"),
        ({"finish_reason": None, "usage": {"prompt_tokens": 1, "completion_tokens": 256}}, "length"),
    ],
)
def test_a_reply_cut_at_its_limit_says_so(changes, finish):
    assert ask(say("half a", **changes))[0].finish == finish


def test_a_reply_ends_before_a_stop_string_even_if_the_server_does_not_know_it():
    reply, _, _ = ask(say("one\nEND two", finish_reason="length"), sampling=Sampling(stop=("two", "END")))
    assert (reply.text, reply.finish) == ("one\n", "stop")


def test_another_model_is_accepted_and_recorded():
    reply, log, _ = ask(say("42", model="m-2025-snapshot"))
    assert reply.text == "42"
    assert log[0].answered_by == "m-2025-snapshot"


def test_half_characters_are_replaced_on_the_way_in_and_out():
    reply, _, server = ask(raw(b'{"choices": [{"message": {"content": "ok \\ud83d"}}]}'), chat=question("a\ud83db"))
    assert reply.text == "ok �"
    assert server.requests[0].asked == "a�b"


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
def test_a_sampling_parameter_that_is_refused_is_left_out_and_said_so(field, fault, caplog):
    reply, log, server = ask(fault, say("42"), sampling=Sampling(0.2, 0.5, stop=("a",)), seed=1, retries=0)
    assert reply.text == "42"
    assert server.requests[0].body.keys() - server.requests[1].body.keys() == {field}
    assert log.outcomes == ["refused", "replied"]
    assert field in caplog.text


def test_a_value_out_of_range_is_not_taken_for_a_parameter_refused():
    error, _, server = ask(status(400, "temperature must be at most 2, not 9"), sampling=Sampling(9.0))
    assert "at most 2" in str(error)
    assert len(server.requests) == 1


def test_a_server_that_refuses_everything_is_not_asked_for_ever():
    words = "'temperature' is not supported; use 'max_completion_tokens'"
    error, _, server = ask(after=status(400, words))
    assert isinstance(error, Unavailable)
    assert len(server.requests) <= 4
