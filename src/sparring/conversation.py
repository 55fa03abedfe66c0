"""`sparring talk`: a chat with a learner in the terminal."""

from __future__ import annotations

from rich.console import Console

from sparring.chat import LEARNER, USER, Chat
from sparring.errors import ConversationError
from sparring.together import wait_for
from sparring.use import Used, open_learner


def converse(place: str, protocol: str, whole: bool) -> None:
    """Reads a line, says a reply, until a line is empty or there are no more."""
    console = Console()
    used = open_learner(place, protocol)
    console.print("[dim]an empty line ends the chat[/dim]")
    chat = Chat()
    while line := _line(console):
        chat = _turn(console, used, chat.say(USER, line), whole)


def _line(console: Console) -> str:
    try:
        return console.input("[bold]you:[/bold] ").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _turn(console: Console, used: Used, chat: Chat, whole: bool) -> Chat:
    """One reply; what is gone on with is the response alone, as a user of the model would see it."""
    try:
        answered = wait_for(used.reply(chat))
    except ConversationError as error:
        console.print(f"no answer: {error}", style="red", markup=False, emoji=False)
        return Chat(chat.messages[:-1])
    said = answered.chat.last.full_text if whole else answered.response
    console.print("[bold]learner:[/bold]", end=" ")
    console.print(said, markup=False, highlight=False, emoji=False)
    return chat.say(LEARNER, answered.response)
