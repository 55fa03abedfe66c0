"""What happened on one problem: its chat, the candidates for a reply, the verdicts, the failures.

An episode is a record. It is written to a file as soon as its round is over, and everything a method learns from a
round is computed from such records, so a run can be stopped in between and gone on with.
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
    """One of several replies to the same question. `answer` is None and `failure` says why where its parts could not
    be told apart; `score` is None where the judge gave none."""

    message: Message
    answer: Answer | None = None
    score: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Episode:
    """One problem's conversation.

    `notes` are what a method wants to remember or to have averaged over the round (numbers and truth values are);
    `failures` are what went wrong; `failed` episodes teach nothing.
    """

    problem: Problem
    chat: Chat
    candidates: tuple[Candidate, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: Mapping[str, bool | float | str] = field(default_factory=dict)
    failed: bool = False
