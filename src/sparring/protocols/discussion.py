"""Learners discuss a problem: each answers, reads the others' answers, and answers again; the majority counts.

The SAIE paper (arXiv 2311.08107) uses its trained learners in such discussions, with themselves and with other models.
We have not read how. The form here is that of multi-agent debate (Du et al., arXiv 2305.14325). Ours are:
1. A learner on its own is asked to look at its answer again: self-discussion.
2. The copies of one learner are sampled, since greedy copies would all say the same. Different learners are greedy.
3. Answers are quoted in full, without thoughts. Each learner sees its own earlier answers as its own messages.
4. A learner that fails in a turn keeps its last answer, and that turn is left out of its conversation. A learner that
   fails at once stays silent: it is not quoted, not asked again, and counts as wrong; it has no vote.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import Failure
from sparring.core.chat import LEARNER, USER, Chat
from sparring.core.prompt import check_placeholders, fill
from sparring.core.protocol import ACCURACY, EvaluationProtocol, Measured, NoAnswer, Participant, ballots_of
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.votes import majority

COPIES = 3  # of a single learner
TEMPERATURE = 0.8  # of copies


@dataclass(frozen=True)
class Discussion(EvaluationProtocol):
    """Several learners, or copies of one, that answer, read each other's answers and answer again.

    `copies` is the number of speakers for each learner; by default 3 for a single learner and 1 for each of several.
    `turns` counts the answers after the first. `temperature`: by default 0.8 for copies, and greedy without copies.
    """

    name: ClassVar[str] = "discussion"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    primary: ClassVar[str] = ACCURACY
    learners: ClassVar[tuple[int, int | None]] = (1, None)

    copies: Annotated[int, Ge(1)] | None = None
    turns: Annotated[int, Ge(1)] = 2
    temperature: Annotated[float, Gt(0)] | None = None
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    prompt: str | None = None  # {answers}: those of the others
    self_prompt: str | None = None

    def __post_init__(self) -> None:
        check_placeholders(self.prompt or "", ("answers",))
        check_placeholders(self.self_prompt or "", ())

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Hold the discussion; measure the answers of each turn."""
        speakers = [_Speaker(name, learner, problem.chat) for name, learner in self._speakers(learners)]
        await asyncio.gather(*(speaker.begin() for speaker in speakers))
        turns = [_Turn.of(problem, task, speakers)]
        for _ in range(self.turns):
            messages = [self._message(speakers, number) for number in range(len(speakers))]
            asked = [(s, message) for s, message in zip(speakers, messages, strict=True) if s.response is not None]
            await asyncio.gather(*(speaker.hear(message) for speaker, message in asked))
            turns.append(_Turn.of(problem, task, speakers))
        return Measured(
            _measures(turns),
            turns[-1].voted or "",
            tuple(speaker.chat for speaker in speakers),
            tuple(failure for speaker in speakers for failure in speaker.failures),
        )

    def _speakers(self, learners: Sequence[Participant]) -> list[tuple[str, Participant]]:
        """Return those who discuss, each with the name that its failures bear."""
        copies = self.copies or (1 if len(learners) > 1 else COPIES)
        temperature = self.temperature or (TEMPERATURE if copies > 1 else None)
        named = [(LEARNER if len(learners) == 1 else f"{LEARNER} {learner.name}", learner) for learner in learners]
        if temperature is None:
            return named
        copied = enumerate(one for one in named for _ in range(copies))
        return [(name, one.sampled(temperature, self.top_p, number)) for number, (name, one) in copied]

    def _message(self, speakers: Sequence[_Speaker], reader: int) -> str:
        """Return what speaker number `reader` is shown: the latest answers of the others, if there are any."""
        others = [s.response for number, s in enumerate(speakers) if number != reader and s.response is not None]
        if not others:
            return self.self_prompt or LOOK_AGAIN
        quoted = (f"Answer {number}:\n{text}" for number, text in enumerate(others, start=1))
        return fill(self.prompt or OTHERS, answers="\n\n".join(quoted))


@dataclass
class _Speaker:
    """One who discusses: its conversation so far, and its latest response."""

    name: str
    learner: Participant
    chat: Chat
    response: str | None = None
    failures: list[Failure] = field(default_factory=list)

    async def begin(self) -> None:
        await self._answer(self.chat)

    async def hear(self, message: str) -> None:
        await self._answer(self.chat.say(USER, message))

    async def _answer(self, question: Chat) -> None:
        answered = await self.learner.try_answer(question)
        if isinstance(answered, NoAnswer):
            self.failures.append(replace(answered.failure, who=self.name))
            if self.response is None:  # it stays silent; show the reply that could not be used
                self.chat = answered.chat
        else:
            self.chat, self.response = answered.chat, answered.response


@dataclass(frozen=True)
class _Turn:
    """What the speakers hold after a turn: who is right, the response of the majority, the pairs that agree."""

    right: tuple[bool, ...]  # of all speakers; False for the silent ones
    voted: str | None
    is_voted_right: bool
    agreement: float | None  # None: fewer than two answers

    @classmethod
    def of(cls, problem: Problem, task: Task, speakers: Sequence[_Speaker]) -> _Turn:
        texts = [speaker.response for speaker in speakers if speaker.response is not None]
        right = [task.is_right(problem, text) for text in texts]
        verdicts = iter(right)
        of_all = tuple(speaker.response is not None and next(verdicts) for speaker in speakers)
        if not texts:
            return cls(of_all, None, False, None)
        votes = ballots_of(problem, texts, right)
        voted, pairs = majority(votes), list(combinations(votes, 2))
        agreement = fmean(one == other for one, other in pairs) if pairs else None
        return cls(of_all, texts[voted], right[voted], agreement)


def _measures(turns: Sequence[_Turn]) -> dict[str, bool | float]:
    """Return accuracy, mean and majority of each turn, agreement, and the changes from the first turn to the last."""
    changes = list(zip(turns[0].right, turns[-1].right, strict=True))
    measures: dict[str, bool | float] = {ACCURACY: turns[-1].is_voted_right}
    measures |= {f"turn_{number}": fmean(turn.right) for number, turn in enumerate(turns)}
    measures |= {f"majority_{number}": turn.is_voted_right for number, turn in enumerate(turns)}
    measures |= {f"agreement_{n}": turn.agreement for n, turn in enumerate(turns) if turn.agreement is not None}
    measures["fixed"] = fmean(last and not first for first, last in changes)
    measures["broken"] = fmean(first and not last for first, last in changes)
    return measures


OTHERS = """These are the answers of others to the same question:

{answers}

Compare them with your own answer and check each step. Then answer the question again. Write the whole answer, in the \
same form as before."""

LOOK_AGAIN = """Look at your answer once more and check each step. Then answer the question again. Write the whole \
answer, in the same form as before."""
