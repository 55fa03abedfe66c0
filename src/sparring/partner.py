"""What the other side can be asked for: a remark, feedback, an improvement, a score.

Four protocols of one method each. A method names the roles it needs as fields of these types; a recipe fills each,
by a program or by a speaker. `draw` is the call's own random stream, for partners that draw. A partner that gives
nothing usable raises a ConversationError; a judge reports it answer by answer, since one unreadable verdict must
neither become a number nor spoil the others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, Protocol, TypeVar, runtime_checkable

from sparring.chat import USER, Chat, question
from sparring.errors import ConfigError, ConversationError, CutOff, Failure, Unreadable
from sparring.ranking import bradley_terry
from sparring.speaker import PARTNER, Sampling, Speaker
from sparring.steps import Fault
from sparring.task import Problem
from sparring.template import fill
from sparring.thought import Answer

Stance = Literal["supportive", "adversarial"]
Verdict = Literal["first", "second", "tie"]

Read = TypeVar("Read")

DISCUSSANT = "discussant"
CRITIC = "critic"
EDITOR = "editor"
JUDGE = "judge"


@runtime_checkable
class Discussant(Protocol):
    """Remarks on the learner's newest words."""

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, draw: random.Random) -> str:
        """A remark that supports or attacks the last message of `chat`."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Finds the first fault of an attempt."""

    async def feedback(self, problem: Problem, attempt: str, draw: random.Random) -> Fault | None:
        """The first wrong step of `attempt`, None where all of it is right."""
        ...


@runtime_checkable
class Editor(Protocol):
    """Mends an attempt."""

    async def improve(self, problem: Problem, attempt: str, fault: Fault, draw: random.Random) -> str:
        """A new attempt that keeps the steps before `fault`, verbatim, and goes on rightly from there."""
        ...


@dataclass(frozen=True)
class Scores:
    """One number for each answer, higher is better, None where the judge gave none; and why it did not."""

    values: tuple[float | None, ...]
    failures: tuple[Failure, ...] = ()


@runtime_checkable
class Judge(Protocol):
    """Scores answers. It is handed `Answer`s, so it cannot see a thought."""

    async def score(self, problem: Problem, answers: Sequence[Answer], draw: random.Random) -> Scores:
        """A score for each of `answers` to `problem`."""
        ...


async def by_pairs(
    compare: Callable[[Answer, Answer], Awaitable[Verdict]], answers: Sequence[Answer], prior: float = 0.5
) -> Scores:
    """Scores from verdicts on all pairs in both orders ("Thinking LLMs", section 2.3): a win counts 1, a tie or an
    error 0, then Bradley-Terry. A judge that always says "first" so prefers nothing."""
    order = list(permutations(range(len(answers)), 2))
    verdicts = await asyncio.gather(
        *(compare(answers[first], answers[second]) for first, second in order), return_exceptions=True
    )
    wins = [[0.0] * len(answers) for _ in answers]
    failures = []
    for (first, second), verdict in zip(order, verdicts, strict=True):
        if isinstance(verdict, ConversationError):
            failures.append(Failure.of(verdict, JUDGE))
        elif isinstance(verdict, BaseException):
            raise verdict
        elif verdict != "tie":
            winner, loser = (first, second) if verdict == "first" else (second, first)
            wins[winner][loser] += 1
    if order and len(failures) == len(order):
        return Scores((None,) * len(answers), tuple(failures))
    return Scores(tuple(bradley_terry(wins, prior)), tuple(failures))


async def ask(
    speaker: Speaker, prompt: str, read: Callable[[str], Read], sampling: Sampling, system: str | None = None
) -> Read:
    """What `read` makes of `speaker`'s reply to `prompt`. A reply that `read` finds Unreadable, or that was cut at its
    limit, is asked for once more, with the reason; then it is a failure."""
    chat = question(prompt, system)
    reply = await speaker.reply(chat, sampling)
    try:
        return read(reply.whole().text)
    except (Unreadable, CutOff) as error:
        again = chat.say(PARTNER, reply.text).say(USER, fill(AGAIN, reason=str(error)))
        return read((await speaker.reply(again, sampling)).whole().text)


AGAIN = "That could not be read: {reason}. Please reply once more, in exactly the form asked for."


@dataclass(frozen=True)
class Nobody:
    """Stands in every role of a learner that is only used, not trained."""

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, draw: random.Random) -> str:
        """Raises ConfigError."""
        raise self._absent(DISCUSSANT)

    async def feedback(self, problem: Problem, attempt: str, draw: random.Random) -> Fault | None:
        """Raises ConfigError."""
        raise self._absent(CRITIC)

    async def improve(self, problem: Problem, attempt: str, fault: Fault, draw: random.Random) -> str:
        """Raises ConfigError."""
        raise self._absent(EDITOR)

    async def score(self, problem: Problem, answers: Sequence[Answer], draw: random.Random) -> Scores:
        """Raises ConfigError."""
        raise self._absent(JUDGE)

    def _absent(self, role: str) -> ConfigError:
        return ConfigError(f"nobody is the {role} here: this learner is only used; name a partner to train it")
