"""How well an answer is reasoned and put into words (SAIE, arXiv 2311.08107), not only whether it is right.

An answer is sound if it is right and no step is wrong, as far as the task can tell (`core.task.is_sound`). ROUGE-L
compares its words with the gold rationale.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.protocol import ACCURACY, EvaluationProtocol, Measured, Participant
from sparring.core.task import Offer, Problem, Task, concludes, is_sound
from sparring.parsing.rouge import rouge_l


@dataclass(frozen=True)
class Reasoning(EvaluationProtocol):
    """One answer: sound or not, also among right answers only, and ROUGE-L to the gold rationale.

    `concludes`: the last step does not contradict the result before it. For a task without a checker of steps, a right
    answer that concludes is sound. Without rationales there is no ROUGE-L.
    """

    name: ClassVar[str] = "reasoning"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    primary: ClassVar[str] = "sound"
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask once and look at the steps."""
        [learner] = learners
        answered = await learner.answer(problem.chat)
        response = answered.response
        is_right, sound = task.is_right(problem, response), is_sound(task, problem, response)
        measures: dict[str, bool | float] = {self.primary: sound, ACCURACY: is_right}
        if is_right:
            measures["sound_if_right"] = sound
        measures["concludes"] = concludes(task.layout, response)
        if problem.rationale is not None:
            measures["rouge_l"] = rouge_l(response, problem.rationale)
        return Measured(measures, response, (answered.chat,))

    def unanswered(self) -> dict[str, bool]:
        """Return the measures of a problem without an answer: neither right nor sound."""
        return {self.primary: False, ACCURACY: False}
