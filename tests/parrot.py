"""A speaker without a server, and how the tests of the ledger ask one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from sparring.common.errors import Unavailable
from sparring.core import attempts
from sparring.core.attempts import Serving
from sparring.core.chat import question
from sparring.core.speaker import Sampling, Speaker, text_reply

PLAIN = Sampling()


@dataclass(frozen=True)
class Parrot:
    """A speaker that reports nothing itself: each call says how many there were."""

    calls: list[str] = field(default_factory=list)
    seconds: float = 0.0
    failures: int = 0
    reply_tokens: int = 0

    def request(self, chat, sampling, sample=0):
        return {"model": "parrot", "messages": attempts.as_messages(chat, "partner"), "sample": sample}

    async def reply(self, chat, sampling, sample=0):
        self.calls.append(chat.text)
        number = len(self.calls)
        await asyncio.sleep(self.seconds)
        if number <= self.failures:
            raise Unavailable("asleep")
        return replace(
            text_reply(f"{chat.text} {number}", "partner"), prompt_tokens=7, completion_tokens=self.reply_tokens
        )


@dataclass(frozen=True)
class Served:
    """`speaker`, asked in a round of a phase."""

    speaker: Speaker
    phase: str
    round: int
    problem: str = ""

    async def reply(self, chat, sampling, sample=0):
        attempts.serving.set(Serving(self.phase, self.round, self.problem))
        return await self.speaker.reply(chat, sampling, sample)


def ask(speaker, *texts, sample=0):
    """The replies' texts, asked one after the other."""

    async def main():
        return [(await speaker.reply(question(text), PLAIN, sample)).text for text in texts]

    return asyncio.run(main())
