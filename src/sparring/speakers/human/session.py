"""Questions to one person, one at a time.

A finished reply is held: the person can take it back until the first line of the next reply, or until an empty line if
nothing else is asked. Then it is sent to whoever asked.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from sparring.common.errors import RunStopped, SparringError
from sparring.common.terminal import visible
from sparring.core import attempts

SKIP, BACK, LEAVE = ":skip", ":back", ":leave"
HELP = f"An empty line ends your reply. {SKIP} gives no reply, {LEAVE} (or Ctrl-C) stops the run, {BACK} starts over."


class Screen(Protocol):
    """Where a person reads and writes."""

    def show(self, text: str) -> None:
        """Show `text` without a line break at its end."""
        ...

    def discard_input(self) -> None:
        """Discard what was typed and not yet read."""
        ...

    async def read_line(self) -> str | None:
        """Return the next line, None at the end of the input."""
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
            with _cancelled_by_interrupt():
                while self._waiting or self._held:
                    await self._step()
        except (_PersonLeft, OSError, asyncio.CancelledError):  # OSError: the terminal was closed
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
        self._screen.show(f"\n──── you are asked{more} ────\n{question.text}{draft_note}\n\n{HELP}{back}\n> ")
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
            self._screen.show("> ")

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
            self._screen.show(f"\nNothing else is asked for now. Enter sends your reply, {BACK} takes it back.\n> ")
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


@contextmanager
def _cancelled_by_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C cancel the running task; the second one has its usual effect.

    An interrupted run waits for its open calls, so it would wait for the person's reply.
    """
    previous = signal.getsignal(signal.SIGINT) or signal.SIG_DFL
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def cancel(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        loop.call_soon_threadsafe(task.cancel)

    if threading.current_thread() is threading.main_thread():  # only the main thread can set and receive signals
        signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is cancel:
            signal.signal(signal.SIGINT, previous)


def _person_left() -> RunStopped:
    return RunStopped("the person left the terminal; replies so far are kept; continue later with --resume")
