"""A person at the terminal as a speaker.

There is one person and one question at a time; other conversations wait in a queue, whatever their roles. `session`
has the queue, `terminal` reads and writes. If the person leaves, the run stops. Replies sent before are on the ledger,
and a resumed run asks only for the rest.

A line is at most as long as the terminal's line buffer (4,095 bytes on Linux).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from sparring.common.errors import ConfigError, Skipped
from sparring.common.terminal import visible
from sparring.core.attempts import as_messages
from sparring.core.chat import Chat
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply
from sparring.speakers.human.session import Session
from sparring.speakers.human.terminal import PersonTerminal


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


_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, Session] = WeakKeyDictionary()


def _open_terminal() -> PersonTerminal:
    try:
        source = sys.stdin.fileno()
        # not standard output, which may be a file; it stays open as long as the session
        target = open(os.ttyname(source), "w", encoding="utf-8")  # noqa: SIM115
    except (AttributeError, OSError, ValueError):
        raise ConfigError(
            'by = "human" needs a terminal, and standard input is not one; start the run in a terminal, or choose '
            "another speaker for the role"
        ) from None
    return PersonTerminal(source, target)


def _format_chat(chat: Chat) -> str:
    """Return `chat` as the person reads it, with control characters escaped."""
    headings = {"assistant": "(you wrote)\n", "system": "(how to reply)\n"}
    turns = (headings.get(turn["role"], "") + turn["content"].strip() for turn in as_messages(chat, PARTNER))
    return visible("\n\n".join(turns))
