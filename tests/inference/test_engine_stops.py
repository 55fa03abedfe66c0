"""Where a reply ends: at its limit, at a stop token, before a stop string."""

from __future__ import annotations

import pytest

from sparring.core.speaker import Sampling
from sparring.inference.engine import Engine
from sparring.inference.sequence import Completion, Request
from sparring.inference.stop_strings import without_begun_stop
from tests.inference.decoding import STOP, network, replies


def test_a_reply_ends_at_its_limit():
    (sampled,) = replies(network(), [Request((4, 5), Sampling(max_tokens=6), 0)], stop_ids=())
    assert len(sampled.ids) == len(sampled.logprobs) == 6
    assert (sampled.finish, sampled.retokenised) == ("length", False)


def test_a_stop_token_ends_a_reply_and_belongs_to_it():
    model, prompt = network(), (4, 5, 6)
    (whole,) = replies(model, [Request(prompt, Sampling(), 0)], stop_ids=())
    (sampled,) = replies(model, [Request(prompt, Sampling(), 0)], stop_ids=(whole.ids[3],))
    at = whole.ids.index(whole.ids[3]) + 1
    assert sampled == Completion(whole.ids[:at], whole.logprobs[:at], "stop")


def recited(ids: list[int], *stop: str, max_tokens: int = 50) -> Completion:
    """The reply, under the strings `stop`, of a model that is made to sample `ids`."""
    model, tokens = network(), iter([*ids, STOP])
    # The prompt is one token, so that every forward pass is a step.
    model.register_forward_hook(lambda _, args, output: output.logits[:, -1, next(tokens)].add_(1e4) and None)
    (sampled,) = replies(model, [Request((3,), Sampling(temperature=0, stop=stop, max_tokens=max_tokens), 0)])
    return sampled


def test_a_reply_ends_before_its_first_stop_string():
    sampled = recited([2, 3, 4, 5, 6], "d", "cd")  # a b c d: 'cd' begins first
    assert (sampled.ids, sampled.finish, sampled.retokenised) == ((2, 3), "stop", False)
    assert len(sampled.logprobs) == 2


def test_a_stop_string_across_tokens_is_found_when_it_is_complete():
    assert recited([2, 30, 31, 5, 6], "xyzx").ids == (2,)  # a xy zx
    assert recited([30], "xy").ids == ()


def test_a_token_in_which_a_stop_string_begins_is_dropped_and_reported():
    sampled = recited([2, 30, 3, 4], "yb")  # a xy b
    assert (sampled.ids, sampled.retokenised) == ((2,), True)
    sampled = recited([2, 31, 3, 4], "zx")  # ends inside nothing: the text before it is whole
    assert (sampled.ids, sampled.retokenised) == ((2,), False)
    sampled = recited([2, 31, 3, 4], "z")  # it ends inside a token, the text before it is whole all the same
    assert (sampled.ids, sampled.retokenised) == ((2,), False)


def test_a_stop_string_that_the_last_allowed_token_completes_is_a_stop():
    assert recited([2, 3, 4], "c", max_tokens=3).finish == "stop"
    assert recited([2, 3, 4], "d", max_tokens=3).finish == "length"


def test_without_stop_strings_nothing_is_decoded():
    def decode(ids):
        raise AssertionError("decoded")

    engine = Engine(network(), [], decode)
    engine.submit(Request((3,), Sampling(max_tokens=5), 0))
    while engine.busy:
        engine.step()


@pytest.mark.parametrize(
    ("text", "shown"), [("7\n", "7"), ("7\nFeed", "7"), ("7\nFeedbacks", "7\nFeedbacks"), ("7 !", "7 !"), ("", "")]
)
def test_a_growing_reply_holds_back_what_may_become_a_stop_string(text, shown):
    assert without_begun_stop(text, ("\nFeedback:", "##")) == shown
