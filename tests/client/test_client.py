"""The HTTP client: hosts, rate limits, and the parsing of responses."""

import json
import time
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparring.client import hosts, rate_limiter, trouble
from sparring.client.completion import error_message, read_completion
from sparring.client.hosts import Hosts
from sparring.client.rate_limiter import RateLimiter
from sparring.client.trouble import Trouble, from_status, retry_after
from sparring.core.attempts import Tokens, clean
from sparring.core.speaker import Sampling
from tests.fault_server import completion

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KNOWN = ("replied", "not JSON", "wrong fields", "empty", "filtered", "declined", "tool call", "broken off",
         "server error")  # fmt: skip
FIELDS = ("choices", "message", "content", "reasoning_content", "finish_reason", "usage", "model", "error")


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when the test moves it."""
    now = [1000.0]
    for module in (hosts, rate_limiter):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_hosts_take_turns():
    pool = Hosts(["a", "b", "c"])
    assert [pool.next().url for _ in range(6)] == ["a", "b", "c"] * 2


def test_a_host_set_aside_is_looked_at_by_one_call_at_a_time_ever_more_rarely(clock):
    pool = Hosts(["a", "b"])
    pool.next().failed(is_unreachable=True)
    looks = []
    for tick in range(1000):
        clock[0] = 1000 + tick / 10
        looks += [tick / 10 for _ in range(5) if pool.next().url == "a"]
    assert looks == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5]


def test_a_host_that_answers_a_look_takes_its_turns_again(clock):
    pool = Hosts(["a", "b"])
    pool.next().failed(is_unreachable=True)
    clock[0] += 0.6
    pool.next()
    looked_at = pool.next()
    assert looked_at.url == "a"
    looked_at.answered()
    assert {pool.next().url for _ in range(2)} == {"a", "b"}


def test_one_failure_in_a_while_sets_no_host_aside(clock):
    pool = Hosts(["a"])
    for _ in range(10):
        pool.next().failed()
        pool.next().failed()
        pool.next().answered()
    assert pool.next().is_healthy(clock[0])
    for _ in range(3):
        pool.next().failed()
    assert not pool.next().is_healthy(clock[0])


def test_where_no_host_is_well_one_is_given_all_the_same(clock):
    pool = Hosts(["a", "b"])
    for _ in range(2):
        pool.next().failed(is_unreachable=True)
    assert pool.next().url == "a"
    assert not pool.has_other_healthy(pool.next())


@given(st.floats(1, 10_000), st.lists(st.floats(0, 3), min_size=1, max_size=50))
def test_no_stretch_of_a_minute_holds_more_than_the_pace(per_minute, gaps):
    now, spent = 0.0, []
    steady = RateLimiter(per_minute)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_limiter.time, "monotonic", lambda: now)
        for gap in gaps:
            now += gap
            spent.append(now + steady.reserve())
    for start in spent:
        assert sum(start <= at < start + 60 for at in spent) <= per_minute + 1


def test_what_was_booked_too_much_is_given_back(clock):
    steady = RateLimiter(60)
    assert steady.reserve(30) == 0
    steady.correct(-20)
    assert steady.reserve(1) == pytest.approx(10)


def test_no_limit_is_no_wait():
    assert [RateLimiter(None).reserve(1e9) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("100000", 86_400),
        *(
            (said, 0)
            for said in ("-1", "soon", "", "nan", "inf", "1e400", "1_0", "٣", "1" * 400, "1, 2", "\x00", "0x9")
        ),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("21 Oct 2015 07:28:00 +9999999999999999", 0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 86_400),
        ("Wed, 21 Oct 9999 07:28:00 -2359", 86_400),
        *((f"Wed, 21 Oct {year} 07:28:00 {zone}", 0) for year, zone in [(0, "GMT"), (1, "+2359"), (10**6, "GMT")]),
        *((f"Wed, 21 Oct 2015 07:28:00 {zone}", 0) for zone in ("+99999", "-999999", "+99999999", "-9999999999")),
    ],
)
def test_retry_after_is_read_whatever_it_holds(said, seconds):
    assert retry_after({"retry-after": said}) == seconds


@given(
    st.text(max_size=50)
    | st.from_regex(r"(Wed, )?[0-9]{0,3} (Oct|Feb) [0-9]{0,9} [0-9:]{0,12} [+-]?([0-9]{0,12}|GMT)", fullmatch=True)
)
def test_no_retry_after_is_a_crash_or_without_bound(said):
    assert 0 <= retry_after({"retry-after": said}) <= trouble.LONGEST_WAIT


def test_retry_after_may_be_a_date():
    assert 8 < retry_after({"retry-after": formatdate(time.time() + 10, usegmt=True)}) <= 10


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_worth_another_try(status):
    assert from_status(status, {}, "x").can_retry


@pytest.mark.parametrize("status", [300, 400, 401, 402, 403, 404, 413, 422])
def test_what_would_be_answered_in_the_same_way_is_not(status):
    assert not from_status(status, {}, "x").can_retry


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no", "code": "full"}}, "no (full)"),
        ({"error": "no"}, "no"),
        ({"message": "no", "code": 400}, "no (400)"),
        ({"detail": "no"}, "no"),
        ({"detail": [{"loc": ["seed"]}]}, '[{"loc": ["seed"]}]'),
        ("no", "no"),
        ({"error": {"message": "a\nb\ud83d"}}, "a b�"),
    ],
)
def test_a_servers_own_message_is_found_in_every_form(body, words):
    assert error_message(body) == words


def _read(answer):
    return read_completion(json.dumps(answer).encode(), [{"role": "user", "content": "?"}], Sampling(), "partner")


@given(JSON)
@example({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"total_tokens": "many"}})
@example({"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": True, "prompt_tokens": -4}})
@example({"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 10**30, "prompt_tokens": 1}})
def test_nothing_that_a_server_says_is_a_crash(answer):
    _reply_or_trouble(answer)


@given(st.lists(st.tuples(st.sampled_from(FIELDS), JSON), max_size=3))
def test_no_field_that_a_server_garbles_is_a_crash(changes):
    answer = completion()
    for name, value in changes:
        for holder in (answer, answer["choices"][0], answer["choices"][0]["message"]):
            if name in holder:
                holder[name] = value
                break
        if not (isinstance(answer["choices"], list) and answer["choices"]):
            break
        if not (isinstance(answer["choices"][0], dict) and isinstance(answer["choices"][0].get("message"), dict)):
            break
    _reply_or_trouble(answer)


def _reply_or_trouble(answer):
    try:
        found = _read(answer)
        outcome, used, text = "replied", found.used, found.reply.text + found.model
    except Trouble as trouble:
        outcome, used, text = trouble.outcome, trouble.used or Tokens(), trouble.error
    assert outcome in KNOWN
    assert all(0 <= count < 2**50 for count in (used.prompt, used.completion, used.thought))
    assert text.encode() is not None


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_clean_text_can_be_written_and_clean_again_is_the_same(text):
    assert clean(clean(text)) == clean(text)
    assert clean(text).encode().decode() == clean(text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert clean(text) == text
