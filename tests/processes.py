"""Processes that tests start, on a machine that may have none to spare for a moment.

Such a start is tried again, and where there is still no room the test is skipped and says so: it has found out nothing
about what it tests. `conftest` has every process that a test starts begin this way.
"""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

PAUSES = (0.5, 2.0, 5.0, 15.0)  # seconds
_NUMBERS = (errno.EAGAIN, errno.ENOMEM)
_WORDS = ("Resource temporarily unavailable", "Cannot allocate memory", "can't start new thread", "Cannot fork")
Made = TypeVar("Made")


class NoRoom(Exception):
    """The machine had no process to spare."""


def spare(start: Callable[[], Made], pauses: Sequence[float] = PAUSES) -> Made:
    """What `start` gives; tried again after each of `pauses` where the machine has no room for it."""
    for pause in (*pauses, None):
        try:
            return start()
        except (OSError, NoRoom) as error:
            if isinstance(error, OSError) and error.errno not in _NUMBERS:
                raise
            if pause is None:
                pytest.skip(f"this machine has no process to spare: {error}")
            time.sleep(pause)
    raise AssertionError("unreachable")


def finished(command: Sequence[Any], pauses: Sequence[float] = PAUSES, **how: Any) -> subprocess.CompletedProcess[str]:
    """`command`, run to a good end; it is tried again where it, or what it starts itself, found no room."""

    def once() -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
        output = done.stdout + done.stderr
        if done.returncode and any(words in output for words in _WORDS):
            raise NoRoom(output[-300:])
        assert done.returncode == 0, output
        return done

    return spare(once, pauses)
