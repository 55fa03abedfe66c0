"""Off-line direct preference optimisation (Rafailov et al., arXiv 2305.18290): replies that people or programs ranked.

There is no partner, and the learner samples nothing: each row holds a question, a chosen and a rejected reply. The loss
prefers the one to the other, against the policy at the start of the phase; `sft` on the chosen replies is the usual
phase before it. With further rounds the reference is the policy at the start of each (ours).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.core.chat import LEARNER, Chat
from sparring.core.episode import Episode
from sparring.core.experience import Experience, Preference
from sparring.core.method import Answered, Method, Schedule, answered
from sparring.core.objective import DPO
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat


@dataclass(frozen=True)
class OfflineDPO(Method):
    """Prefers the chosen to the rejected reply of each row."""

    name: ClassVar[str] = "dpo"
    needs: ClassVar[frozenset[Offer]] = frozenset({"question", "preference"})
    schedule: ClassVar[Schedule] = Schedule(problems=None, epochs=1, lifetime="round")
    offline: ClassVar[bool] = True

    beta: Annotated[float, Gt(0)] = 0.1
    nll_weight: Annotated[float, Ge(0)] = 0.0
    max_tokens: Annotated[int, Ge(1)] = 512

    @property
    def objective(self) -> DPO:
        """DPO over the whole replies."""
        return DPO(self.beta, self.nll_weight)

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Return the question; ask nobody."""
        return Episode(problem, problem.chat)

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Return one preference per problem."""
        return [
            Preference(episode.problem.id, episode.chat, problem.worked.last, problem.rejected)
            for episode in episodes
            if (problem := episode.problem).worked is not None and problem.rejected is not None
        ]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return one greedy reply."""
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return answered(question, reply.require_complete().by(LEARNER))
