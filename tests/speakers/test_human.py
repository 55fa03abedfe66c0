"""A person as a speaker: one question at a time, replies that can be taken back until sent, and leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sparring.common.errors import ConfigError, Failure, RunStopped, Skipped, Unavailable
from sparring.core.attempts import Recordable
from sparring.core.chat import SYSTEM, USER, Chat
from sparring.core.partner import ask as ask_role
from sparring.core.speaker import PARTNER, Sampling
from sparring.ledger import Budget, BudgetReached, Cap, Ledger, Recorded, entries
from sparring.speakers import human
from sparring.speakers.human import Human, Session

LEFT = "the person left the terminal; replies so far are kept; continue later with --resume"


class Paper:
    """A screen with scripted input; after the last line the person writes nothing.

    A callable among the lines is called and is no input.
    """

    def __init__(self, *lines: str | Callable[[], None] | None, end: bool = False) -> None:
        self.lines, self.end = list(lines), end
        self.shown = ""

    def show(self, text):
        self.shown += text

    def discard_input(self):
        pass

    async def read_line(self):
        await asyncio.sleep(0)
        while self.lines:
            line = self.lines.pop(0)
            if not callable(line):
                self.shown += f"{line}\n"
                return line
            line()
            await asyncio.sleep(0.01)
        if self.end:
            return None
        return await asyncio.get_running_loop().create_future()


def sit(paper: Paper, *questions: str) -> dict[str, object]:
    """Ask all questions at once and return each one's reply, error, or "pending" after 0.2 s."""

    async def main():
        session = Session(paper)
        tasks = {text: asyncio.create_task(session.ask(text)) for text in questions}
        await asyncio.wait(tasks.values(), timeout=0.2)
        return {text: (t.exception() or t.result()) if t.done() else "pending" for text, t in tasks.items()}

    return asyncio.run(main())


def test_a_reply_is_its_lines_up_to_an_empty_one():
    assert sit(Paper("", "  ", "one", "  two", "", ""), "Q") == {"Q": "one\n  two"}


def test_the_end_of_the_input_ends_a_reply_and_then_the_sitting():
    assert sit(Paper("one", None, end=True), "Q") == {"Q": "one"}
    found = sit(Paper("one", None, end=True), "Q", "R")
    assert found["Q"] == "one"
    assert isinstance(found["R"], RunStopped)


def test_questions_are_put_one_by_one_in_the_order_asked():
    paper = Paper("1", "", "2", "", "3", "", "")
    assert sit(paper, "Q1", "Q2", "Q3") == {"Q1": "1", "Q2": "2", "Q3": "3"}
    assert "you are asked, 2 more waiting" in paper.shown
    assert paper.shown.index("Q1") < paper.shown.index("1\n") < paper.shown.index("Q2") < paper.shown.index("Q3")


def test_a_reply_is_held_until_the_next_one_is_begun():
    assert sit(Paper("1", ""), "Q1", "Q2") == {"Q1": "pending", "Q2": "pending"}
    assert sit(Paper("1", "", "2"), "Q1", "Q2") == {"Q1": "1", "Q2": "pending"}


def test_the_last_reply_is_held_until_it_is_sent_off_by_an_empty_line():
    assert sit(Paper("1", ""), "Q1") == {"Q1": "pending"}
    assert sit(Paper("1", "", "oh"), "Q1") == {"Q1": "pending"}
    assert sit(Paper("1", "", "oh", ""), "Q1") == {"Q1": "1"}


def test_one_can_go_back_to_the_reply_that_is_held_and_mend_it_or_keep_it():
    paper = Paper("1", "", ":back", "one", "", "2", "", "")
    assert sit(paper, "Q1", "Q2") == {"Q1": "one", "Q2": "2"}
    assert "(your reply so far, which an empty line keeps)\n1\n" in paper.shown
    assert sit(Paper("1", "", ":back", "", "2", "", ""), "Q1", "Q2") == {"Q1": "1", "Q2": "2"}
    assert sit(Paper("1", "", ":back", "one", "", ""), "Q1") == {"Q1": "one"}
    assert sit(Paper(":skip", ":back", "one", "", ""), "Q1") == {"Q1": "one"}


def test_what_was_sent_cannot_be_taken_back():
    paper = Paper("1", "", "wrong", ":back", ":back", "2", "", "")
    assert sit(paper, "Q1", "Q2") == {"Q1": "1", "Q2": "2"}
    assert paper.shown.index("Your reply starts over.") < paper.shown.index("There is nothing to go back to.")


def test_what_is_skipped_has_no_reply():
    assert sit(Paper(":skip", "2", "", ""), "Q1", "Q2") == {"Q1": None, "Q2": "2"}
    assert sit(Paper("half", ":skip", ""), "Q1") == {"Q1": None}


@pytest.mark.parametrize("how", [":leave", None])
def test_who_leaves_sends_what_is_written_and_stops_the_rest_with_what_to_do(how):
    found = sit(Paper("1", "", how), "Q1", "Q2", "Q3")
    assert found["Q1"] == "1"
    for text in ("Q2", "Q3"):
        assert isinstance(found[text], RunStopped)
        assert str(found[text]).startswith(LEFT)


def test_an_interrupt_stops_the_rest_and_sends_what_is_written():
    def interrupt():
        raise KeyboardInterrupt

    found = sit(Paper("1", "", interrupt), "Q", "R")
    assert found["Q"] == "1"
    assert isinstance(found["R"], RunStopped)


def test_a_terminal_that_is_gone_is_one_that_was_left():
    def gone():
        raise OSError(5, "Input/output error")

    found = sit(Paper("1", "", gone), "Q1", "Q2")
    assert found["Q1"] == "1"
    assert isinstance(found["Q2"], RunStopped)


def test_nobody_who_asks_later_finds_the_person_who_left():
    async def main():
        session = Session(paper)
        with pytest.raises(RunStopped):
            await session.ask("Q1")
        with pytest.raises(RunStopped):
            await session.ask("Q2")

    paper = Paper(":leave", "2", "", "")
    asyncio.run(main())
    assert "Q2" not in paper.shown


def test_a_question_that_nobody_waits_for_any_more_is_not_put():
    async def main():
        session = Session(paper)
        tasks = [asyncio.create_task(session.ask(text)) for text in ("Q1", "Q2", "Q3")]
        paper.lines = [tasks[1].cancel, "1", "", "3", "", ""]
        await asyncio.wait(tasks)
        return tasks[0].result(), tasks[2].result()

    paper = Paper()
    assert asyncio.run(main()) == ("1", "3")
    assert "Q2" not in paper.shown


def test_a_mistake_in_here_reaches_those_who_ask():
    def broken():
        raise KeyError("oh")

    assert [repr(error) for error in sit(Paper(broken), "Q1", "Q2").values()] == ["KeyError('oh')"] * 2


# ── the speaker ─────────────────────────────────────────────────────────────────────────────────────────────


def seated(paper: Paper, monkeypatch) -> Human:
    monkeypatch.setattr(human, "_open_terminal", lambda: paper)
    return Human()


def test_the_person_is_asked_again_with_the_reason_and_sees_what_was_said(monkeypatch):
    paper = Paper("seven", "", "", "7", "", "")
    found = asyncio.run(ask_role(seated(paper, monkeypatch), "How\x1b[2J many?", _number, Sampling(), "As a number."))
    assert found == 7
    assert "(how to reply)\nAs a number.\n\nHow\\x1b[2J many?" in paper.shown
    assert "(you wrote)\nseven\n\nThat reply cannot be used" in paper.shown


def _number(reply: str) -> int:
    from sparring.common.errors import Unreadable

    if not reply.isdecimal():
        raise Unreadable("not a number")
    return int(reply)


def test_a_sitting_left_half_way_goes_on_later_with_what_is_left(monkeypatch, tmp_path):
    def sitting(*lines):
        async def main():
            with Ledger(tmp_path / "ledger.sqlite") as ledger:
                speaker = Recorded(seated(paper, monkeypatch), ledger, "critic")
                asked = (speaker.reply(Chat().say(USER, text), Sampling()) for text in ("Q1", "Q2", "Q3"))
                found = await asyncio.gather(*asked, return_exceptions=True)
                await ledger.settle()
                return [getattr(reply, "text", type(reply).__name__) for reply in found]

        paper = Paper(*lines)
        return asyncio.run(main()), paper.shown

    replies, _ = sitting("1", "", ":skip", ":leave")
    assert replies == ["1", "Skipped", "RunStopped"]
    replies, shown = sitting("2", "", "3", "", "")
    assert replies == ["1", "2", "3"]
    assert "Q1" not in shown


def test_what_was_skipped_is_skipped_in_a_replay_too_and_counts_against_nobody(monkeypatch, tmp_path):
    def asked(mode, *lines):
        with Ledger(tmp_path / "ledger.sqlite", mode=mode) as ledger:
            speaker = Recorded(seated(Paper(*lines), monkeypatch), ledger, "critic")
            with pytest.raises(Skipped) as caught:
                asyncio.run(speaker.reply(Chat().say(USER, "Q"), Sampling()))
        return Failure.of(caught.value, "critic")

    assert not asked("record", ":skip", "").counts
    assert not asked("replay").counts
    assert Failure.of(Unavailable("asleep"), "critic").counts


def test_a_run_that_stops_puts_no_more_questions_and_waits_for_the_one_that_is_put(monkeypatch, tmp_path):
    async def main(speaker, ledger):
        asked = [asyncio.create_task(speaker.reply(Chat().say(USER, text), Sampling())) for text in ("Q1", "Q2", "Q3")]
        while "Q1" not in paper.shown:
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        paper.lines = ["1", "", ""]
        await ledger.settle()

    paper = Paper()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asyncio.run(main(Recorded(seated(paper, monkeypatch), ledger, "critic"), ledger))
        assert ledger.meter.run.calls == 1
    assert "Q2" not in paper.shown
    assert [entry["reply"]["parts"][0]["text"] for entry in entries(tmp_path / "ledger.sqlite")] == ["1"]


def test_a_question_beyond_the_budget_is_not_put_and_one_that_is_taken_back_is_one_call(monkeypatch, tmp_path):
    async def main(speaker):
        asked = (speaker.reply(Chat().say(USER, text), Sampling()) for text in ("Q1", "Q2"))
        return await asyncio.gather(*asked, return_exceptions=True)

    paper = Paper("1", "", ":back", "one", "", "", "", end=True)
    with Ledger(tmp_path / "ledger.sqlite", budget=Budget(run=Cap(calls=1))) as ledger:
        first, second = asyncio.run(main(Recorded(seated(paper, monkeypatch), ledger, "critic")))
    assert first.text == "one"
    assert isinstance(second, BudgetReached)
    assert "Q2" not in paper.shown


def test_its_call_is_known_again_by_what_is_seen_and_by_whom():
    chat = Chat().say(SYSTEM, "s").say(USER, "u").say(PARTNER, "p")
    assert isinstance(Human(), Recordable)
    assert Human().request(chat, Sampling(0.3)) == Human().request(chat, Sampling(0.9))
    assert Human("Ada").request(chat, Sampling()) != Human().request(chat, Sampling())
    assert Human().request(chat, Sampling(), 1) != Human().request(chat, Sampling())


def test_without_a_terminal_it_is_said_in_one_line():
    with pytest.raises(ConfigError, match='by = "human" needs a terminal') as caught:
        asyncio.run(Human().reply(Chat().say(USER, "?"), Sampling()))
    assert "\n" not in str(caught.value)
