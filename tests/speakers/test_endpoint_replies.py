"""What a server's reply means: its text, its thoughts, its end, its tokens."""

import pytest

from sparring.core.chat import question
from sparring.core.speaker import Sampling
from tests.fault_server import raw, say
from tests.speakers.asking import ASKED, ask

pytestmark = pytest.mark.usefixtures("quick")


def test_thoughts_are_recorded_and_billed_and_never_in_the_text():
    usage = {"prompt_tokens": 10, "completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 80}}
    for field in ("reasoning_content", "reasoning"):
        reply, log, _ = ask(say("42", message={field: "six sevens"}, usage=usage))
        assert reply.text == "42"
        assert [(part.text, part.thought) for part in reply.parts] == [("six sevens", True), ("42", False)]
        assert reply.completion_tokens == 90
        assert log[0].tokens.thought == 80


def test_a_refusal_is_quoted_and_billed():
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
