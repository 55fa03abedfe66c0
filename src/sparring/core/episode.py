"""The record of one problem in one round: its chat, the candidate replies with their scores, the failures.

The run writes episodes to a file when their round ends. A method computes everything it learns from these records, so
a run can stop between rounds and resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparring.common.errors import Failure
from sparring.core.chat import Chat, Message
from sparring.core.task import Problem
from sparring.parsing.thought import Answer


@dataclass(frozen=True)
class Candidate:
    """One of several replies to the same question.

    If the reply cannot be read, `answer` is None and `failure` says why. `score` is None if the judge gave none.
    """

    message: Message
    answer: Answer | None = None
    score: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Episode:
    """One problem's conversation.

    `notes` are values that the method needs later; numbers and booleans are also averaged over the round. `failures`
    lists the conversation errors. Nothing is learned from `failed` episodes. `asked`: whether a partner was asked that
    may fail (`attempts.Asked`).
    """

    problem: Problem
    chat: Chat
    candidates: tuple[Candidate, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: Mapping[str, bool | float | str] = field(default_factory=dict)
    failed: bool = False
    asked: bool = False
