"""`sparring talk`: chats with a learner in the terminal. A hidden thought is never shown.

A saved learner's reply is shown as it grows, a reply from an endpoint when it is complete (`runs.talk`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.control import Control
from rich.segment import ControlType

from sparring.cli.entry import loading
from sparring.cli.shared import PlainOption

if TYPE_CHECKING:
    from sparring.common.terminal import Terminal
    from sparring.core.chat import Chat
    from sparring.core.speaker import Reply
    from sparring.ledger import Ledger
    from sparring.parsing.thought import ThoughtFormat
    from sparring.runs.load import SavedLearner
    from sparring.runs.talk import AskedLearner


def talk(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A run, a checkpoint, a model folder, a hub id, or a model's name at an endpoint.",
        ),
    ] = None,
    plain: PlainOption = False,
    show_all: Annotated[bool, typer.Option("--whole", help="Also show thoughts, attempts and feedback.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Limit of a reply in tokens; default: that of the training, or 512.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set a key: learner.by=endpoint, learner.base_url=…, ledger.path=…, budget.prices=auto, …",
        ),
    ] = None,
) -> None:
    """Chat with a learner in the terminal; an empty line or end of input ends the chat, Ctrl-C stops a reply.

    A model behind an OpenAI-compatible endpoint: sparring talk MODEL --set learner.by=endpoint --set
    learner.base_url=http://localhost:8000/v1. Its key is in OPENAI_API_KEY, or in the variable learner.key_variable.
    """
    from sparring.config.talk import TalkRecipe

    recipe = TalkRecipe.read(model, settings or [])
    with loading():  # only after the arguments are checked
        from sparring.common.terminal import Terminal
        from sparring.runs.talk import talking

    console = Terminal()
    with talking(recipe, plain=plain, max_tokens=max_tokens) as (learner, ledger):
        console.print("enter an empty line to end the chat", style="dim")
        try:
            _chat(console, learner, show_all)
        finally:
            _say_cost(console, ledger)


def _chat(console: Terminal, learner: SavedLearner | AskedLearner, show_all: bool) -> None:
    """Answer each message until there is none."""
    from sparring.core.chat import USER, Chat

    chat, read = Chat(), _line_reader(console)
    while line := _next_message(read):
        chat = _turn(console, learner, chat.say(USER, line), show_all)


def _say_cost(console: Terminal, ledger: Ledger | None) -> None:
    """Say what the chat has spent, if the price of the model is known."""
    if ledger is not None and ledger.meter.run.money:
        console.print(f"spent in this chat: {ledger.meter.run}", style="dim")


def _line_reader(console: Terminal) -> Callable[[], str]:
    """Return what reads the person's next message, "" at the end of the chat.

    At a terminal the message can be edited and recalled, and what is pasted stays one message.
    """
    if console.is_terminal and sys.stdin.isatty():
        from prompt_toolkit import PromptSession
        from prompt_toolkit.formatted_text import FormattedText

        session: PromptSession[str] = PromptSession(FormattedText([("bold", "you: ")]), reserve_space_for_menu=0)
        return lambda: session.prompt().encode(errors="replace").decode()  # bytes that are no text

    def read() -> str:
        console.print("you: ", style="bold", end="")
        return console.input()

    return read


def _next_message(read: Callable[[], str]) -> str:
    try:
        return read().strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _turn(console: Terminal, learner: SavedLearner | AskedLearner, chat: Chat, show_all: bool) -> Chat:
    """Show one reply and return the extended chat. The chat keeps only the response, without thoughts.

    A learner that cannot be asked from the start ends the chat, and so does a cap. Later the words so far are worth
    keeping, so a failure takes the place of the answer.
    """
    from sparring.common.concurrency import run_sync
    from sparring.common.errors import ConfigError, CutOff, RunStopped, SparringError, Unavailable
    from sparring.core.chat import LEARNER, Chat
    from sparring.core.protocol import form_of

    shown = _ShownReply(console, form_of(learner.answerer), show_all)
    try:
        reply = run_sync(learner.reply(chat, shown.watch))
    except KeyboardInterrupt:
        shown.end(shown.text, "stopped")
        response = shown.text
    except CutOff as error:
        shown.end((show_all and shown.text) or error.words, str(error).partition(";")[0])
        response = error.words
    except SparringError as error:
        from_the_start = isinstance(error, ConfigError | Unavailable) and len(chat.messages) == 1
        if from_the_start or isinstance(error, RunStopped):
            shown.clear_note()
            raise
        shown.end("", str(error))
        response = ""
    else:
        shown.end(reply.chat.last.full_text if show_all else reply.response)
        response = reply.response
    return chat.say(LEARNER, response) if response else Chat(chat.messages[:-1])


class _ShownReply:
    """A reply on the console, printed as it grows; while it is thought, the console only says so."""

    def __init__(self, console: Terminal, form: ThoughtFormat, show_all: bool) -> None:
        self.text = ""  # what was printed
        self._console, self._form, self._show_all = console, form, show_all
        self._has_note = False
        self._note("…")

    def watch(self, chat: Chat, reply: Reply) -> None:
        """Print what `reply` to `chat` has grown by."""
        from sparring.core.chat import LEARNER

        begun = chat.last.full_text if chat.last.open else ""  # the learner continues its own message
        if self._show_all:
            self._print_growth(begun + reply.by(LEARNER).full_text)
        elif not begun:
            self._print_growth(self._form.response_so_far(reply.text))
        if not self.text:
            count = reply.completion_tokens
            self._note(f"thinking … {count} token{'s' if count > 1 else ''}")

    def end(self, text: str, trouble: str = "") -> None:
        """Print what `text`, the final reply, has more than was printed, or the whole if it became another one."""
        text = text.strip()
        if not text.startswith(self.text):
            self._console.print(" …", style="dim")
            self.text = ""
        self._print_growth(text)
        self.clear_note()
        mark = f" … [{trouble}]" if self.text else f"no answer: {trouble}"
        self._console.print(mark if trouble else "", style="red", soft_wrap=True)

    def _print_growth(self, text: str) -> None:
        text = text.rstrip("\ufffd").strip()  # half a character; spaces that the end of the reply may drop
        if len(text) <= len(self.text) or not text.startswith(self.text):
            return
        if not self.text:
            self.clear_note()
            self._console.print("learner: ", style="bold", end="")
        self._console.print(text[len(self.text) :], end="", soft_wrap=True)
        self.text = text

    def _note(self, note: str) -> None:
        if self._console.is_terminal:
            self.clear_note()
            self._console.print(f"learner: {note}", style="dim", end="", soft_wrap=True)
            self._has_note = True

    def clear_note(self) -> None:
        """Wipe away the note that a reply is on its way."""
        if self._has_note:
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            self._has_note = False
