"""A judge that is a speaker: a score for each answer, or verdicts on pairs in both orders."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.partner import Scores, Verdict, ask, by_pairs, by_swiss, conversation, one_by_one, read_score
from sparring.core.prompt import check_blanks, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem
from sparring.parsing.answers import MATCHED
from sparring.parsing.thought import Answer

# The number alone on its line, but for marks that change nothing: no other sign, no comparison, no second number.
_SCORE = r"""(?im)^[^\w\n]*+score(?:[^\S\n]|[:=*_`"'(\[])*+([+-]?[0-9]++(?:\.[0-9]++)?)(?:[^\S\n]|[*_`"')\].!])*+$"""
_VERDICTS: dict[str, Verdict] = {"A": "first", "B": "second", "C": "tie"}


@dataclass(frozen=True)
class ModelJudge:
    """Asks a speaker how good responses are.

    `mode` pointwise: `pattern` has one group, a number from `lowest` to `highest`; pairwise: one group, A, B or C for a
    tie. The pattern must match exactly once, in a reply of at most 20,000 characters. `schedule` says which pairs meet:
    "all" of them, or with fewer calls ("swiss") those that stand alike, in `swiss_rounds` rounds (None: as many as a
    knock-out has, and one). `prior` is the wins added each way in Bradley-Terry.
    """

    name: ClassVar[str] = "model_judge"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    mode: Literal["pointwise", "pairwise"] = "pairwise"
    temperature: Annotated[float, Ge(0)] = 0.0
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None
    pattern: str | None = None
    lowest: float = 1.0
    highest: float = 10.0
    schedule: Literal["all", "swiss"] = "all"
    swiss_rounds: Annotated[int, Gt(0)] | None = None
    prior: Annotated[float, Gt(0)] = 0.5

    def __post_init__(self) -> None:
        check_blanks(
            self.prompt or "", ("question", "response") if self.mode == "pointwise" else ("question", "a", "b")
        )
        if self.lowest >= self.highest:
            raise ConfigError(f"lowest = {self.lowest} is not below highest = {self.highest}; give a scale")
        try:
            groups = re.compile(self.pattern or "()").groups
        except re.error as error:
            raise ConfigError(f"pattern = {self.pattern!r} is not a regular expression: {error}") from error
        if groups != 1:
            raise ConfigError(f"pattern = {self.pattern!r} has {groups} groups; one group is to hold the verdict")

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """A score for each answer; equal answers are asked about once and score the same."""
        if self.mode == "pointwise":
            return await self._points(problem, answers)
        distinct = list(dict.fromkeys(answers))
        scores = await self._pairs(problem, distinct, rng)
        found = dict(zip(distinct, scores.values, strict=True))
        return Scores(tuple(found[answer] for answer in answers), scores.failures)

    async def _points(self, problem: Problem, answers: Sequence[Answer]) -> Scores:
        async def one(answer: Answer) -> float:
            prompt = fill(self.prompt or POINTWISE, question=_asked(problem), response=answer.text)
            return await ask(self.speaker, prompt, self._number, self._sampling)

        return await one_by_one(one, answers)

    async def _pairs(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        async def compare(first: Answer, second: Answer) -> Verdict:
            prompt = fill(self.prompt or PAIRWISE, question=_asked(problem), a=first.text, b=second.text)
            return await ask(self.speaker, prompt, self._verdict, self._sampling)

        if self.schedule == "swiss":
            return await by_swiss(compare, answers, rng, self.swiss_rounds, self.prior)
        return await by_pairs(compare, answers, self.prior)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.temperature, max_tokens=self.max_tokens)

    def _number(self, reply: str) -> float:
        score = read_score(text := self._only(_SCORE, reply))
        if not self.lowest <= score <= self.highest:
            raise Unreadable(f"the score {text} is not between {self.lowest:g} and {self.highest:g}")
        return score

    def _verdict(self, reply: str) -> Verdict:
        verdict = self._only(r"\[\[([ABC])\]\]", reply)
        if verdict not in _VERDICTS:
            raise Unreadable(f"the verdict {verdict!r} is not A, B or C")
        return _VERDICTS[verdict]

    def _only(self, usual: str, reply: str) -> str:
        if self.pattern is not None and len(reply) > MATCHED:
            raise Unreadable(f"a pattern is tried on at most {MATCHED:,} characters, and there are {len(reply):,}")
        found: list[str] = re.findall(self.pattern or usual, reply)
        if len(found) != 1:
            raise Unreadable(f"the verdict was found {len(found)} times, not once")
        return found[0]


def _asked(problem: Problem) -> str:
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
