"""Thought preference optimisation: "Thinking LLMs" (Wu, Lan, Yuan, Jiao, Weston, Sukhbaatar; arXiv 2410.10630).

The learner samples several thoughts with responses and a judge scores the responses only. DPO prefers the best sample
to the worst, thought and response both; then the next round starts on fresh instructions. `response_preference` is the
baseline, the same method without a thought. ("TPO" also names other things, so we do not use it.)

Departures and choices of ours:
1. Length is counted in characters of the response.
2. `length_penalty = "auto"`: the smallest of 0, 0.05, … 0.5 at which chosen responses are on average no longer than
   rejected ones on development problems. The paper tunes it by hand.
3. Learning rate, batch and beta are not published.
4. Unreadable replies become rejected sides first in episodes with a single readable reply, which otherwise teach
   nothing, then in others, where they replace the rejected side. Where all scores tie, none is known to be good.
"""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import ConversationError, Failure
from sparring.common.ranking import with_length_penalty
from sparring.core.chat import LEARNER, Chat, Message
from sparring.core.episode import Candidate, Episode
from sparring.core.experience import Experience, Preference
from sparring.core.method import Answered, Method, Schedule
from sparring.core.objective import DPO
from sparring.core.partner import Judge
from sparring.core.prompt import ask_for_thought
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat
from sparring.parsing.thought import NONE, ThoughtFormat, thought_format

_PENALTIES = tuple(step / 20 for step in range(11))  # the paper's range is 0 to 0.5


class Pair(NamedTuple):
    """The best and the worst candidate of an episode."""

    chosen: Candidate
    rejected: Candidate


@dataclass(frozen=True)
class _Preference(Method):
    """The whole method except the form of a reply."""

    needs: ClassVar[frozenset[Offer]] = frozenset({"question"})
    schedule: ClassVar[Schedule] = Schedule(problems=None, epochs=1, lifetime="round")

    judge: Judge
    samples: Annotated[int, Ge(2)] = 8  # the paper's K
    temperature: Annotated[float, Gt(0)] = 0.8  # the paper's
    top_p: Annotated[float, Interval(gt=0, le=1)] = 0.95  # the paper's
    max_tokens: Annotated[int, Gt(0)] = 1024
    length_penalty: Annotated[float, Interval(ge=0, le=1)] | Literal["auto"] = 0.0
    auto_problems: Annotated[int, Ge(1)] = 64
    unreadable_share: Annotated[float, Interval(ge=0, le=1)] = 0.1  # the paper's: of an iteration's pairs
    beta: Annotated[float, Gt(0)] = 0.1
    nll_weight: Annotated[float, Ge(0)] = 0.0
    answer_tries: Annotated[int, Ge(1)] = 3

    @property
    @abstractmethod
    def form(self) -> ThoughtFormat:
        """Return the form of a reply."""

    @abstractmethod
    def build_prompt(self, question: Chat) -> Chat:
        """Return the prompt that puts `question` to the learner."""

    @property
    def objective(self) -> DPO:
        """DPO over thought and response."""
        return DPO(self.beta, self.nll_weight)

    @property
    def consults(self) -> int:
        """Return how many development problems choose the length penalty."""
        return self.auto_problems if self.length_penalty == "auto" else 0

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Sample `samples` replies to the problem; the judge scores the readable ones."""
        chat = self.build_prompt(problem.chat)
        candidates = await asyncio.gather(*(self._candidate(chat, learner, n) for n in range(self.samples)))
        answers = [c.answer for c in candidates if c.answer is not None]
        failures = [c.failure for c in candidates if c.failure is not None]
        right = [task.is_right(problem, a.text) for a in answers] if problem.gold is not None else []
        notes: dict[str, bool | float | str] = {"readable": len(answers) / self.samples}
        if problem.gold is not None:
            notes["right"] = sum(right) / self.samples
        if len(answers) >= 2:
            scores = await self.judge.score(problem, answers, rng)
            failures += scores.failures
            remaining = iter(scores.values)  # one score per readable candidate
            candidates = [c if c.answer is None else _scored(c, next(remaining)) for c in candidates]
        notes["characters"] = sum(len(a.text) for a in answers) / max(1, len(answers))
        return Episode(problem, chat, tuple(candidates), tuple(failures), notes, failed=not answers)

    async def _candidate(self, chat: Chat, learner: Speaker, sample: int) -> Candidate:
        message = Message(LEARNER, ())  # stays empty if there is no reply
        try:
            reply = await learner.reply(
                chat, Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens), sample
            )
            message = reply.by(LEARNER)
            return Candidate(message, self.form.split(reply.require_complete().text).answer)
        except ConversationError as error:
            return Candidate(message, failure=Failure.of(error, LEARNER))

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Prefer the best to the worst reply of each episode; some rejected sides are unreadable replies."""
        penalty = self.penalty(consulted)
        pairs = [_best_and_worst(episode, penalty) for episode in episodes]
        offers = {n: pair for n, episode in enumerate(episodes) if (pair := _best_and_unreadable(episode, penalty))}
        for n in self._format_errors(list(offers), pairs, rng):
            pairs[n] = offers[n]
        return [
            Preference(episode.problem.id, episode.chat, pair.chosen.message, pair.rejected.message)
            for episode, pair in zip(episodes, pairs, strict=True)
            if pair is not None
        ]

    def _format_errors(self, offers: Sequence[int], pairs: Sequence[Pair | None], rng: random.Random) -> list[int]:
        """Draw the episodes of `offers` (indices) whose unreadable reply becomes the rejected side.

        They are at most `unreadable_share` of all pairs: first episodes without a pair, then episodes whose pair is
        replaced.
        """
        alone = [n for n in offers if pairs[n] is None]
        paired = [n for n in offers if pairs[n] is not None]
        count, share = len(pairs) - pairs.count(None), self.unreadable_share
        # Each added pair also raises the total: added / (count + added) = share.
        added = min(len(alone), _round_down(count * share / (1 - share)) if share < 1 else len(alone))
        replaced = min(len(paired), _round_down((count + added) * share) - added)
        return rng.sample(alone, added) + rng.sample(paired, replaced)

    def penalty(self, consulted: Sequence[Episode]) -> float:
        """Return the length penalty: as set, or chosen on `consulted` episodes (departure 2)."""
        if self.length_penalty != "auto":
            return self.length_penalty
        for penalty in _PENALTIES:
            pairs = [pair for e in consulted if (pair := _best_and_worst(e, penalty))]
            if sum(_length(p.chosen) - _length(p.rejected) for p in pairs) <= 0:
                return penalty
        return _PENALTIES[-1]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return one greedy reply without its thought; sample again if it cannot be read, as in the paper."""
        prompt = self.build_prompt(question)
        for sample in range(self.answer_tries):
            temperature = self.temperature if sample else 0.0
            sampling = Sampling(temperature, self.top_p if sample else 1.0, max_tokens=self.max_tokens)
            try:
                reply = await learner.reply(prompt, sampling, sample)
                response = self.form.split(reply.require_complete().text).answer.text
            except ConversationError as error:
                unreadable = error
                continue
            return Answered(prompt.then(reply.by(LEARNER)), response, (response,))
        raise unreadable


@dataclass(frozen=True)
class ThoughtPreference(_Preference):
    """Learns to think, from a judge that scores responses only."""

    name: ClassVar[str] = "thought_preference"

    thought_format: str = "generic"
    thought_prompt: str | None = None

    def __post_init__(self) -> None:
        thought_format(self.thought_format)

    @property
    def form(self) -> ThoughtFormat:
        """Return the thought format named `thought_format`."""
        return thought_format(self.thought_format)

    def build_prompt(self, question: Chat) -> Chat:
        """Return the question after the thought prompt, which stays in the training input."""
        return ask_for_thought(self.form, question, self.thought_prompt)


@dataclass(frozen=True)
class ResponsePreference(_Preference):
    """The baseline of thought preference: same training, direct answers."""

    name: ClassVar[str] = "response_preference"

    @property
    def form(self) -> ThoughtFormat:
        """Return the form without a thought."""
        return NONE

    def build_prompt(self, question: Chat) -> Chat:
        """Return `question` unchanged."""
        return question


def _round_down(count: float) -> int:
    """Round down, with room for floating-point error: 10 % of 90 may come out below 9."""
    return int(count + 1e-9)


def _scored(candidate: Candidate, score: float | None) -> Candidate:
    return Candidate(candidate.message, candidate.answer, score, candidate.failure)


def _is_unreadable(candidate: Candidate) -> bool:
    """Return whether there is a reply that could not be read."""
    return candidate.failure is not None and bool(candidate.message.parts)


def _length(candidate: Candidate) -> int:
    return len(candidate.answer.text) if candidate.answer else 0


def _ranked(episode: Episode, penalty: float) -> list[Candidate]:
    """Return scored candidates, best first, by score less the length penalty; among equals earlier samples first."""
    scored = [c for c in episode.candidates if c.score is not None]
    if not scored:
        return []
    keys = with_length_penalty([c.score or 0.0 for c in scored], [_length(c) for c in scored], penalty)
    return [scored[index] for index in sorted(range(len(scored)), key=lambda index: -keys[index])]


def _best_and_unreadable(episode: Episode, penalty: float) -> Pair | None:
    """Return the best candidate and the first unreadable one; None unless both exist.

    An only readable candidate is the best one, without a judge. If all scores tie, there is no best one.
    """
    unreadable = [candidate for candidate in episode.candidates if _is_unreadable(candidate)]
    readable = [candidate for candidate in episode.candidates if candidate.answer is not None]
    if not unreadable:
        return None
    if len(readable) == 1:
        return Pair(readable[0], unreadable[0])
    pair = _best_and_worst(episode, penalty)
    return Pair(pair.chosen, unreadable[0]) if pair is not None else None


def _best_and_worst(episode: Episode, penalty: float) -> Pair | None:
    """Return the best and the worst candidate; None if all scores tie or both have the same text.

    Ties are decided before the length penalty; otherwise length alone would make pairs.
    """
    scores = {c.score for c in episode.candidates if c.score is not None}
    if len(scores) < 2 or max(scores) - min(scores) < 1e-9:  # rounding of Bradley-Terry strengths
        return None
    ranked = _ranked(episode, penalty)
    pair = Pair(ranked[0], ranked[-1])
    if pair.chosen.score == pair.rejected.score or pair.chosen.message.full_text == pair.rejected.message.full_text:
        return None
    return pair
