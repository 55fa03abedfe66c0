"""`sparring talk`: a chat with a learner in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sparring.cli.shared import ModelArgument, ProtocolOption

if TYPE_CHECKING:
    from sparring.common.terminal import Terminal
    from sparring.core.chat import Chat
    from sparring.runs.load import SavedLearner


def talk(
    model: ModelArgument,
    protocol: ProtocolOption = "as_trained",
    whole: Annotated[bool, typer.Option("--whole", help="Show thoughts, attempts and feedback too.")] = False,
) -> None:
    """Chat with a learner in the terminal; an empty line or end of input ends it."""
    from sparring.models.source import check_learner

    check_learner(model)
    from sparring.common.terminal import Terminal
    from sparring.core.chat import USER, Chat
    from sparring.runs.load import load_learner  # only now: a mistake is told before torch is imported

    learner, console = load_learner(model, protocol), Terminal()
    console.print("an empty line ends the chat", style="dim")
    chat = Chat()
    while line := _line(console):
        chat = _turn(console, learner, chat.say(USER, line), whole)


def _line(console: Terminal) -> str:
    try:
        console.print("you: ", style="bold", end="")
        return console.input().strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _turn(console: Terminal, learner: SavedLearner, chat: Chat, whole: bool) -> Chat:
    """One reply. The chat keeps the response alone, as a user of the model would see it."""
    from sparring.common.concurrency import wait_for
    from sparring.common.errors import ConversationError
    from sparring.core.chat import LEARNER, Chat

    try:
        answered = wait_for(learner.reply(chat))
    except ConversationError as error:
        console.print(f"no answer: {error}", style="red")
        return Chat(chat.messages[:-1])
    console.print("learner: ", style="bold", end="")
    console.print(answered.chat.last.full_text if whole else answered.response)
    return chat.say(LEARNER, answered.response)
