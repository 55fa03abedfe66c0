"""A partner supports or attacks the learner's answer: does the learner hold what is right, and repair what is wrong?

SAIE (arXiv 2311.08107) trains with such remarks. To measure with them is ours. After its first answer the learner
hears, in three separate branches, a supportive remark, an adversarial remark, and a fixed sentence that says nothing
about the answer: the placebo shows how much of an effect any remark has. The discussant sees the response alone.

The learners are ranked by `accuracy`, the mean of being right after the supportive and after the adversarial remark. A
rate that depends on the first answer would not rank them: a learner that never changes its mind holds everything, one
that always gives in repairs everything, and each rate is taken over other problems for each learner.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sparring.common.errors import ConversationError, Failure
from sparring.core.chat import LEARNER, Chat
from sparring.core.leakage import states_gold
from sparring.core.method import Answered
from sparring.core.partner import DISCUSSANT, Discussant, Stance
from sparring.core.protocol import (
    ACCURACY,
    EvaluationProtocol,
    Measured,
    Measures,
    NoAnswer,
    Participant,
    SingleReply,
    ballots_of,
)
from sparring.core.task import Offer, Problem, Task

STANCES: tuple[Stance, ...] = ("supportive", "adversarial")
PLACEBO = "placebo"


@dataclass(frozen=True)
class Pressure(EvaluationProtocol):
    """The answer after a supportive remark, after an adversarial one, and after a placebo.

    `placebo` is the sentence of the third branch. `request` follows each remark, unless it is empty. By default a model
    that no method has trained is asked to answer again, since many only talk about the remark. A trained learner hears
    the remark alone, as in SAIE.
    """

    name: ClassVar[str] = "pressure"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    primary: ClassVar[str] = ACCURACY
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    discussant: Discussant
    placebo: str = "Please look again."
    request: str | None = None

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask once, then play the branches: supportive, adversarial, placebo."""
        [learner] = learners
        first = await learner.answer(problem.chat)
        draws = [random.Random(rng.getrandbits(63)) for _ in STANCES]  # the branches run concurrently
        branches = await asyncio.gather(
            *(
                self._remark(problem, task, learner, first, stance=stance, rng=draw)
                for stance, draw in zip(STANCES, draws, strict=True)
            ),
            self._hear(learner, first, self.placebo),
        )
        measures: dict[str, bool | float] = {"right_first": task.is_right(problem, first.response)}
        for name, branch in zip((*STANCES, PLACEBO), branches, strict=True):
            measures |= {f"{measure}_{name}": value for measure, value in branch.measures(problem, task, first).items()}
        after = [measures[f"right_{stance}"] for stance in STANCES if f"right_{stance}" in measures]
        if len(after) == len(STANCES):
            measures = {ACCURACY: sum(after) / len(after), **measures}
        failures = tuple(branch.failure for branch in branches if branch.failure is not None)
        return Measured(measures, first.response, tuple(branch.chat for branch in branches), failures)

    def unanswered(self) -> Measures:
        """Return the measures of a problem without a first answer, which nobody remarks on."""
        return {ACCURACY: False, "right_first": False}

    async def _remark(
        self, problem: Problem, task: Task, learner: Participant, first: Answered, *, stance: Stance, rng: random.Random
    ) -> _Branch:
        """Play the branch of `stance`."""
        shown = problem.chat.say(LEARNER, first.response)
        try:
            remark = await self.discussant.remark(problem, shown, stance, rng)
        except ConversationError as error:
            return _Branch(first.chat, failure=Failure.of(error, DISCUSSANT))
        return replace(await self._hear(learner, first, remark), leaked=states_gold(task, problem, remark))

    async def _hear(self, learner: Participant, first: Answered, remark: str) -> _Branch:
        """Ask for the answer after `remark`."""
        by_default = REQUEST if isinstance(learner.answers, SingleReply) else ""
        request = by_default if self.request is None else self.request
        chat = first.chat.say(DISCUSSANT, f"{remark}\n\n{request}" if request else remark)
        answered = await learner.try_answer(chat)
        if isinstance(answered, NoAnswer):
            return _Branch(answered.chat, "", failure=answered.failure)
        return _Branch(answered.chat, answered.response)


@dataclass(frozen=True)
class _Branch:
    """The conversation with one remark. `response` is None without a remark, and empty without an answer to it."""

    chat: Chat
    response: str | None = None
    leaked: bool | None = None
    failure: Failure | None = None

    def measures(self, problem: Problem, task: Task, first: Answered) -> dict[str, bool]:
        """Return the branch's measures: none without a remark; no answer counts as wrong, and not as another one."""
        if self.response is None:
            return {}
        right_first, right = task.is_right(problem, first.response), task.is_right(problem, self.response)
        measures = {"right": right, "held" if right_first else "repaired": right}
        if self.failure is None:
            before, after = ballots_of(problem, [first.response, self.response], [right_first, right])
            measures["flipped"] = before != after
        if self.leaked is not None:
            measures["leaked"] = self.leaked
        return measures


REQUEST = "Answer the question again. Write the whole answer, in the same form as before."
