"""What the other side can be asked for: a remark, feedback, an improvement, a score.

Four protocols of one method each. A method names the roles it needs as fields of these types; a recipe fills each,
by a program or by a speaker. `rng` is the call's own random stream, for partners that need one. A partner that gives
nothing usable raises a ConversationError; a judge reports it answer by answer, since one unreadable verdict must
neither become a number nor spoil the others.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Protocol, TypeVar, runtime_checkable

from sparring.common.errors import ConfigError, ConversationError, CutOff, Failure, Unreadable
from sparring.common.ranking import bradley_terry, swiss_pairs, swiss_rounds
from sparring.core.chat import LEARNER, USER, Chat, question
from sparring.core.prompt import fill
from sparring.core.speaker import PARTNER, Sampling, Speaker
from sparring.core.task import Problem
from sparring.parsing.steps import Fault
from sparring.parsing.thought import Answer

Stance = Literal["supportive", "adversarial"]
Verdict = Literal["first", "second", "tie"]
Compare = Callable[[Answer, Answer], Awaitable[Verdict]]

Read = TypeVar("Read")

DISCUSSANT = "discussant"
CRITIC = "critic"
EDITOR = "editor"
JUDGE = "judge"


@runtime_checkable
class Discussant(Protocol):
    """Remarks on the learner's newest words."""

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """A remark that supports or attacks the last message of `chat`."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Finds the first fault of an attempt."""

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """The first wrong step of `attempt`, None where all of it is right."""
        ...


@runtime_checkable
class Editor(Protocol):
    """Mends an attempt."""

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
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

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """A score for each of `answers` to `problem`."""
        ...


_NUMBER = re.compile(r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:e[+-]?[0-9]++)?", re.IGNORECASE)


def read_score(text: str) -> float:
    """The finite number that `text` is, in plain digits; Unreadable for what only Python reads (`1_0`, `٣`, `nan`)."""
    if not _NUMBER.fullmatch(text):
        raise Unreadable(f"{text[:60]!r} is not a number")
    if not math.isfinite(found := float(text)):
        raise Unreadable(f"{text[:60]!r} is not finite")
    return found


async def one_by_one(score: Callable[[Answer], Awaitable[float]], answers: Sequence[Answer]) -> Scores:
    """What `score` makes of each answer by itself; equal answers are asked about once."""
    distinct = list(dict.fromkeys(answers))
    given = dict(zip(distinct, await asyncio.gather(*map(score, distinct), return_exceptions=True), strict=True))
    failures = _failures(given.values())
    values = (found if isinstance(found := given[answer], float) else None for answer in answers)
    return Scores(tuple(values), failures)


async def by_pairs(compare: Compare, answers: Sequence[Answer], prior: float = 0.5) -> Scores:
    """Scores from verdicts on all pairs in both orders ("Thinking LLMs", section 2.3): a win counts 1, a tie or an
    error 0, then Bradley-Terry. A judge that always says "first" so prefers nothing."""
    games = _Games(compare, answers)
    await games.play(list(combinations(range(len(answers)), 2)))
    return games.scores(prior)


async def by_swiss(
    compare: Compare, answers: Sequence[Answer], rng: random.Random, rounds: int | None = None, prior: float = 0.5
) -> Scores:
    """The same with fewer calls: a Swiss tournament of so many rounds (`ranking.swiss_rounds` unless given), in each of
    which answers meet that stand alike so far, no two of them twice. Who stands alike is put in order by lot."""
    games = _Games(compare, answers)
    lot = rng.sample(range(len(answers)), len(answers))
    for _ in range(swiss_rounds(len(answers)) if rounds is None else rounds):
        standing = sorted(lot, key=games.share, reverse=True)
        await games.play(swiss_pairs(standing, games.met))
    return games.scores(prior)


class _Games:
    """Answers that met, each pair in both orders, and who won."""

    def __init__(self, compare: Compare, answers: Sequence[Answer]) -> None:
        self._compare, self._answers = compare, answers
        self._wins = [[0.0] * len(answers) for _ in answers]
        self._failures: list[Failure] = []
        self.met: set[frozenset[int]] = set()

    async def play(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Asks about each of `pairs` in both orders, all at once."""
        self.met |= {frozenset(pair) for pair in pairs}
        order = sorted(game for first, second in pairs for game in ((first, second), (second, first)))
        verdicts = await asyncio.gather(
            *(self._compare(self._answers[first], self._answers[second]) for first, second in order),
            return_exceptions=True,
        )
        self._failures += _failures(verdicts)
        for (first, second), verdict in zip(order, verdicts, strict=True):
            if verdict in ("first", "second"):
                winner, loser = (first, second) if verdict == "first" else (second, first)
                self._wins[winner][loser] += 1

    def share(self, player: int) -> float:
        """The share of its games that an answer has won; a half where it had none."""
        games = 2 * sum(player in pair for pair in self.met)
        return sum(self._wins[player]) / games if games else 0.5

    def scores(self, prior: float) -> Scores:
        """Bradley-Terry strengths; none where every verdict failed."""
        if self.met and len(self._failures) == 2 * len(self.met):
            return Scores((None,) * len(self._answers), tuple(self._failures))
        return Scores(tuple(bradley_terry(self._wins, prior)), tuple(self._failures))


def _failures(found: Collection[object]) -> tuple[Failure, ...]:
    """The conversations among `found` that failed; any other exception is raised."""
    for outcome in found:
        if isinstance(outcome, BaseException) and not isinstance(outcome, ConversationError):
            raise outcome
    return tuple(Failure.of(error, JUDGE) for error in found if isinstance(error, ConversationError))


async def ask(
    speaker: Speaker, prompt: str, read: Callable[[str], Read], sampling: Sampling, system: str | None = None
) -> Read:
    """What `read` makes of `speaker`'s reply to `prompt`. A reply that `read` finds Unreadable, or that was cut at its
    limit, is asked for once more, with the reason; then it is a failure."""
    chat = question(prompt, system)
    reply = await speaker.reply(chat, sampling)
    try:
        return read(reply.require_complete().text)
    except (Unreadable, CutOff) as error:
        again = chat.say(PARTNER, reply.text).say(USER, fill(RETRY_PROMPT, reason=str(error)))
        return read((await speaker.reply(again, sampling)).require_complete().text)


RETRY_PROMPT = "That reply cannot be used: {reason}. Please reply once more, in exactly the form asked for."


def conversation(chat: Chat, learner: str) -> str:
    """`chat` in the words of a prompt: one message as it is, several each after its author in brackets. The learner is
    called `learner` there, and no thought of a learner is in it."""
    if len(chat.messages) == 1:
        return chat.text
    said = ((learner if turn.author == LEARNER else turn.author, turn.text) for turn in chat.messages)
    return "\n\n".join(f"[{author}] {words}" for author, words in said)


@dataclass(frozen=True)
class Nobody:
    """Stands in every role of a learner that is only used, not trained."""

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Raises ConfigError."""
        raise self._absent(DISCUSSANT)

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Raises ConfigError."""
        raise self._absent(CRITIC)

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Raises ConfigError."""
        raise self._absent(EDITOR)

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Raises ConfigError."""
        raise self._absent(JUDGE)

    def _absent(self, role: str) -> ConfigError:
        return ConfigError(f"nobody is the {role} here: this learner is only used; name a partner to train it")
