"""Any program as a speaker: a question as JSON on its standard input, the reply as JSON on its standard output.

It is told `{"messages": [{"role", "content"}, …], "sample": 0, "temperature": 0.0, "max_tokens": 512, …}` and prints
`{"text": "…"}`. Whatever else comes of it is no reply: another form, an exit status that is not 0, too long a wait.
So pytest, a compiler, a database or a proof checker can stand in any role.

Not here: a sandbox. The program is the user's own choice, runs with the user's rights and in the user's environment,
and is started anew for each reply; what it does with the words of a model is up to it.
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
_TAIL = 300  # characters of the standard error that are told
_STDIN, _STDERR = 0, 2


@dataclass(frozen=True)
class Command:
    """A program of yours that reads a chat as JSON and prints a reply as JSON.

    `command` is the program and its arguments, started as they are: no shell reads them. `timeout`: seconds for one
    reply; `at_once`: programs that run at a time. What it has started is killed when it ends, is late or is no longer
    wanted, but for what left its process group on purpose. The ledger knows a reply again by the command and by what
    it was told: after a change to the program itself, change the command too (an argument will do).
    """

    name: ClassVar[str] = "command"
    admits: ClassVar[bool] = True

    command: tuple[str, ...]
    timeout: Annotated[float, Gt(0)] = 60.0
    at_once: Annotated[int, Gt(0)] = 4

    def __post_init__(self) -> None:
        if not self.command:
            raise ConfigError('command = []: give a program and its arguments, such as ["python", "critic.py"]')

    def ready(self) -> None:
        """ConfigError where there is no such program. A replay needs none."""
        if shutil.which(self.command[0]) is None:
            raise ConfigError(
                f"command = {list(self.command)}: {self.command[0]!r} is no program that can be run; "
                "give one that is on the PATH, or the path of an executable file"
            )

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """The command and all that it is told (see `attempts.Recordable`)."""
        return {"model": shlex.join(self.command), **_told(chat, sampling, sample)}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """What the program says; raises Unavailable where that is no reply, ConfigError where it cannot be run."""
        told = json.dumps(_told(chat, sampling, sample)).encode()
        async with self._room():
            await attempts.admit()
            start = time.monotonic()
            try:
                reply = text_reply(_read(await self._output(told)), PARTNER)
            except Trouble as trouble:
                attempts.report(Attempt(trouble.outcome, time.monotonic() - start, error=trouble.error))
                raise Unavailable(f"{shlex.join(self.command)}: {trouble}") from None
            attempts.report(Attempt(REPLIED, time.monotonic() - start, reply=reply))
            return reply

    @cached_property
    def _rooms(self) -> WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]:
        return WeakKeyDictionary()

    def _room(self) -> asyncio.Semaphore:
        """Room for `at_once` programs in the running loop."""
        return self._rooms.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.at_once))

    async def _output(self, told: bytes) -> bytes:
        """What the program prints when it is `told` this; raises Trouble."""
        loop = asyncio.get_running_loop()
        try:
            # a session of its own: one signal reaches it and all its children, and the terminal's Ctrl-C does not
            transport, program = await loop.subprocess_exec(_Program, *self.command, start_new_session=True)
        except (FileNotFoundError, PermissionError) as error:
            raise ConfigError(f"{shlex.join(self.command)} cannot be run: {error.strerror}; mend the command") from None
        except OSError as error:  # no more processes, memory or files for now; or nothing that this machine runs
            raise Trouble("not started", error.strerror or str(error)) from None
        try:
            async with asyncio.timeout(self.timeout):
                program.hear(told)
                await program.gone.wait()
        except TimeoutError:
            raise Trouble("timed out", f"no reply within {self.timeout:g} s{program.complaint}") from None
        finally:
            if not program.gone.is_set():
                program.kill()
                transport.close()
                await program.gone.wait()
        return program.printed(transport.get_returncode())


class _Program(asyncio.SubprocessProtocol):
    """One program that runs: what it printed, and an end to it."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._said = bytearray()
        self._complained = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def hear(self, told: bytes) -> None:
        """Gives it `told`, whether or not it listens."""
        stdin = self._transport.get_pipe_transport(_STDIN)
        assert isinstance(stdin, asyncio.WriteTransport)
        stdin.write(told)
        stdin.write_eof()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keeps what it prints up to the limit, and the end of what it complains of."""
        if fd == _STDERR:
            self._complained = (self._complained + data)[-4 * _TAIL :]
        elif len(self._said) <= LARGEST_OUTPUT:
            self._said += data
        else:
            self.kill()

    def process_exited(self) -> None:
        """Ends its children too: they may hold its output open."""
        self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and all that it printed is here."""
        self.gone.set()

    def kill(self) -> None:
        """Kills it and its children."""
        with suppress(ProcessLookupError, PermissionError):  # all of them are gone (macOS says it in the second way)
            os.killpg(self._transport.get_pid(), signal.SIGKILL)

    @property
    def complaint(self) -> str:
        """The end of its standard error, to be put behind a reason."""
        words = " ".join(self._complained.decode(errors="replace").split())[-_TAIL:]
        return f": {words}" if words else ""

    def printed(self, status: int | None) -> bytes:
        """All of its output; raises Trouble if it is too long or it did not end well."""
        if len(self._said) > LARGEST_OUTPUT:
            raise Trouble("too large", f"an output of more than {LARGEST_OUTPUT // 2**20} MB{self.complaint}")
        if status:
            how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
            raise Trouble("failed", f"{how}{self.complaint}")
        return bytes(self._said)


def _told(chat: Chat, sampling: Sampling, sample: int) -> dict[str, Any]:
    """What a program reads, as plain data."""
    return {"messages": attempts.as_messages(chat, PARTNER), "sample": sample, **asdict(sampling)}


def _read(output: bytes) -> str:
    """The text in `output`; raises Trouble if it holds anything else."""
    try:
        found = json.loads(output.decode())
    except (ValueError, RecursionError):
        raise Trouble("not JSON", f"the output is {output[:60]!r}") from None
    if not (isinstance(found, dict) and list(found) == ["text"] and isinstance(found["text"], str)):
        raise Trouble("wrong fields", f'the output is {output[:60]!r}, not {{"text": "…"}}')
    return attempts.clean(found["text"])
