"""Reads a row in each of the common formats: the question, the reply to imitate, and what it is preferred to.

Two departures from other tools. Texts of prompts and replies become turns of a chat, as the learner is used that way
(TRL trains on the bare texts; give `text` for that). Spaces around such a reply are removed, since a template puts its
own around a turn. Messages stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sparring.common.records import Record, kind_of
from sparring.core.chat import GOLD, LEARNER, PLAIN, SYSTEM, USER, Chat, Message, Part, message, question
from sparring.core.conversation import openings_as_context, question_in, read_conversation, worked_in
from sparring.core.row_formats import CONVERSATIONS, OUTPUTS, PROMPTS, QUESTIONS, WORKED, RowFormat, first_of

EMPTY, EQUAL = "rows without a reply", "rows whose chosen and rejected replies are equal"
_HH = re.compile(r"\n\n(Human|Assistant):")  # Anthropic's HH-RLHF
_MARKED = re.compile(r"\n?####\s*(.+)\s*$")  # GSM8K's final answer


@dataclass(frozen=True)
class Reading:
    """What a row says.

    `reply` is the text after the last question. `gold` and `rationale` are the columns of a final answer and of a
    worked one. `worked` and `rejected` are as in `Problem`. `skipped`: why nothing can be learnt from the row.
    """

    chat: Chat
    reply: str | None = None
    gold: str | None = None
    rationale: str | None = None
    worked: Chat | None = None
    rejected: Message | None = None
    skipped: str = ""


def read_row(row: Record, row_format: RowFormat, column: str | None) -> Reading:
    """Read a row in `row_format`; `column` is the question's, if a recipe names it. ConfigError names what is wrong."""
    for image in ("images", "image"):
        if row.is_filled(image):
            raise row.error(f"it has an image, in the column {image}; only text can be trained on: remove the row")
    reading = _READERS[row_format](row, column)
    system = row.plain("system") if row.is_filled("system") and row_format != "text" else None
    return with_system(reading, system) if system else reading


def with_system(reading: Reading, system: str) -> Reading:
    """Put a system prompt before a question, and before the conversation to imitate, that have none."""
    if not reading.chat.messages or reading.chat.messages[0].author == SYSTEM:
        return reading
    first = message(SYSTEM, system)
    worked = None if reading.worked is None else Chat((first, *reading.worked.messages))
    return replace(reading, chat=Chat((first, *reading.chat.messages)), worked=worked)


def replying(text: str) -> Message:
    """Return a reply that the data teach."""
    return Message(LEARNER, (Part(text, GOLD, weight=1.0),))


# ---- questions with answers


def _prompt(row: Record, column: str | None) -> Reading:
    column = column or first_of(row, PROMPTS) or "prompt"
    if isinstance(row.cell(column), list):
        return _conversation(row, column)
    return Reading(question(row.text(column)), rationale=first_of(row, WORKED))


def _question_answer(row: Record, column: str | None) -> Reading:
    chat = question(row.text(column or first_of(row, QUESTIONS) or "question"))
    rationale = first_of(row, WORKED)
    if row.is_filled("answer"):
        marked = _MARKED.search(str(row.cell("answer"))) if rationale is None else None
        return Reading(
            chat, reply=str(row.cell("answer")).strip() if marked else None, gold="answer", rationale=rationale
        )
    return _replied(chat, row.plain(rationale or "answer"))


def marked_answer(gold: str) -> str:
    """Return the answer after GSM8K's mark (`#### 18`), if `gold` has it, else `gold`."""
    marked = _MARKED.search(gold)
    return marked[1].strip() if marked else gold


def _alpaca(row: Record, column: str | None) -> Reading:
    """LLaMA-Factory's reading: instruction and input on lines of their own; replies in `history` are taught, too."""
    more = first_of(row, ("input", "context"))
    asked = [row.text(column or "instruction"), (row.plain(more) or "") if more else ""]
    history = row.cell("history") if row.is_filled("history") else []
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise row.error(f"history is {kind_of(history)}, not a list of pairs of question and reply")
    earlier = [said for before, reply in history for said in (message(USER, str(before)), replying(str(reply)))]
    now = message(USER, "\n".join(text for text in asked if text))
    return _replied(Chat((*earlier, now)), row.plain(first_of(row, OUTPUTS) or "output"))


def _replied(chat: Chat, reply: str | None) -> Reading:
    """Return the question `chat` with its `reply`; earlier replies of the learner in `chat` keep their weights."""
    context = Chat(tuple(said.with_weight(0.0) for said in chat.messages))
    if reply is None:
        return Reading(context, skipped=EMPTY)
    return Reading(context, reply, worked=chat.then(replying(reply)))


# ---- conversations


def _conversation(row: Record, column: str | None) -> Reading:
    column = column or first_of(row, CONVERSATIONS) or "messages"
    return _said(row, column, read_conversation(row, column, _tools(row)))


def _said(row: Record, column: str, messages: list[Message]) -> Reading:
    messages = openings_as_context(messages)
    chat, worked = question_in(row, column, messages), worked_in(messages)
    is_answered = worked is not None and len(worked.messages) > len(chat.messages)
    reply = worked.text if worked is not None and is_answered else None
    if is_answered and not reply and not (worked and worked.last.tools):
        return Reading(chat, skipped=EMPTY)
    return Reading(chat, reply or None, worked=worked)


def _tools(row: Record) -> Any:
    return row.cell("tools") if row.is_filled("tools") else None


def _prompt_completion(row: Record, column: str | None) -> Reading:
    """As in TRL, the completion is taught and the prompt is not, whoever speaks in it."""
    column = column or "prompt"
    prompt = [said.with_weight(0.0) for said in _as_messages(row, column, USER)]
    completion = _as_messages(row, "completion", LEARNER)
    if not any(part.text.strip() for said in completion for part in said.parts):
        return Reading(question_in(row, column, prompt), skipped=EMPTY)
    return _said(row, f"{column} and completion", [*prompt, *completion])


def _as_messages(row: Record, column: str, author: str) -> list[Message]:
    """Return the messages at `column`: a list, one object, or a text by `author`."""
    value = row.cell(column)
    if isinstance(value, dict):
        return read_conversation(replace(row, cells={column: [value]}), column)
    if isinstance(value, list):
        return read_conversation(row, column, _tools(row) if author == USER else None)
    if author == USER:
        return [message(USER, row.text(column))]
    return [replying(row.plain(column) or "")]


# ---- preferences and plain text


def _preference(row: Record, column: str | None) -> Reading:
    column = column or first_of(row, PROMPTS)
    chosen, rejected = row.cell("chosen"), row.cell("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str) and column is None:
        prompt, good, bad = _unprompted(row, chosen, rejected)
    else:
        good, bad = _as_messages(row, "chosen", LEARNER), _as_messages(row, "rejected", LEARNER)
        prompt, good, bad = _without_prompt(good, bad)
        if not prompt:
            if column is None:
                raise row.error("chosen and rejected have no prompt in common, and there is no column prompt; add one")
            prompt = _asked(row, column)
    for name, said in (("chosen", good), ("rejected", bad)):
        if len(said) != 1 or said[0].author != LEARNER:
            authors = ", ".join(each.author for each in said) or "nothing"
            raise row.error(f"{name} must be one reply to the question (got messages of: {authors}); shorten it")
    chat = question_in(row, column or "chosen", prompt)
    if good[0] == bad[0] or not good[0].text.strip() or not bad[0].text.strip():
        return Reading(chat, skipped=EQUAL if good[0] == bad[0] else EMPTY)
    worked = chat.then(good[0].with_weight(1.0))
    return Reading(chat, good[0].text, worked=worked, rejected=bad[0].with_weight(1.0))


def _asked(row: Record, column: str) -> list[Message]:
    """Return the prompt at `column`; with an instruction, its input below it."""
    more = first_of(row, ("input",)) if column == "instruction" else None
    added = row.plain(more) if more else None
    return [message(USER, f"{row.text(column)}\n{added}")] if added else _as_messages(row, column, USER)


def _without_prompt(good: list[Message], bad: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Divide two conversations into what they have in common and the rest; the last message of each is never common."""
    most = min(len(good), len(bad)) - 1
    shared = next((n for n in range(most) if good[n] != bad[n]), most)
    return good[:shared], good[shared:], bad[shared:]


def _unprompted(row: Record, chosen: str, rejected: str) -> tuple[list[Message], list[Message], list[Message]]:
    """Divide two texts: by the speakers of HH-RLHF, else into what they begin with (as TRL does) and the rest."""
    if chosen.startswith("\n\nHuman:") and rejected.startswith("\n\nHuman:"):
        return _without_prompt(_speakers(chosen), _speakers(rejected))
    most = min(len(chosen), len(rejected))
    start = next((n for n in range(most) if chosen[n] != rejected[n]), most)
    start = chosen.rfind(" ", 0, start) + 1  # a word is not divided
    prompt, good, bad = chosen[:start].strip(), chosen[start:].strip(), rejected[start:].strip()
    if not prompt:
        raise row.error("chosen and rejected have no prompt in common, and there is no column prompt; add one")
    return [message(USER, prompt)], [replying(good)], [replying(bad)]


def _speakers(text: str) -> list[Message]:
    _, *pieces = _HH.split(text)  # speaker and text by turns
    said = zip(pieces[::2], pieces[1::2], strict=True)
    return [message(USER, words.strip()) if who == "Human" else replying(words.strip()) for who, words in said]


def _text(row: Record, column: str | None) -> Reading:
    text = row.cell(column or "text")
    if isinstance(text, str) and not text.strip():
        return Reading(Chat(), skipped="rows without text")
    return Reading(Chat(), worked=Chat((Message(PLAIN, (Part(row.text(column or "text"), GOLD, weight=1.0),)),)))


_READERS: dict[str, Callable[[Record, str | None], Reading]] = {
    "prompt": _prompt,
    "prompt-completion": _prompt_completion,
    "messages": _conversation,
    "sharegpt": _conversation,
    "question-answer": _question_answer,
    "alpaca": _alpaca,
    "preference": _preference,
    "text": _text,
}
