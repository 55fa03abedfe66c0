"""A judge that is a function: it scores one answer or all answers to a problem at once, or compares two.

Its parameters decide. With `answer` (or `response`) it is called for each answer, with `answers` (or
`responses`) once for all, and with both `first` and `second` for each pair in both orders. A function with
`completions` is a reward function as TRL calls them: `prompts`, `completions` and every other value are lists with one
item for each answer.

A verdict is a word, not a number: 0 is the first answer to a pairwise judge of TRL, and a tie to a comparison.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from sparring.common.errors import ConversationError, Failure, Skipped
from sparring.core.chat import LEARNER, Chat
from sparring.core.function_partner import FUNCTION, FunctionPartner
from sparring.core.partner import JUDGE, Scores, Verdict, by_pairs, distinct_once, one_by_one
from sparring.core.task import Problem
from sparring.core.user_function import ANSWERS, PAIR, REWARD, SAID, about, row_of, scored_names
from sparring.parsing.thought import Answer

_VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in get_args(Verdict)}


@dataclass(frozen=True)
class FunctionJudge(FunctionPartner):
    """Judges by your function: one answer, all answers, two against each other, or as a reward function of TRL.

    `messages` says whether a reward function gets prompts and completions as lists of messages. None: as its decorator
    says, else as `completions` is annotated, else as the prompt of the problem's row is.
    """

    name: ClassVar[str] = "function_judge"
    by: ClassVar[str] = FUNCTION
    role: ClassVar[str] = JUDGE
    offered: ClassVar[tuple[str, ...]] = (*SAID, *ANSWERS)

    messages: bool | None = None

    def __post_init__(self) -> None:
        golden = ("answer", "ground_truth", "solution") if self._names is REWARD else ()
        self._function.check(self.task, (*self._names, *golden, "rng"))

    @property
    def mode(self) -> str:
        """Return "pairwise" if the function compares two answers, else "pointwise"."""
        return "pairwise" if self._names is PAIR else "pointwise"

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return a score for each answer; a function of one or two answers is asked once about equal ones."""
        if self._names is SAID:
            return await self._score_each(problem, answers, rng)
        if self._names is PAIR:
            return await distinct_once(partial(self._score_pairs, problem, rng), answers)
        try:
            return await self._score_all(problem, answers, rng)
        except ConversationError as error:
            return Scores((None,) * len(answers), (Failure.of(error, JUDGE),))

    async def compare(self, problem: Problem, first: Answer, second: Answer, rng: random.Random) -> Verdict:
        """Return which of two answers the function prefers; `mode` must be "pairwise"."""
        value = await self._ask(problem, rng, first=first.text, second=second.text)
        if not isinstance(value, str) or value not in _VERDICTS:
            raise self._function.returned(value, f"one of {', '.join(map(repr, _VERDICTS))}", problem)
        return _VERDICTS[value]

    async def _score_pairs(self, problem: Problem, rng: random.Random, answers: Sequence[Answer]) -> Scores:
        async def compare(first: Answer, second: Answer) -> Verdict:
            return await self.compare(problem, first, second, random.Random(rng.getrandbits(64)))

        return await by_pairs(compare, answers)

    async def _score_each(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        streams = {answer: random.Random(rng.getrandbits(64)) for answer in answers}

        async def score(answer: Answer) -> float:
            value = await self._ask(problem, streams[answer], **self._said(problem, answer.text))
            score = _number(value)
            if score is None:
                raise self._function.returned(value, "a finite number", problem)
            return score

        return await one_by_one(score, answers)

    async def _score_all(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        if self._names is REWARD:
            returned = await self._call(problem, *self._as_lists(problem, answers, rng))
        else:
            returned = await self._ask(problem, rng, **{name: [answer.text for answer in answers] for name in ANSWERS})
        values = returned.tolist() if hasattr(returned, "tolist") else returned
        if not isinstance(values, list | tuple) or len(values) != len(answers):
            raise self._function.returned(returned, f"a list of {len(answers)} numbers, one for each answer", problem)
        scores = [None if value is None else _number(value) for value in values]
        for value, score in zip(values, scores, strict=True):
            if value is not None and score is None:
                raise self._function.returned(value, "finite numbers, or None for an answer without a score", problem)
        none = Failure(Skipped.__name__, JUDGE, "the function gave no score")
        return Scores(tuple(scores), (none,) * scores.count(None))

    def _as_lists(
        self, problem: Problem, answers: Sequence[Answer], rng: random.Random
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the named values and the columns of a reward function, each repeated for every answer.

        A column keeps its own value. Where the row has none called so, `answer` and `ground_truth` are the gold answer
        and `solution` is the worked answer, or else the gold answer.
        """
        golden: dict[str, str | None] = dict.fromkeys(("answer", "ground_truth"), problem.gold)
        golden["solution"] = problem.rationale if problem.rationale is not None else problem.gold
        columns = {**(golden if problem.gold is not None else {}), **row_of(problem)}
        texts = [answer.text for answer in answers]
        of_signature = _takes_messages(self._function.call)
        of_prompt = problem.data.get("messages", False) if of_signature is None else of_signature
        is_messages = self._function.setting("messages", self.messages, of_prompt)
        own: dict[str, Any] = {
            "rng": rng,
            "prompts": [_messages(problem.chat) if is_messages else problem.chat.text for _ in answers],
            "completions": [[{"role": "assistant", "content": text}] for text in texts] if is_messages else texts,
        }
        named = {name: [value] * len(answers) for name, value in about(problem).items() if name not in columns}
        return named | own, {name: [value] * len(answers) for name, value in columns.items()}

    @property
    def _names(self) -> tuple[str, ...]:
        return scored_names(self._function)


def _takes_messages(call: Callable[..., Any]) -> bool | None:
    """Return whether `completions` is annotated as lists of messages, `list[list[…]]`; None if it does not say."""
    try:
        hint = get_type_hints(call).get("completions")
    except (NameError, TypeError):
        return None
    of_item = next(iter(get_args(hint)), None)
    return None if of_item is None else get_origin(of_item) is list


def _number(value: Any) -> float | None:
    """Return a number, a boolean or an array without axes as a float; None if it is neither or not finite."""
    item = value.tolist() if hasattr(value, "tolist") else value
    try:
        number = float(item) if isinstance(item, Real) else math.nan
    except OverflowError:  # an integer over the largest float
        return None
    return number if math.isfinite(number) else None


def _messages(chat: Chat) -> list[Mapping[str, str]]:
    """Return `chat` as messages with role and content."""
    return [{"role": turn.role, "content": turn.text} for turn in chat.seen_by(LEARNER)]
