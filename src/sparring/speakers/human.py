"""A person at the terminal as a speaker.

One person, one question at a time: conversations that ask meanwhile wait in a queue, whichever roles they ask for. A
reply is held until the next one is begun, or until the person sends it off, and can be taken back until then. Who
leaves stops the run; what was sent is kept by the ledger, and a resumed run asks only for the rest.

Lines are read by the event loop itself, so everything else goes on, and nothing waits for a person when a run ends.

Not here: a window, an editor. A line is as long as the terminal takes in one piece (4,095 bytes on Linux).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar, Protocol, TextIO
from weakref import WeakKeyDictionary

from sparring.common.errors import ConfigError, RunStopped, Skipped, SparringError
from sparring.common.terminal import visible
from sparring.core import attempts
from sparring.core.attempts import as_messages
from sparring.core.chat import Chat
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply

SKIP, BACK, LEAVE = ":skip", ":back", ":leave"


@dataclass(frozen=True)
class Human:
    """A person at the terminal, who reads what is asked and writes the reply.

    `person` is whose replies they are: the ledger gives nobody the replies of somebody else.
    """

    name: ClassVar[str] = "human"
    admits: ClassVar[bool] = True

    person: str = "human"

    def ready(self) -> None:
        """ConfigError where there is no terminal. A replay needs none."""
        _terminal()

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """All that the person sees (see `attempts.Recordable`)."""
        return {"model": self.person, "messages": as_messages(chat, PARTNER), "sample": sample}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """What the person writes; raises Skipped for what is skipped, RunStopped when the person leaves, and
        ConfigError where there is no terminal."""
        loop = asyncio.get_running_loop()
        if loop not in _DESKS:
            _DESKS[loop] = Desk(_terminal())
        written = await _DESKS[loop].ask(_shown(chat))
        if written is None:
            raise Skipped(f"{self.person}: skipped")
        return text_reply(written, PARTNER)


class Screen(Protocol):
    """Where a person reads and writes."""

    def show(self, text: str) -> None:
        """Shows `text`, which does not end its line by itself."""
        ...

    def forget(self) -> None:
        """Forgets what was typed and not yet read."""
        ...

    async def line(self) -> str | None:
        """The next line that is typed, None at the end of the input."""
        ...


@dataclass(eq=False)
class _Question:
    """Something asked of the person, and the reply, once it is `sent`: None where it was skipped."""

    text: str
    sent: asyncio.Future[str | None]
    asker: Context
    reply: str | None = None
    put: bool = False

    async def may_be_put(self) -> bool:
        """Whether somebody still waits for it and it is admitted (see `attempts`), the first time that it is put."""
        if not self.put and not self.sent.done():
            self.put = True
            try:
                await asyncio.create_task(attempts.admit(), context=self.asker)
            except SparringError as error:
                self.sent.set_exception(error)
        return not self.sent.done()


class _Back(Exception):
    """The person wants the reply back that is held."""


class _Left(Exception):
    """The person leaves."""


class Desk:
    """Where one person sits, in one event loop: questions in a queue, and the last reply, held."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._waiting: deque[_Question] = deque()
        self._held: _Question | None = None
        self._sitting: asyncio.Task[None] | None = None
        self._left = False

    async def ask(self, text: str) -> str | None:
        """The person's reply to `text`, None where it is skipped; raises RunStopped once the person has left."""
        question = _Question(text, asyncio.get_running_loop().create_future(), copy_context())
        if self._left:
            raise _stopped()
        self._waiting.append(question)
        if self._sitting is None:
            self._sitting = asyncio.create_task(self._sit())
        return await question.sent

    async def _sit(self) -> None:
        """Puts the questions one by one until none is left."""
        try:
            with _leaving_by_interrupt():
                while self._waiting or self._held:
                    await self._next()
        except (_Left, OSError, asyncio.CancelledError):  # an OSError: the terminal is gone
            self._send()
            self._left = True
            self._end(_stopped())
        except Exception as error:  # those who wait are told, and raise it
            self._end(error)
        finally:
            self._sitting = None

    async def _next(self) -> None:
        """The reply to the next question, which is then held; or the held one sent, or taken back."""
        question = self._waiting.popleft() if self._waiting else None
        try:
            if question is None:
                await self._confirm()
            elif await question.may_be_put():
                question.reply = await self._written(question)
                self._send()
                self._held = question
        except _Back:
            taken, self._held = self._held, None
            self._waiting.extendleft(found for found in (question, taken) if found is not None)
        except BaseException:
            self._waiting.extendleft([question] if question else [])
            raise

    async def _written(self, question: _Question) -> str | None:
        """What the person writes. The reply that is held is sent off with the first line."""
        begun = visible(question.reply or "")
        before = f"\n\n(your reply so far, which an empty line keeps)\n{begun}" if begun else ""
        more = f", {len(self._waiting)} more waiting" if self._waiting else ""
        back = f" {BACK} takes your last reply back." if self._held else ""
        self._screen.forget()
        self._screen.show(f"\n──── you are asked{more} ────\n{question.text}{before}\n\n{HELP}{back}\n> ")
        lines: list[str] = []
        while True:
            line = await self._screen.line()
            if line == LEAVE or (line is None and not lines):
                raise _Left
            if line == SKIP:
                return None
            if line == BACK:
                lines = self._back(lines)
            elif line and line.strip():
                self._send()
                lines.append(line)
            elif lines or question.reply:
                return "\n".join(lines) or question.reply
            self._screen.show("> ")

    def _back(self, lines: list[str]) -> list[str]:
        """The lines that are left after going back; raises _Back where that means to the last reply."""
        if not lines and self._held:
            raise _Back
        self._screen.show("This reply begins anew.\n" if lines else "There is nothing to go back to.\n")
        return []

    async def _confirm(self) -> None:
        """Nobody asks for anything: sends the held reply off when the person says so."""
        self._screen.forget()
        while self._held:
            self._screen.show(f"\nNothing else is asked for now. Enter sends your reply, {BACK} takes it back.\n> ")
            line = await self._screen.line()
            if line is None or line == LEAVE:
                raise _Left
            if line == BACK:
                raise _Back
            if not line.strip():
                self._send()

    def _send(self) -> None:
        held, self._held = self._held, None
        if held is not None and not held.sent.done():
            held.sent.set_result(held.reply)

    def _end(self, error: BaseException) -> None:
        """Tells all who wait that there will be no reply."""
        for question in (*self._waiting, *((self._held,) if self._held else ())):
            if not question.sent.done():
                question.sent.set_exception(error)
        self._waiting.clear()
        self._held = None


@contextmanager
def _leaving_by_interrupt() -> Iterator[None]:
    """Within, Ctrl-C cancels the running task: a run that is interrupted waits for the calls under way, and so would
    wait for the person. A second Ctrl-C interrupts as ever."""
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        loop.call_soon_threadsafe(task.cancel)

    if threading.current_thread() is threading.main_thread():  # no other may handle signals, nor is sent any
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, before)


class Terminal:
    """A terminal as a screen: lines come from the file descriptor `source`."""

    def __init__(self, source: int, target: TextIO) -> None:
        self._source, self._target = source, target
        self._read = b""

    def show(self, text: str) -> None:
        """See `Screen`."""
        self._target.write(text)
        self._target.flush()

    def forget(self) -> None:
        """See `Screen`: the rest of a text that was pasted, say, is no reply to the next question."""
        self._read = b""
        try:
            termios.tcflush(self._source, termios.TCIFLUSH)
        except termios.error as error:
            raise OSError(*error.args) from None

    async def line(self) -> str | None:
        """See `Screen`; raises OSError when the terminal is gone."""
        while b"\n" not in self._read:
            await _readable(self._source)
            read = os.read(self._source, 2**16)
            if not read:
                line, self._read = self._read, b""
                return line.decode(errors="replace") if line else None
            self._read += read
        line, self._read = self._read.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")


async def _readable(source: int) -> None:
    """Waits until there is something to read at the file descriptor `source`."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(source, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source)


_DESKS: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()


def _terminal() -> Terminal:
    try:
        source = sys.stdin.fileno()
        target = open(os.ttyname(source), "w", encoding="utf-8")  # noqa: SIM115 (open as long as the desk); not
    except (AttributeError, OSError, ValueError):  # standard output, which may go to a file
        raise ConfigError(
            'by = "human" needs a terminal, and standard input is none; start the run in a terminal, or let another '
            "speaker fill the role"
        ) from None
    return Terminal(source, target)


def _stopped() -> RunStopped:
    return RunStopped("the person has left; what was replied is kept, go on with --resume when somebody is there")


def _shown(chat: Chat) -> str:
    """`chat` as the person reads it; no character of it moves the cursor or colours the screen."""
    heads = {"assistant": "(you wrote)\n", "system": "(how to reply)\n"}
    turns = (heads.get(turn["role"], "") + turn["content"].strip() for turn in as_messages(chat, PARTNER))
    return visible("\n\n".join(turns))


HELP = f"An empty line ends your reply. {SKIP} gives none, {LEAVE} (or Ctrl-C) stops the run, {BACK} begins anew."
