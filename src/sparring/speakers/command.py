"""A program as a speaker: it reads a question as JSON from standard input and prints its reply as JSON.

The input is `{"messages": [{"role", "content"}, …], "sample": 0, "temperature": 0.0, "max_tokens": 512, …}`, the output
`{"text": "…"}`. Other output, a nonzero exit status and a timeout raise `Unavailable`. With this, pytest, a compiler, a
database or a proof checker can fill any role.

There is no sandbox. The program runs with the user's rights and environment and is started anew for each reply. It must
guard itself against what a model writes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar
from weakref import WeakKeyDictionary

from annotated_types import Gt

from sparring.client.trouble import Trouble
from sparring.common.errors import ConfigError, Unavailable
from sparring.core import attempts
from sparring.core.attempts import REPLIED, Attempt
from sparring.core.chat import Chat
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply

LARGEST_OUTPUT = 2**20  # bytes
_STDERR_TAIL = 300  # characters of the standard error that go into error messages
_STDIN, _STDERR = 0, 2
_IS_WINDOWS = os.name == "nt"
# A group of its own: one signal reaches all its children, and the terminal's Ctrl-C reaches none.
_APART: dict[str, Any] = {"creationflags": 0x200} if _IS_WINDOWS else {"start_new_session": True}


@dataclass(frozen=True)
class Command:
    """A program of yours that reads a chat as JSON and prints a reply as JSON.

    `command` is the program and its arguments; no shell is involved. `timeout`: seconds for one reply. `at_once`: the
    number of programs that run at a time. When the program ends, times out or is cancelled, its process group is killed
    (on Windows, where there are none, only the program). The ledger identifies a reply by the command and its input. So
    if you change the program itself, change the command too (an extra argument is enough).
    """

    name: ClassVar[str] = "command"
    admits: ClassVar[bool] = True

    command: tuple[str, ...]
    timeout: Annotated[float, Gt(0)] = 60.0
    at_once: Annotated[int, Gt(0)] = 4

    def __post_init__(self) -> None:
        if not self.command:
            raise ConfigError('command is empty; give a program and its arguments, such as ["python", "critic.py"]')

    def ready(self) -> None:
        """Raise ConfigError if the program does not exist. A replay skips this check."""
        if shutil.which(self.command[0]) is None:
            raise ConfigError(
                f"command = {list(self.command)}: {self.command[0]!r} is not an executable program; "
                "give one that is on the PATH, or the path of an executable file"
            )

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return the command and its input (see `attempts.Recordable`)."""
        return {"model": shlex.join(self.command), **_input(chat, sampling, sample)}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the program's reply; raises Unavailable if it fails and ConfigError if it cannot be started."""
        stdin = json.dumps(_input(chat, sampling, sample)).encode()
        async with self._slots():
            await attempts.admit()
            start = time.monotonic()
            try:
                reply = text_reply(read_output(await self._run(stdin)), PARTNER)
            except Trouble as trouble:
                attempts.report(Attempt(trouble.outcome, time.monotonic() - start, error=trouble.error))
                raise Unavailable(f"{shlex.join(self.command)}: {trouble}") from None
            attempts.report(Attempt(REPLIED, time.monotonic() - start, reply=reply))
            return reply

    @cached_property
    def _slots_by_loop(self) -> WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]:
        return WeakKeyDictionary()

    def _slots(self) -> asyncio.Semaphore:
        """Return the semaphore of the running loop, with `at_once` slots."""
        return self._slots_by_loop.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.at_once))

    async def _run(self, stdin: bytes) -> bytes:
        """Run the program with `stdin` as its input and return its output; raises Trouble."""
        loop = asyncio.get_running_loop()
        try:
            transport, process = await loop.subprocess_exec(_Process, *self.command, **_APART)
        except (FileNotFoundError, PermissionError) as error:
            raise ConfigError(f"cannot run {shlex.join(self.command)}: {error.strerror}; correct the command") from None
        except OSError as error:  # out of processes, memory or file descriptors; or not an executable format
            raise Trouble("not started", error.strerror or str(error)) from None
        try:
            async with asyncio.timeout(self.timeout):
                process.send(stdin)
                await process.has_ended.wait()
        except TimeoutError:
            raise Trouble("timed out", f"no reply within {self.timeout:g} s{process.stderr_suffix}") from None
        finally:
            if not process.has_ended.is_set():
                process.kill()
            transport.close()
            await process.has_ended.wait()
        return process.output(transport.get_returncode())


class _Process(asyncio.SubprocessProtocol):
    """A running program: its input, its output, and how to kill it."""

    def __init__(self) -> None:
        self.has_ended = asyncio.Event()
        self._stdout = bytearray()
        self._stderr = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def send(self, stdin: bytes) -> None:
        """Write `stdin` to the program and close its input."""
        pipe = self._transport.get_pipe_transport(_STDIN)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(stdin)
        pipe.write_eof()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Store standard output up to its limit and the end of standard error; kill the program beyond the limit."""
        if fd == _STDERR:
            self._stderr = (self._stderr + data)[-4 * _STDERR_TAIL :]
        elif len(self._stdout) <= LARGEST_OUTPUT:
            self._stdout += data
        else:
            self.kill()

    def process_exited(self) -> None:
        """Kill the program's children too: they may keep its output open."""
        self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the program has ended and that all its output has arrived."""
        self.has_ended.set()

    def kill(self) -> None:
        """Kill the program and its children."""
        with suppress(ProcessLookupError, PermissionError):  # all have ended (macOS raises PermissionError)
            if _IS_WINDOWS:
                self._transport.kill()
            else:
                os.killpg(self._transport.get_pid(), signal.SIGKILL)

    @property
    def stderr_suffix(self) -> str:
        """The end of standard error, for the end of an error message; "" if there is none."""
        text = " ".join(self._stderr.decode(errors="replace").split())[-_STDERR_TAIL:]
        return f": {text}" if text else ""

    def output(self, status: int | None) -> bytes:
        """Return the standard output; raises Trouble if it is too long or the exit `status` is not 0."""
        if len(self._stdout) > LARGEST_OUTPUT:
            raise Trouble("too large", f"an output of more than {LARGEST_OUTPUT // 2**20} MB{self.stderr_suffix}")
        if status:
            reason = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
            raise Trouble("failed", f"{reason}{self.stderr_suffix}")
        return bytes(self._stdout)


def _input(chat: Chat, sampling: Sampling, sample: int) -> dict[str, Any]:
    """Return what the program reads, as plain data."""
    return {"messages": attempts.as_messages(chat, PARTNER), "sample": sample, **asdict(sampling)}


def read_output(output: bytes) -> str:
    """Return the text in `output`; raises Trouble if `output` is not `{"text": "…"}`."""
    try:
        reply = json.loads(output.decode())
    except (ValueError, RecursionError):
        raise Trouble("not JSON", f"the output is {output[:60]!r}") from None
    if not (isinstance(reply, dict) and list(reply) == ["text"] and isinstance(reply["text"], str)):
        raise Trouble("wrong fields", f'the output is {output[:60]!r}, not {{"text": "…"}}')
    return attempts.clean(reply["text"])
