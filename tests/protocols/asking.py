"""Shared by the tests of protocols: a participant that is scripted, and one problem measured."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from sparring.core.chat import Chat, question
from sparring.core.protocol import Answers, EvaluationProtocol, Measured, Participant, SingleReply
from sparring.core.task import Problem, Task
from sparring.parsing.steps import LINES
from sparring.speakers.scripted import Scripted
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

TASK = MultistepArithmetic(train=20, development=5, test=5)
SUM = Problem("sum", question("((3+7)+5)="), gold="15", rationale="3+7=10\n10+5=15\n15")
OPEN = Problem("poem", question("Write a line about rain."))


def participant(*replies: str, answers: Answers | None = None, name: str = "learner") -> Participant:
    """Return a learner that gives `replies` in turn."""
    return Participant(name, Scripted(replies, loop=False), answers or SingleReply(), LINES)


def measure(
    protocol: EvaluationProtocol, *learners: Participant, problem: Problem = SUM, task: Task = TASK
) -> Measured:
    """Measure `learners` on `problem`."""
    return asyncio.run(protocol.measure(problem, task, learners, random.Random(0)))


def heard(learner: Participant) -> list[str]:
    """Return the text of every prompt that a scripted learner got."""
    return [chat.text for chat in learner.speaker.heard]  # type: ignore[attr-defined]


def texts(chats: Sequence[Chat]) -> list[list[tuple[str, str]]]:
    """Return chats as lists of author and full text."""
    return [[(message.author, message.full_text) for message in chat.messages] for chat in chats]
