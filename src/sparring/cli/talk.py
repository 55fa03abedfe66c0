"""`sparring talk`: chats with a learner in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sparring.cli.shared import ModelArgument, PlainOption

if TYPE_CHECKING:
    from sparring.common.terminal import Terminal
    from sparring.core.chat import Chat
    from sparring.runs.load import SavedLearner


def talk(
    model: ModelArgument,
    plain: PlainOption = False,
    show_all: Annotated[bool, typer.Option("--whole", help="Also show thoughts, attempts and feedback.")] = False,
) -> None:
    """Chat with a learner in the terminal; an empty line or end of input ends the chat."""
    from sparring.models.source import check_learner

    check_learner(model)
    from sparring.common.terminal import Terminal
    from sparring.core.chat import USER, Chat
    from sparring.core.protocol import SingleReply
    from sparring.runs.load import load_learner  # slow (torch): imported only after the arguments are checked

    learner, console = load_learner(model, plain=SingleReply() if plain else None), Terminal()
    console.print("enter an empty line to end the chat", style="dim")
    chat = Chat()
    while line := _read_line(console):
        chat = _turn(console, learner, chat.say(USER, line), show_all)


def _read_line(console: Terminal) -> str:
    try:
        console.print("you: ", style="bold", end="")
        return console.input().strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _turn(console: Terminal, learner: SavedLearner, chat: Chat, show_all: bool) -> Chat:
    """Print one reply and return the extended chat. The chat keeps only the response, without thoughts."""
    from sparring.common.concurrency import run_sync
    from sparring.common.errors import ConversationError
    from sparring.core.chat import LEARNER, Chat

    try:
        reply = run_sync(learner.reply(chat))
    except ConversationError as error:
        console.print(f"no answer: {error}", style="red")
        return Chat(chat.messages[:-1])
    console.print("learner: ", style="bold", end="")
    console.print(reply.chat.last.full_text if show_all else reply.response)
    return chat.say(LEARNER, reply.response)
