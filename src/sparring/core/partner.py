"""The roles of a partner: discussant (remark), critic (feedback), editor (improvement), judge (score), author.

Each role is a protocol of one method. A training method declares the roles it needs as fields of these types; a recipe
fills each with a program or a speaker. `rng` is the call's own random stream. A partner without a usable reply raises
ConversationError. A judge reports failures per answer instead: one unreadable verdict must neither become a number nor
affect the other scores.
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
Verdict = Literal["first", "second", "tie", "first by far", "second by far"]
Compare = Callable[[Answer, Answer], Awaitable[Verdict]]

Read = TypeVar("Read")

DISCUSSANT = "discussant"
CRITIC = "critic"
EDITOR = "editor"
JUDGE = "judge"
AUTHOR = "author"


@runtime_checkable
class Discussant(Protocol):
    """Remarks on the learner's last message."""

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return a remark that supports or attacks the last message of `chat`."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Finds the first fault of an attempt."""

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return the first wrong step of `attempt`; None if all steps are right."""
        ...


@runtime_checkable
class Editor(Protocol):
    """Corrects an attempt."""

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return a new attempt: the steps before `fault`, verbatim, and a right continuation."""
        ...


@runtime_checkable
class Author(Protocol):
    """Writes attempts in the learner's place."""

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Return an attempt at `problem`, right or wrong, in the layout of the task."""
        ...


@dataclass(frozen=True)
class Scores:
    """One score per answer (higher is better; None if the judge gave none), and the failures."""

    values: tuple[float | None, ...]
    failures: tuple[Failure, ...] = ()


@runtime_checkable
class Judge(Protocol):
    """Scores answers. It receives `Answer`s, which hold no thoughts."""

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return a score for each of `answers` to `problem`."""
        ...


@runtime_checkable
class Compares(Protocol):
    """A judge that can compare two answers in the order given; in the `mode` "pairwise" it does so to score them."""

    @property
    def mode(self) -> str:
        """Either "pointwise" or "pairwise"."""
        ...

    async def compare(self, problem: Problem, first: Answer, second: Answer, rng: random.Random) -> Verdict:
        """Return which of two answers to `problem` is better."""
        ...


def preferred(verdict: Verdict) -> str:
    """Return "first", "second" or "tie", by far or not."""
    return verdict.removesuffix(" by far")


_NUMBER = re.compile(r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:e[+-]?[0-9]++)?", re.IGNORECASE)


def read_score(text: str) -> float:
    """Read `text` as a finite number in ASCII digits; Unreadable otherwise, also for `1_0`, `٣` and `nan`."""
    if not _NUMBER.fullmatch(text):
        raise Unreadable(f"{text[:60]!r} is not a number")
    if not math.isfinite(score := float(text)):
        raise Unreadable(f"{text[:60]!r} is not finite")
    return score


async def one_by_one(score: Callable[[Answer], Awaitable[float]], answers: Sequence[Answer]) -> Scores:
    """Score each answer separately; equal answers share one call."""
    distinct = list(dict.fromkeys(answers))
    results = await asyncio.gather(*map(score, distinct), return_exceptions=True)
    failures = _failures(results)
    by_answer = dict(zip(distinct, results, strict=True))
    values = (result if isinstance(result := by_answer[answer], float) else None for answer in answers)
    return Scores(tuple(values), failures)


async def distinct_once(score: Callable[[Sequence[Answer]], Awaitable[Scores]], answers: Sequence[Answer]) -> Scores:
    """Score the different ones of `answers` together; equal answers share a score."""
    distinct = list(dict.fromkeys(answers))
    scores = await score(distinct)
    by_answer = dict(zip(distinct, scores.values, strict=True))
    return Scores(tuple(by_answer[answer] for answer in answers), scores.failures)


async def by_pairs(compare: Compare, answers: Sequence[Answer], prior: float = 0.5) -> Scores:
    """Score by Bradley-Terry from verdicts on all pairs in both orders ("Thinking LLMs", section 2.3).

    A win counts 1, a tie or an error 0. So a judge that always says "first" prefers nothing.
    """
    games = _Games(compare, answers)
    await games.play(list(combinations(range(len(answers)), 2)))
    return games.scores(prior)


async def by_swiss(
    compare: Compare, answers: Sequence[Answer], rng: random.Random, rounds: int | None = None, prior: float = 0.5
) -> Scores:
    """Score by Bradley-Terry from a Swiss tournament, which needs fewer calls than all pairs.

    In each of `rounds` (default: `ranking.swiss_rounds`) answers with similar results meet; no pair meets twice.
    Answers with equal results are in random order.
    """
    games = _Games(compare, answers)
    shuffled = rng.sample(range(len(answers)), len(answers))
    for _ in range(swiss_rounds(len(answers)) if rounds is None else rounds):
        standing = sorted(shuffled, key=games.share, reverse=True)  # stable: equals stay shuffled
        await games.play(swiss_pairs(standing, games.met))
    return games.scores(prior)


class _Games:
    """The results of comparisons, each pair in both orders."""

    def __init__(self, compare: Compare, answers: Sequence[Answer]) -> None:
        self._compare, self._answers = compare, answers
        self._wins = [[0.0] * len(answers) for _ in answers]
        self._failures: list[Failure] = []
        self.met: set[frozenset[int]] = set()

    async def play(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Compare each of `pairs` (indices of answers) in both orders, concurrently."""
        self.met |= {frozenset(pair) for pair in pairs}
        order = sorted(game for first, second in pairs for game in ((first, second), (second, first)))
        verdicts = await asyncio.gather(
            *(self._compare(self._answers[first], self._answers[second]) for first, second in order),
            return_exceptions=True,
        )
        self._failures += _failures(verdicts)
        for (first, second), verdict in zip(order, verdicts, strict=True):
            if isinstance(verdict, str) and (side := preferred(verdict)) != "tie":
                winner, loser = (first, second) if side == "first" else (second, first)
                self._wins[winner][loser] += 1

    def share(self, player: int) -> float:
        """Return the share of games that answer `player` has won; 0.5 without games."""
        games = 2 * sum(player in pair for pair in self.met)
        return sum(self._wins[player]) / games if games else 0.5

    def scores(self, prior: float) -> Scores:
        """Return Bradley-Terry strengths; no scores if every verdict failed."""
        if self.met and len(self._failures) == 2 * len(self.met):
            return Scores((None,) * len(self._answers), tuple(self._failures))
        return Scores(tuple(bradley_terry(self._wins, prior)), tuple(self._failures))


def _failures(results: Collection[object]) -> tuple[Failure, ...]:
    """Return the conversation errors among `results` as failures of the judge; raise any other exception."""
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ConversationError):
            raise result
    return tuple(Failure.of(error, JUDGE) for error in results if isinstance(error, ConversationError))


async def ask(
    speaker: Speaker,
    prompt: str,
    read: Callable[[str], Read],
    sampling: Sampling,
    system: str | None = None,
    *,
    sample: int = 0,
) -> Read:
    """Send `prompt` to `speaker` and return its reply number `sample` parsed by `read`.

    If the reply is Unreadable or CutOff, ask once more and give the reason; a second such reply raises.
    """
    chat = question(prompt, system)
    reply = await speaker.reply(chat, sampling, sample)
    try:
        return read(reply.require_complete().text)
    except (Unreadable, CutOff) as error:
        retry = chat.say(PARTNER, reply.text).say(USER, fill(RETRY_PROMPT, reason=str(error)))
        return read((await speaker.reply(retry, sampling, sample)).require_complete().text)


RETRY_PROMPT = "That reply cannot be used: {reason}. Please reply once more, in exactly the form asked for."


def conversation(chat: Chat, learner: str) -> str:
    """Format `chat` for a prompt: a single message as it is, several messages each after its author in brackets.

    `learner` is the name given to the learner. Thoughts are left out.
    """
    if len(chat.messages) == 1:
        return chat.text
    named = ((learner if message.author == LEARNER else message.author, message.text) for message in chat.messages)
    return "\n\n".join(f"[{author}] {text}" for author, text in named)


@dataclass(frozen=True)
class Nobody:
    """Fills every role of a learner that is used and not trained."""

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

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Raises ConfigError."""
        raise self._absent(AUTHOR)

    def _absent(self, role: str) -> ConfigError:
        return ConfigError(f"this learner has no {role}, since it was loaded for use only; name a partner to train it")
