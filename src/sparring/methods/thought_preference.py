"""Thought preference optimisation: "Thinking LLMs" (Wu, Lan, Yuan, Jiao, Weston, Sukhbaatar; arXiv 2410.10630).

Several thoughts + responses are sampled; a judge scores the responses only; the best is preferred to the worst, thought
and response both; DPO; and again, on fresh instructions. `response_preference` is its baseline, the same method without
a thought. ("TPO" also names other things, so we do not use it.)

Departures and choices of ours:
1. Length is counted in characters of the response.
2. `length_penalty = "auto"`: the smallest of 0, 0.05, … 0.5 with which chosen responses are on average no longer than
   rejected ones, chosen on development problems (the paper tunes it by hand).
3. Learning rate, batch and beta are not published.
4. Which unreadable replies are rejected sides: those of episodes that would teach nothing otherwise, then those of
   others, whose rejected side they replace.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import ConversationError, Failure
from sparring.common.ranking import with_length_penalty
from sparring.core.chat import LEARNER, Chat, Message
from sparring.core.episode import Candidate, Episode
from sparring.core.experience import Experience, Preference
from sparring.core.method import Answered, Schedule
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
class _Preference(ABC):
    """All of the method but the form of a reply."""

    needs: ClassVar[frozenset[Offer]] = frozenset()
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
        """The form of a reply."""

    @abstractmethod
    def asked(self, question: Chat) -> Chat:
        """`question` as it is put to the learner."""

    @property
    def objective(self) -> DPO:
        """DPO over thought and response."""
        return DPO(self.beta, self.nll_weight)

    @property
    def consults(self) -> int:
        """Development problems to choose the length penalty by."""
        return self.auto_problems if self.length_penalty == "auto" else 0

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Several replies to the problem, those that can be read scored by the judge."""
        chat = self.asked(problem.chat)
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
            found = iter(scores.values)
            candidates = [c if c.answer is None else _scored(c, next(found)) for c in candidates]
        notes["characters"] = sum(len(a.text) for a in answers) / max(1, len(answers))
        return Episode(problem, chat, tuple(candidates), tuple(failures), notes, failed=not answers)

    async def _candidate(self, chat: Chat, learner: Speaker, sample: int) -> Candidate:
        said = Message(LEARNER, ())
        try:
            reply = await learner.reply(
                chat, Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens), sample
            )
            said = reply.by(LEARNER)
            return Candidate(said, self.form.split(reply.require_complete().text).answer)
        except ConversationError as error:
            return Candidate(said, failure=Failure.of(error, LEARNER))

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """The best against the worst of each episode; a bounded share of unreadable replies as rejected sides."""
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
        """Which episodes of `offers` have their unreadable reply as the rejected side, up to `unreadable_share` of all
        pairs: those that would teach nothing otherwise, then those whose pair it replaces."""
        alone = [n for n in offers if pairs[n] is None]
        paired = [n for n in offers if pairs[n] is not None]
        count, share = len(pairs) - pairs.count(None), self.unreadable_share
        added = min(len(alone), _whole(count * share / (1 - share)) if share < 1 else len(alone))
        replaced = min(len(paired), _whole((count + added) * share) - added)
        return rng.sample(alone, added) + rng.sample(paired, replaced)

    def penalty(self, consulted: Sequence[Episode]) -> float:
        """The length penalty: as given, or chosen on `consulted` episodes (departure 2)."""
        if self.length_penalty != "auto":
            return self.length_penalty
        for penalty in _PENALTIES:
            pairs = [pair for e in consulted if (pair := _best_and_worst(e, penalty))]
            if sum(_length(p.chosen) - _length(p.rejected) for p in pairs) <= 0:
                return penalty
        return _PENALTIES[-1]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """One greedy reply, its thought taken off; one that cannot be read is sampled again, as in the paper."""
        asked = self.asked(question)
        for sample in range(self.answer_tries):
            temperature = self.temperature if sample else 0.0
            sampling = Sampling(temperature, self.top_p if sample else 1.0, max_tokens=self.max_tokens)
            try:
                reply = await learner.reply(asked, sampling, sample)
                response = self.form.split(reply.require_complete().text).answer.text
            except ConversationError as error:
                unreadable = error
                continue
            return Answered(asked.then(reply.by(LEARNER)), response, (response,))
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
        """The thought format by its name."""
        return thought_format(self.thought_format)

    def asked(self, question: Chat) -> Chat:
        """The question after the thought prompt, which stays in the training input."""
        return ask_for_thought(self.form, question, self.thought_prompt)


@dataclass(frozen=True)
class ResponsePreference(_Preference):
    """The baseline of thought preference: trained in exactly the same way, answering directly."""

    name: ClassVar[str] = "response_preference"

    @property
    def form(self) -> ThoughtFormat:
        """No thought."""
        return NONE

    def asked(self, question: Chat) -> Chat:
        """The question itself."""
        return question


def _whole(share: float) -> int:
    """`share` rounded down, but for what floats make of 10 % of 90."""
    return int(share + 1e-9)


def _scored(candidate: Candidate, score: float | None) -> Candidate:
    return Candidate(candidate.message, candidate.answer, score, candidate.failure)


def _unreadable(candidate: Candidate) -> bool:
    """Whether something was said, and could not be read."""
    return candidate.failure is not None and bool(candidate.message.parts)


def _length(candidate: Candidate) -> int:
    return len(candidate.answer.text) if candidate.answer else 0


def _ranked(episode: Episode, penalty: float) -> list[Candidate]:
    """Scored candidates, best first, by score less the length penalty; earlier samples first among equals."""
    scored = [c for c in episode.candidates if c.score is not None]
    if not scored:
        return []
    keys = with_length_penalty([c.score or 0.0 for c in scored], [_length(c) for c in scored], penalty)
    return [scored[place] for place in sorted(range(len(scored)), key=lambda place: -keys[place])]


def _best_and_unreadable(episode: Episode, penalty: float) -> Pair | None:
    """The best candidate and the first that could not be read; None where there is no such two."""
    unreadable = [candidate for candidate in episode.candidates if _unreadable(candidate)]
    ranked = _ranked(episode, penalty)
    return Pair(ranked[0], unreadable[0]) if ranked and unreadable else None


def _best_and_worst(episode: Episode, penalty: float) -> Pair | None:
    """None where all scores tie (told before the penalty, or pairs would be made by length alone), or where the two
    are the same words."""
    scores = {c.score for c in episode.candidates if c.score is not None}
    if len(scores) < 2 or max(scores) - min(scores) < 1e-9:  # rounding of Bradley-Terry strengths
        return None
    ranked = _ranked(episode, penalty)
    pair = Pair(ranked[0], ranked[-1])
    if pair.chosen.score == pair.rejected.score or pair.chosen.message.full_text == pair.rejected.message.full_text:
        return None
    return pair
