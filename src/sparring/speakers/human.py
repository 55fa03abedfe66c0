"""A person at the terminal as a speaker.

There is one person and one question at a time; other conversations wait in a queue, whatever their roles. A finished
reply is held: the person can take it back until the first line of the next reply, or until an empty line if nothing
else is asked. Then it is sent to whoever asked. If the person leaves, the run stops. Replies sent before are on the
ledger, and a resumed run asks only for the rest.

prompt_toolkit reads the lines, in the event loop: other tasks go on meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from sparring.common.errors import ConfigError, RunStopped, Skipped, SparringError
from sparring.common.terminal import visible
from sparring.core import attempts
from sparring.core.attempts import as_messages
from sparring.core.chat import Chat
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply

SKIP, BACK, LEAVE = ":skip", ":back", ":leave"
HELP = f"An empty line ends your reply. {SKIP} gives no reply, {LEAVE} (or Ctrl-C) stops the run, {BACK} starts over."


@dataclass(frozen=True)
class Human:
    """A person at the terminal, who reads what is asked and writes the reply.

    `person` names who replies: the ledger never gives one person's replies to another.
    """

    name: ClassVar[str] = "human"
    admits: ClassVar[bool] = True

    person: str = "human"

    def ready(self) -> None:
        """Raise ConfigError if standard input is no terminal. A replay skips this check."""
        _open_terminal()

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return everything that the person sees (see `attempts.Recordable`)."""
        return {"model": self.person, "messages": as_messages(chat, PARTNER), "sample": sample}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return what the person writes.

        Raises Skipped if the person skips the question, RunStopped if the person leaves, and ConfigError if there is no
        terminal.
        """
        loop = asyncio.get_running_loop()
        if loop not in _SESSIONS:
            _SESSIONS[loop] = Session(_open_terminal())
        text = await _SESSIONS[loop].ask(_format_chat(chat))
        if text is None:
            raise Skipped(f"{self.person}: skipped")
        return text_reply(text, PARTNER)


class Screen(Protocol):
    """Where a person reads and writes."""

    def show(self, text: str) -> None:
        """Show `text` without a line break at its end."""
        ...

    def discard_input(self) -> None:
        """Discard what was typed and not yet read."""
        ...

    async def read_line(self) -> str | None:
        """Return the next line, None at the end of the input; raises KeyboardInterrupt at Ctrl-C."""
        ...


@dataclass(eq=False)
class _Question:
    """A question and its reply; None: skipped. `sent` is the future on which the asker waits."""

    text: str
    sent: asyncio.Future[str | None]
    context: Context  # of the asker, to admit the call in
    reply: str | None = None
    was_admitted: bool = False

    async def admit(self) -> bool:
        """Admit the call once (see `attempts`); return whether somebody still waits for the reply."""
        if not self.was_admitted and not self.sent.done():
            self.was_admitted = True
            try:
                await asyncio.create_task(attempts.admit(), context=self.context)
            except SparringError as error:
                self.sent.set_exception(error)
        return not self.sent.done()


class _TakenBack(Exception):
    """The person takes back the reply that is held."""


class _PersonLeft(Exception):
    """The person leaves."""


class Session:
    """The queue of questions to one person in one event loop, and the last reply, which is held back."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._waiting: deque[_Question] = deque()
        self._held: _Question | None = None
        self._task: asyncio.Task[None] | None = None
        self._has_left = False

    async def ask(self, text: str) -> str | None:
        """Return the person's reply to `text`, None if it is skipped; raises RunStopped once the person has left."""
        question = _Question(text, asyncio.get_running_loop().create_future(), copy_context())
        if self._has_left:
            raise _person_left()
        self._waiting.append(question)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await question.sent

    async def _run(self) -> None:
        """Ask the questions one by one until none is left."""
        try:
            while self._waiting or self._held:
                await self._step()
        except (_PersonLeft, KeyboardInterrupt, OSError, asyncio.CancelledError):  # OSError: the terminal was closed
            self._send_held()
            self._has_left = True
            self._fail_all(_person_left())
        except Exception as error:  # a bug: it is raised where the replies are awaited
            self._fail_all(error)
        finally:
            self._task = None

    async def _step(self) -> None:
        """Ask the next question and hold its reply; if there is none, let the person send or take back the held one."""
        question = self._waiting.popleft() if self._waiting else None
        try:
            if question is None:
                await self._confirm_held()
            elif await question.admit():
                question.reply = await self._read_reply(question)
                self._send_held()
                self._held = question
        except _TakenBack:
            taken_back, self._held = self._held, None
            self._waiting.extendleft(again for again in (question, taken_back) if again is not None)
        except BaseException:
            self._waiting.extendleft([question] if question else [])
            raise

    async def _read_reply(self, question: _Question) -> str | None:
        """Show `question` and read the reply; its first line sends the reply that is held."""
        draft = visible(question.reply or "")
        draft_note = f"\n\n(your reply so far, which an empty line keeps)\n{draft}" if draft else ""
        more = f", {len(self._waiting)} more waiting" if self._waiting else ""
        back = f" {BACK} takes your last reply back." if self._held else ""
        self._screen.discard_input()
        self._screen.show(f"\n──── you are asked{more} ────\n{question.text}{draft_note}\n\n{HELP}{back}\n")
        lines: list[str] = []
        while True:
            line = await self._screen.read_line()
            if line == LEAVE or (line is None and not lines):
                raise _PersonLeft
            if line == SKIP:
                return None
            if line == BACK:
                lines = self._go_back(lines)
            elif line and line.strip():
                self._send_held()
                lines.append(line)
            elif lines or question.reply:
                return "\n".join(lines) or question.reply

    def _go_back(self, lines: list[str]) -> list[str]:
        """Discard `lines`; if there are none, raise _TakenBack to return to the reply that is held."""
        if not lines and self._held:
            raise _TakenBack
        self._screen.show("Your reply starts over.\n" if lines else "There is nothing to go back to.\n")
        return []

    async def _confirm_held(self) -> None:
        """Send the held reply when the person confirms it, since no other question follows."""
        self._screen.discard_input()
        while self._held:
            self._screen.show(f"\nNothing else is asked for now. Enter sends your reply, {BACK} takes it back.\n")
            line = await self._screen.read_line()
            if line is None or line == LEAVE:
                raise _PersonLeft
            if line == BACK:
                raise _TakenBack
            if not line.strip():
                self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held, None
        if held is not None and not held.sent.done():
            held.sent.set_result(held.reply)

    def _fail_all(self, error: BaseException) -> None:
        """Raise `error` in all who wait for a reply."""
        for question in (*self._waiting, *((self._held,) if self._held else ())):
            if not question.sent.done():
                question.sent.set_exception(error)
        self._waiting.clear()
        self._held = None


def _person_left() -> RunStopped:
    return RunStopped("the person left the terminal; replies so far are kept; continue later with --resume")


class PersonTerminal:
    """The terminal of this process as a `Screen`, with lines that can be edited."""

    def __init__(self) -> None:
        from prompt_toolkit import PromptSession  # noqa: PLC0415 - slow to start, and few runs ask a person
        from prompt_toolkit.input import create_input  # noqa: PLC0415
        from prompt_toolkit.output import create_output  # noqa: PLC0415

        # not standard output, which may be a file; it stays open as long as the session
        target = open(os.ttyname(sys.stdin.fileno()), "w", encoding="utf-8") if hasattr(os, "ttyname") else None  # noqa: SIM115
        self._input, self._output = create_input(), create_output(target, always_prefer_tty=True)
        self._prompt: PromptSession[str] = PromptSession(
            "> ", input=self._input, output=self._output, reserve_space_for_menu=0
        )

    def show(self, text: str) -> None:
        """Show `text` without a line break at its end."""
        self._output.write(text)
        self._output.flush()

    def discard_input(self) -> None:
        """Discard unread input, so that the rest of a pasted text is no reply to the next question."""
        from prompt_toolkit.input.typeahead import clear_typeahead  # noqa: PLC0415

        with self._input.raw_mode():  # where an unfinished line can be read, too
            while self._input.read_keys() or self._input.flush_keys():
                pass
        clear_typeahead(self._input)

    async def read_line(self) -> str | None:
        """Return the next line, or pasted lines; None at the end of the input, KeyboardInterrupt at Ctrl-C."""
        try:
            return await self._prompt.prompt_async()
        except EOFError:
            return None


_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, Session] = WeakKeyDictionary()


def _open_terminal() -> Screen:
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError(
            'by = "human" needs a terminal, and standard input is not one; start the run in a terminal, or choose '
            "another speaker for the role"
        )
    return PersonTerminal()


def _format_chat(chat: Chat) -> str:
    """Return `chat` as the person reads it, with control characters escaped."""
    headings = {"assistant": "(you wrote)\n", "system": "(how to reply)\n"}
    turns = (headings.get(turn["role"], "") + turn["content"].strip() for turn in as_messages(chat, PARTNER))
    return visible("\n\n".join(turns))
