"""`sparring talk`: replies that grow before one's eyes, thoughts that stay hidden, and replies that were cut."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest

import sparring
from sparring.cli.talk import _turn
from sparring.common.errors import ConfigError, CutOff, RunStopped, Unavailable, Unreadable
from sparring.common.terminal import Terminal
from sparring.core.chat import LEARNER, USER, Chat, Part
from sparring.core.speaker import Reply, prefill
from sparring.methods.sft import SFT
from sparring.methods.tripost import TriPosT
from tests.cli.program import sparring_

SUM = "(1+(2+3))="


@pytest.mark.parametrize("end", ["\n", ""])
def test_talk_answers_each_line_until_there_is_none(run, end):
    said = sparring_("talk", run, stdin=f"{SUM}\n(4-(2*3))=\n{end}")
    assert said.code == 0, said
    assert said.out.count("learner:") + said.out.count("no answer:") == 2
    assert "Traceback" not in said.err


def test_talk_says_what_load_learner_answers(run):
    learner = sparring.load_learner(run, max_tokens=200)
    said = sparring_("talk", run, "--max-tokens", 200, stdin=f"{SUM}\n")
    try:
        expected = f"learner: {learner.answer(SUM)}"
    except CutOff as error:
        expected = f"learner: {error.words} … [the reply was cut at its limit after 200 tokens]"
    assert " ".join(expected.split()) in " ".join(said.out.split())


def test_bytes_that_are_no_text_are_replaced(run, monkeypatch):
    heard = []

    async def reply(self, chat, watch):
        heard.append(chat.text)
        return sparring.Answered(chat, "yes", ("yes",))

    monkeypatch.setattr(sparring.SavedLearner, "reply", reply)
    said = sparring_("talk", run, stdin=b"caf\xe9?\n")
    assert said.code == 0, said
    assert heard == ["caf\ufffd?"]


def test_talk_shows_words_that_look_like_markup_as_they_are(run, monkeypatch):
    async def reply(self, chat, watch):
        return sparring.Answered(chat, "[bold]x[/bold] [/nothing] :smile:", ("x",))

    monkeypatch.setattr(sparring.SavedLearner, "reply", reply)
    said = sparring_("talk", run, stdin="[/red] :smile:\n")
    assert said.code == 0, said
    assert "[bold]x[/bold] [/nothing] :smile:" in said.out


def test_talk_goes_on_after_a_line_to_which_there_is_no_answer(run, monkeypatch):
    calls = []

    async def reply(self, chat, watch):
        calls.append(chat.text)
        raise Unreadable("there is no response")

    monkeypatch.setattr(sparring.SavedLearner, "reply", reply)
    said = sparring_("talk", run, stdin="one\ntwo\n")
    assert said.code == 0, said
    assert calls == ["one", "two"]
    assert said.out.count("no answer: there is no response") == 2


def test_a_reply_that_is_cut_is_shown_with_a_mark_and_answer_raises_its_words(run):
    learner = sparring.load_learner(run, max_tokens=3)
    with pytest.raises(
        CutOff, match="cut at its limit after 3 tokens; load the learner with a higher max_tokens"
    ) as cut:
        learner.answer(SUM)
    assert len(cut.value.words) >= 2
    said = sparring_("talk", run, "--max-tokens", 3, stdin=f"{SUM}\n")
    shown = said.out.split("learner: ")[1].split("\nyou: ")[0]
    assert shown == f"{cut.value.words} … [the reply was cut at its limit after 3 tokens]"


def test_a_learner_is_watched_token_by_token(run):
    grown = []
    learner = sparring.load_learner(run, max_tokens=12)
    try:
        final = sparring_answer(learner, lambda chat, reply: grown.append((reply.completion_tokens, reply.text)))
    except CutOff as error:
        final = error.words
    assert [count for count, _ in grown] == list(range(1, len(grown) + 1))
    assert len(grown) >= 3
    assert all(final.startswith(text.strip().rstrip("\ufffd")) for _, text in grown)


def sparring_answer(learner, watch):
    from sparring.common.concurrency import run_sync
    from sparring.core.chat import question

    return run_sync(learner.reply(question(SUM), watch)).response


# ── what the terminal shows ─────────────────────────────────────────────────────────────────────────────────


def shown(method, *growing: tuple[Chat, str], response: str | BaseException, whole: bool = False, terminal: str = "0"):
    """Return what the terminal shows of replies that grow as `growing`, and the chat that goes on."""
    chat = Chat().say(USER, "Q")

    async def reply(chat, watch):
        for seen, text in growing:
            watch(seen, Reply((Part(text, LEARNER),), completion_tokens=len(text)))
        if isinstance(response, BaseException):
            raise response
        return sparring.Answered(chat.say(LEARNER, growing[-1][1]), response, (response,))

    console = Terminal()
    console.file = io.StringIO()
    console._force_terminal = terminal == "1"
    after = _turn(console, SimpleNamespace(answerer=method, reply=reply), chat, whole)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()), after.text


Q = Chat().say(USER, "Q")
THOUGHT = "Here is my thought process: secret"


def test_a_hidden_thought_is_a_note_that_is_wiped_away_before_the_response():
    method = SFT(thought_format="generic")
    growing = [(Q, THOUGHT), (Q, f"{THOUGHT} Here is my response:\n"), (Q, f"{THOUGHT} Here is my response:\nse"),
               (Q, f"{THOUGHT} Here is my response:\nseven")]  # fmt: skip
    out, last = shown(method, *growing, response="seven", terminal="1")
    assert "secret" not in out
    assert "thinking … 34 tokens" in out
    assert out.endswith("\r\x1b[2Klearner: seven\n")
    assert last == "seven"
    out, _ = shown(method, *growing, response="seven")
    assert out == "learner: seven\n"
    out, _ = shown(method, *growing, response="seven", whole=True)
    assert out == f"learner: {THOUGHT} Here is my response:\nseven\n"


def test_a_thought_that_is_cut_shows_no_word_of_it():
    method = SFT(thought_format="generic")
    out, last = shown(method, (Q, THOUGHT), response=CutOff("the reply was cut at its limit after 9 tokens; load …"))
    assert out == "no answer: the reply was cut at its limit after 9 tokens\n"
    assert last == ""


def test_an_attempt_that_is_revised_is_followed_by_the_final_one_without_the_feedback():
    feedback = prefill(Q, LEARNER, (Part("1+1=3\nFeedback: ", LEARNER),))
    growing = [(Q, "1+1"), (Q, "1+1=3"), (feedback, "step 1 is wrong"), (feedback, "1+1=2")]
    out, last = shown(TriPosT(critic=None, editor=None), *growing, response="1+1=2")
    assert out == "learner: 1+1=3 …\nlearner: 1+1=2\n"
    assert last == "1+1=2"


@pytest.mark.parametrize("error", [RunStopped("a cap"), ConfigError("no key"), Unavailable("no server")])
def test_a_chat_that_ends_at_its_first_message_leaves_no_note(error):
    async def reply(chat, watch):
        raise error

    console = Terminal()
    console.file = io.StringIO()
    console._force_terminal = True
    with pytest.raises(type(error)):
        _turn(console, SimpleNamespace(answerer=SFT(), reply=reply), Chat().say(USER, "Q"), False)
    assert "learner: …" in console.file.getvalue()
    assert console.file.getvalue().endswith("\r\x1b[2K")


def test_half_a_character_is_not_shown_and_an_interrupt_keeps_the_words_so_far():
    out, last = shown(SFT(), (Q, "na\ufffd"), (Q, "naïve"), response=KeyboardInterrupt())
    assert out == "learner: naïve … [stopped]\n"
    assert last == "naïve"
