"""`sparring talk`: a chat with a learner in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.common.concurrency import wait_for
from sparring.common.errors import ConversationError
from sparring.common.terminal import Terminal
from sparring.core.chat import LEARNER, USER, Chat
from sparring.models.source import check_learner

if TYPE_CHECKING:
    from sparring.runs.load import Used


def converse(place: str, protocol: str, whole: bool) -> None:
    """Reads a line, says a reply, until a line is empty or there are no more."""
    console = Terminal()
    check_learner(place)
    from sparring.runs.load import open_learner  # noqa: PLC0415 - slow to start, and mistakes are told before

    used = open_learner(place, protocol)
    console.print("an empty line ends the chat", style="dim")
    chat = Chat()
    while line := _line(console):
        chat = _turn(console, used, chat.say(USER, line), whole)


def _line(console: Terminal) -> str:
    try:
        console.print("you: ", style="bold", end="")
        return console.input().strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _turn(console: Terminal, used: Used, chat: Chat, whole: bool) -> Chat:
    """One reply; what is gone on with is the response alone, as a user of the model would see it."""
    try:
        answered = wait_for(used.reply(chat))
    except ConversationError as error:
        console.print(f"no answer: {error}", style="red")
        return Chat(chat.messages[:-1])
    said = answered.chat.last.full_text if whole else answered.response
    console.print("learner: ", style="bold", end="")
    console.print(said)
    return chat.say(LEARNER, answered.response)
