"""The ledger: calls are paid once, recorded before use, and replayed."""

import asyncio
import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common.errors import ConfigError, RunStopped, Unavailable
from sparring.common.files import adapter
from sparring.core import attempts
from sparring.core.attempts import Serving, Tokens
from sparring.core.chat import Part, question
from sparring.core.speaker import Reply, Sampling, Speaker
from sparring.ledger import (
    Budget,
    BudgetReached,
    Cap,
    Ledger,
    NotRecorded,
    Price,
    Recorded,
    Total,
    entries,
    export,
    totals,
)
from sparring.speakers import endpoint
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import late, say, serving, status
from tests.parrot import PLAIN, Parrot, Served, ask

HERE = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_recorded_speaker_is_a_speaker(path):
    with Ledger(path) as ledger:
        assert isinstance(Recorded(Parrot(), ledger, "critic"), Speaker)


def test_a_repeat_is_free_in_this_run_and_in_the_next(path):
    parrot = Parrot()
    with Ledger(path, "one") as ledger:
        assert ask(Recorded(parrot, ledger, "critic"), "a", "a", "b") == ["a 1", "a 1", "b 2"]
    with Ledger(path, "two") as ledger:
        assert ask(Recorded(parrot, ledger, "editor"), "b", "a") == ["b 2", "a 1"]
    assert parrot.calls == ["a", "b"]


def test_samples_stay_as_many_calls_as_they_are(path):
    parrot = Parrot()
    with Ledger(path) as ledger:
        speaker = Recorded(parrot, ledger, "judge")
        first = [ask(speaker, "a", sample=k) for k in range(4)]
        again = [ask(speaker, "a", sample=k) for k in reversed(range(4))]
    assert len({text for (text,) in first}) == 4
    assert again == first[::-1]


def test_the_same_call_under_way_is_one_call_whichever_role_asks(path):
    parrot = Parrot(seconds=0.05)

    async def main(ledger):
        roles = [Recorded(parrot, ledger, role) for role in ("critic", "editor")]
        return await asyncio.gather(*(roles[k % 2].reply(question("a"), PLAIN) for k in range(10)))

    with Ledger(path) as ledger:
        assert {reply.text for reply in asyncio.run(main(ledger))} == {"a 1"}
    assert parrot.calls == ["a"]


def test_of_many_asked_at_once_the_first_leave_while_the_others_are_made_ready(path):
    made, sent = [], []

    class Counted(Parrot):
        def request(self, chat, sampling, sample=0):
            made.append(sample)
            return super().request(chat, sampling, sample)

        async def reply(self, chat, sampling, sample=0):
            sent.append(len(made))
            return await super().reply(chat, sampling, sample)

    async def main(judge):
        await asyncio.gather(*(judge.reply(question(str(number)), PLAIN) for number in range(1000)))

    with Ledger(path) as ledger:
        asyncio.run(main(Recorded(Counted(), ledger, "judge")))
    assert len(sent) == 1000
    assert sent[0] < 500


def test_one_that_stops_waiting_takes_the_call_from_nobody(path):
    parrot = Parrot(seconds=0.05)

    async def main(speaker):
        one, other = (asyncio.create_task(speaker.reply(question("a"), PLAIN)) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        assert (await other).text == "a 1"
        last = asyncio.create_task(speaker.reply(question("b"), PLAIN))
        await asyncio.sleep(0.01)
        last.cancel()
        await speaker.ledger.settle()

    with Ledger(path) as ledger:
        asyncio.run(main(Recorded(parrot, ledger, "critic")))
        assert ask(Recorded(parrot, ledger, "critic"), "b") == ["b 2"]
    assert parrot.calls == ["a", "b"]


def test_what_a_joined_call_raises_everyone_who_waits_gets(path):
    async def main(speaker):
        return await asyncio.gather(*(speaker.reply(question("a"), PLAIN) for _ in range(3)), return_exceptions=True)

    with Ledger(path) as ledger:
        results = asyncio.run(main(Recorded(Parrot(seconds=0.02, failures=1), ledger, "critic")))
    assert [type(error) for error in results] == [Unavailable] * 3


def test_a_reply_is_on_the_disk_before_it_is_used(path):
    code = f"""
import asyncio, os, signal
from pathlib import Path
from sparring.core.chat import question
from sparring.ledger import Ledger, Recorded
from sparring.core.speaker import Sampling
from tests.parrot import Parrot
async def main():
    speaker = Recorded(Parrot(), Ledger(Path({str(path)!r})), "critic")
    for k in range(5):
        print((await speaker.reply(question(f"q{{k}}"), Sampling())).text, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    with Ledger(path, mode="replay") as ledger:
        assert ask(Recorded(Parrot(), ledger, "critic"), *[f"q{k}" for k in range(5)]) == done.stdout.splitlines()


REPLIES = st.builds(
    Reply,
    st.lists(
        st.builds(
            Part,
            st.text(),
            st.text(max_size=5),
            st.none() | st.lists(st.integers(0, 2**31)).map(tuple),
            st.floats(0, 2),
            st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    st.sampled_from(["stop", "length"]),
    st.none() | st.lists(st.floats(-100, 0)).map(tuple),
    st.integers(0, 2**31),
    st.integers(0, 2**31),
)


@given(REPLIES)
def test_a_reply_comes_back_as_it_was(reply):
    kind = adapter(Reply)
    assert kind.validate_json(kind.dump_json(reply, exclude_defaults=True)) == reply


def test_a_failure_is_recorded_and_never_a_reply(path):
    parrot = Parrot(failures=2)
    with Ledger(path) as ledger:
        speaker = Recorded(parrot, ledger, "critic")
        for _ in range(2):
            with pytest.raises(Unavailable, match="asleep"):
                ask(speaker, "a")
        assert ask(speaker, "a") == ["a 3"]
    assert [(e["outcome"], e["error"]) for e in entries(path, failed=True)] == [("Unavailable", "asleep")] * 2
    assert [e["outcome"] for e in entries(path)] == ["Unavailable", "Unavailable", "replied"]


def test_an_attempt_is_recorded_with_all_that_is_known_of_it(path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 20}}

    async def main():
        attempts.serving.set(Serving("2-tripost", 3, "p7"))
        async with serving(
            status(503, "full"), late(0.1, say("42", model="m-new", finish_reason="length", usage=usage))
        ) as server:
            speaker = Recorded(Endpoint("m", server.url, extra_body={"x": 1}), ledger, "editor")
            await speaker.reply(question("6 × 7"), Sampling(0.5, stop=("a",)), sample=4)
            return server.url

    with Ledger(path, "first", budget=Budget(prices={"m": Price(2, 4)})) as ledger:
        url = asyncio.run(main())
    failed, replied = entries(path)
    same = {
        "run": "first",
        "role": "editor",
        "phase": "2-tripost",
        "round": 3,
        "problem": "p7",
        "model": "m",
        "sample": 4,
    }
    assert failed.items() >= (same | {"outcome": "server error", "error": "503 full", "host": url, "cost": 0}).items()
    assert failed["reply"] is None
    assert replied.items() >= (same | {"outcome": "replied", "error": "", "finish": "length", "host": url}).items()
    assert replied.items() >= {"answered_by": "m-new", "prompt_tokens": 100, "completion_tokens": 50}.items()
    assert replied["thought_tokens"] == 20
    assert replied["cost"] == pytest.approx((100 * 2 + 50 * 4) / 1e6)
    assert 0.1 < replied["seconds"] < 2
    assert replied["reply"]["parts"][0]["text"] == "42"
    assert replied["key"] == failed["key"]
    assert replied["request"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "6 × 7"}],
        "sampling": {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_tokens": 256, "stop": ["a"]},
        "extra_body": {"x": 1},
        "sample": 4,
    }


def test_totals_add_up_by_role_round_and_model(path):
    parrot = Parrot(reply_tokens=2, failures=1)
    with Ledger(path, "one", budget=Budget(prices={"parrot": Price(1e6, 0)})) as ledger:
        with pytest.raises(Unavailable):
            ask(Served(Recorded(parrot, ledger, "critic"), "1", 1), "a")
        ask(Served(Recorded(parrot, ledger, "critic"), "1", 1), "a", "b")
        ask(Served(Recorded(parrot, ledger, "editor"), "1", 2), "c")
    critic, editor = totals(path)
    assert critic == Total("one", "critic", "1", 1, "parrot", 3, 1, 14, 4, 0, 14.0, critic.seconds)
    assert editor == Total("one", "editor", "1", 2, "parrot", 1, 0, 7, 2, 0, 7.0, editor.seconds)
    assert len(totals(path, "one")) == 2
    assert totals(path, "other") == []


def test_an_export_holds_every_attempt_a_line_each(path, tmp_path):
    with Ledger(path, "one") as ledger:
        ask(Recorded(Parrot(), ledger, "critic"), "ä\n", "b")
    with Ledger(path, "two") as ledger:
        ask(Recorded(Parrot(), ledger, "critic"), "c")
    assert export(path, tmp_path / "all.jsonl") == 3
    assert export(path, tmp_path / "one.jsonl", "one") == 2
    lines = (tmp_path / "one.jsonl").read_text().splitlines()
    assert [json.loads(line)["reply"]["parts"][0]["text"] for line in lines] == ["ä\n 1", "b 2"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_replay_asks_nobody_and_names_what_is_missing(path):
    parrot = Parrot()
    with Ledger(path) as ledger:
        ask(Recorded(parrot, ledger, "critic"), "a")
    before = path.read_bytes()
    with Ledger(path, mode="replay", budget=Budget(run=Cap(calls=0))) as ledger:
        speaker = Recorded(parrot, ledger, "critic")
        assert ask(speaker, "a") == ["a 1"]
        attempts.serving.set(Serving("1-sft", 2, "p9"))
        with pytest.raises(
            NotRecorded, match=r"sample 3 of critic at parrot, problem 'p9' in round 2.*why not"
        ) as caught:
            ask(speaker, "why not", sample=3)
        attempts.serving.set(Serving())
    assert isinstance(caught.value, RunStopped)
    assert "\n" not in str(caught.value)
    assert parrot.calls == ["a"]
    assert path.read_bytes() == before


def test_a_replay_fails_where_the_run_failed(path):
    with Ledger(path) as ledger, pytest.raises(Unavailable):
        ask(Recorded(Parrot(failures=1), ledger, "critic"), "a")
    with Ledger(path, mode="replay") as ledger, pytest.raises(Unavailable, match="asleep"):
        ask(Recorded(Parrot(), ledger, "critic"), "a")


def test_a_replay_needs_a_ledger(path):
    with pytest.raises(ConfigError, match="no ledger at"):
        Ledger(path, mode="replay")
    assert not path.exists()


def test_a_ledger_that_is_off_neither_reads_nor_writes_and_keeps_the_budget(path):
    parrot = Parrot()
    with Ledger(path, mode="off", budget=Budget(run=Cap(calls=2))) as ledger:
        speaker = Recorded(parrot, ledger, "critic")
        assert ask(speaker, "a", "a") == ["a 1", "a 2"]
        with pytest.raises(BudgetReached):
            ask(speaker, "a")
    assert not path.exists()


def test_what_everybody_gave_up_waiting_for_fails_without_a_word_from_asyncio(path, caplog):
    async def main(speaker):
        calls = [asyncio.create_task(speaker.reply(question(str(k)), PLAIN)) for k in range(4)]
        await asyncio.sleep(0.02)
        for call in calls:
            call.cancel()
        await asyncio.sleep(0.2)
        gc.collect()

    with Ledger(path) as ledger:
        asyncio.run(main(Recorded(Parrot(seconds=0.1, failures=4), ledger, "critic")))
        gc.collect()
    assert [total.failed for total in totals(path)] == [4]
    assert not caplog.records


def test_whatever_a_speaker_raises_what_it_sent_is_recorded(path):
    class Broken(Parrot):
        admits = True

        async def reply(self, chat, sampling, sample=0):
            await attempts.admit(Tokens(5, 6))
            assert [total.open for total in totals(path)] == [1]
            raise ZeroDivisionError("by nobody")

    with Ledger(path) as ledger, pytest.raises(ZeroDivisionError):
        ask(Recorded(Broken(), ledger, "critic"), "a")
    assert [(e["outcome"], e["error"]) for e in entries(path)] == [("ZeroDivisionError", "by nobody")]
    assert [(total.calls, total.open) for total in totals(path)] == [(1, 0)]


def test_a_speaker_that_does_not_say_when_it_sends_is_held_to_the_cap_all_the_same(path):
    parrot = Parrot(seconds=0.05)

    async def main(speaker):
        asked = (speaker.reply(question(str(k)), PLAIN) for k in range(10))
        return await asyncio.gather(*asked, return_exceptions=True)

    with Ledger(path, budget=Budget(run=Cap(calls=3))) as ledger:
        results = asyncio.run(main(Recorded(parrot, ledger, "critic")))
    assert len(parrot.calls) == 3
    assert [type(error) for error in results if isinstance(error, Exception)] == [BudgetReached] * 7


def test_a_ledger_in_a_place_where_no_folder_can_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunStopped, match=r"cannot write .*ledger\.sqlite: File exists"):
        Ledger(tmp_path / "file" / "ledger.sqlite", "run")
