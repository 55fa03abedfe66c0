"""A judge that asks a speaker for a score of each answer, or for verdicts on pairs in both orders."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.judge_presets import PRESETS
from sparring.core.partner import (
    Scores,
    Verdict,
    ask,
    by_pairs,
    by_swiss,
    conversation,
    distinct_once,
    one_by_one,
    read_score,
)
from sparring.core.prompt import check_placeholders, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem
from sparring.parsing.answers import MATCHED
from sparring.parsing.thought import Answer

# "score" and a number on a line with nothing else but spaces and punctuation: no comparison, no second number
_SCORE = r"""(?im)^[^\w\n]*+score(?:[^\S\n]|[:=*_`"'(\[])*+([+-]?[0-9]++(?:\.[0-9]++)?)(?:[^\S\n]|[*_`"')\].!])*+$"""
_VERDICTS: dict[str, Verdict] = {"A": "first", "B": "second", "C": "tie"}


@dataclass(frozen=True)
class ModelJudge:
    """Asks a speaker how good responses are.

    `mode` "pointwise": the group of `pattern` is a number from `lowest` to `highest`. "pairwise": it is A, B, or C for
    a tie. The pattern must match exactly once, in a reply of at most 20,000 characters. `schedule` "all" compares all
    pairs; "swiss" makes fewer calls: it compares answers with similar scores, in `swiss_rounds` rounds (None: one more
    than a knock-out needs). `prior`: wins added in each direction before Bradley-Terry.

    `preset` takes system prompt, prompt and reader of a published tool instead (`core.judge_presets`), pairwise.
    """

    name: ClassVar[str] = "model_judge"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    mode: Literal["pointwise", "pairwise"] = "pairwise"
    temperature: Annotated[float, Ge(0)] = 0.0
    max_tokens: Annotated[int, Gt(0)] = 1024
    preset: Literal["alpaca_eval", "arena_hard", "self_taught_evaluator"] | None = None
    prompt: str | None = None
    pattern: str | None = None
    lowest: float = 1.0
    highest: float = 10.0
    schedule: Literal["all", "swiss"] = "all"
    swiss_rounds: Annotated[int, Gt(0)] | None = None
    prior: Annotated[float, Gt(0)] = 0.5

    def __post_init__(self) -> None:
        if self.preset is not None and (self.mode == "pointwise" or self.prompt or self.pattern):
            raise ConfigError(
                f"preset = {self.preset!r} brings its own prompt and compares pairs; remove mode, prompt and pattern"
            )
        check_placeholders(
            self.prompt or "", ("question", "response") if self.mode == "pointwise" else ("question", "a", "b")
        )
        if self.lowest >= self.highest:
            raise ConfigError(
                f"lowest must be below highest (got lowest = {self.lowest}, highest = {self.highest}); give a scale"
            )
        try:
            groups = re.compile(self.pattern or "()").groups
        except re.error as error:
            raise ConfigError(
                f"pattern is not a regular expression (got {self.pattern!r}): {error}; correct it"
            ) from error
        if groups != 1:
            raise ConfigError(
                f"pattern has {groups} groups (got {self.pattern!r}); use exactly one group, for the verdict"
            )

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return a score for each answer; equal answers are judged once and share a score."""
        if self.mode == "pointwise":
            return await self._score_each(problem, answers)
        return await distinct_once(partial(self._score_pairs, problem, rng), answers)

    async def _score_each(self, problem: Problem, answers: Sequence[Answer]) -> Scores:
        async def score(answer: Answer) -> float:
            prompt = fill(self.prompt or POINTWISE, question=_question(problem), response=answer.text)
            return await ask(self.speaker, prompt, self.rating, self._sampling)

        return await one_by_one(score, answers)

    async def _score_pairs(self, problem: Problem, rng: random.Random, answers: Sequence[Answer]) -> Scores:
        async def compare(first: Answer, second: Answer) -> Verdict:
            return await self.compare(problem, first, second, rng)

        if self.schedule == "swiss":
            return await by_swiss(compare, answers, rng, self.swiss_rounds, self.prior)
        return await by_pairs(compare, answers, self.prior)

    async def compare(self, problem: Problem, first: Answer, second: Answer, rng: random.Random) -> Verdict:
        """Return the verdict on one pair in one order; `mode` must be "pairwise"."""
        words = {"question": _question(problem), "a": first.text, "b": second.text}
        if self.preset is not None:
            preset = PRESETS[self.preset]
            return await ask(self.speaker, fill(preset.prompt, **words), preset.read, self._sampling, preset.system)
        return await ask(self.speaker, fill(self.prompt or PAIRWISE, **words), self.verdict, self._sampling)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.temperature, max_tokens=self.max_tokens)

    def rating(self, reply: str) -> float:
        """Return the score that `reply` gives, on the scale; raises Unreadable."""
        score = read_score(text := self._only(_SCORE, reply))
        if not self.lowest <= score <= self.highest:
            raise Unreadable(f"the score {text} is not between {self.lowest:g} and {self.highest:g}")
        return score

    def verdict(self, reply: str) -> Verdict:
        """Return the verdict that `reply` gives on a pair; raises Unreadable."""
        verdict = self._only(r"\[\[([ABC])\]\]", reply)
        if verdict not in _VERDICTS:
            raise Unreadable(f"the verdict {verdict!r} is not A, B or C")
        return _VERDICTS[verdict]

    def _only(self, default: str, reply: str) -> str:
        """Return the group of the only match of `pattern` (None: `default`) in `reply`; raises Unreadable."""
        if self.pattern is not None and len(reply) > MATCHED:
            raise Unreadable(f"a pattern is tried on at most {MATCHED:,} characters, and there are {len(reply):,}")
        matches: list[str] = re.findall(self.pattern or default, reply)
        if len(matches) != 1:
            raise Unreadable(f"the verdict was found {len(matches)} times, not once")
        return matches[0]


def _question(problem: Problem) -> str:
    return conversation(problem.chat, "assistant")


POINTWISE = """Judge a response to a user's query for how helpful, correct and clear it is.

Query:
{question}

Response:
{response}

Reason briefly, then end with one line that gives a whole number from 1 (useless) to 10 (perfect):
Score: <number>"""

PAIRWISE = """Compare two responses to a user's query for how helpful, correct and clear they are. Ignore their order \
and their length.

Query:
{question}

Response A:
{a}

Response B:
{b}

Reason briefly, then end with your verdict: [[A]] if A is better, [[B]] if B is better, [[C]] for a tie."""
