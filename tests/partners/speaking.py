"""Shared by the tests of partners that ask a speaker: a problem, an attempt, and random replies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from sparring.common.errors import Unreadable
from sparring.core.chat import LEARNER, Chat, Message, Part, question
from sparring.core.task import Problem
from sparring.parsing.steps import Fault
from sparring.parsing.thought import NONE, Answer
from sparring.speakers.scripted import Scripted
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

TASK = MultistepArithmetic(train=20, development=5, test=5)
PROBLEM = Problem("sum", question("((3+7)+5)="), gold="15", rationale="3+7=10\n10+5=15\n15")
ATTEMPT = "3+7=10\n10+5=16\n16"
FAULT = Fault("2", "10+5=16", "ten and five are fifteen")
ALL_RIGHT = "All steps are correct."
FOUND = 'In step (2) the part "10+5=16" is incorrect. This is because ten and five are fifteen.'
CANARY = "my secret thought"


def run(work):
    return asyncio.run(work)


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, which waits for nobody: a loop for each reply would take most of the time."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def answers(*texts: str) -> list[Answer]:
    return [NONE.split(text).answer for text in texts]


def thinking(text: str = ATTEMPT) -> Chat:
    """Return the problem's chat with an answer that has a thought."""
    parts = (Part(CANARY, LEARNER, thought=True), Part(text, LEARNER))
    return PROBLEM.chat.then(Message(LEARNER, parts))


def prompts(speaker: Scripted) -> list[str]:
    return [chat.text for chat in speaker.heard]


BITS = [
    "Score:", "score", "[[A]]", "[[B]]", "[[C]]", "[[", "]]", "A", "B", "In step (", "1", "2", "(2)", ")", 'the part "',
    '" is incorrect.', "This is because", "10+5=16", "16", "All steps are correct.",
    "The final response is also correct.",
    "Final response", "\n", "\n\n", " ", "ok", "-", ".", "1e999", "nan", "inf", "٣", "²", "\x00", "\u2028", "<think>",
    "{gold}", "\\1", "(", "'", '"', "7", "10", "11", "3+7=10", "10+5=15",
]  # fmt: skip


def babble(count: int):
    """Return random replies of words that parsers look for and of other characters."""
    rng = random.Random(0)
    for _ in range(count):
        bits = rng.choices(BITS, k=rng.randrange(0, 9))
        if rng.random() < 0.2:
            bits.append("".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x2FFF)))) for _ in range(9)))
        yield rng.choice(("", " ")).join(bits)


COUNT = 10_000


def outcomes(attempt, replies=None) -> tuple[int, int]:
    """Return the numbers of parsed replies and of typed failures; any other error is raised."""

    async def all_() -> tuple[int, int]:
        read = failed = 0
        for reply in babble(COUNT) if replies is None else replies:
            try:
                await attempt(Scripted((reply,)), reply)
                read += 1
            except Unreadable:
                failed += 1
        return read, failed

    return run(all_())
