"""The terminal at which a person reads and writes.

The event loop itself reads the lines: other tasks go on meanwhile, and no thread waits for the person when a run ends.
"""

from __future__ import annotations

import asyncio
import os
import termios
from typing import TextIO


class PersonTerminal:
    """A terminal as a `session.Screen`: reads from the file descriptor `source` and writes to `target`."""

    def __init__(self, source: int, target: TextIO) -> None:
        self._source, self._target = source, target
        self._buffer = b""

    def show(self, text: str) -> None:
        """Show `text` without a line break at its end."""
        self._target.write(text)
        self._target.flush()

    def discard_input(self) -> None:
        """Discard unread input, so that the rest of a pasted text is no reply to the next question."""
        self._buffer = b""
        try:
            termios.tcflush(self._source, termios.TCIFLUSH)
        except termios.error as error:
            raise OSError(*error.args) from None

    async def read_line(self) -> str | None:
        """Return the next line, None at the end of the input; raises OSError if the terminal was closed."""
        while b"\n" not in self._buffer:
            await _wait_readable(self._source)
            data = os.read(self._source, 2**16)
            if not data:
                line, self._buffer = self._buffer, b""
                return line.decode(errors="replace") if line else None
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")


async def _wait_readable(descriptor: int) -> None:
    """Wait until the file descriptor has data to read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
