"""Supervised fine-tuning on worked answers: the baseline, the warm-up, and the smallest example of a method.

There is no partner. Ours: with a `thought_format`, the worked steps become the thought and the gold answer the
response. So a model that cannot follow the thought prompt yet learns its form.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.core.chat import LEARNER, Chat, message
from sparring.core.episode import Episode
from sparring.core.experience import Demonstration, Experience
from sparring.core.method import Answered, Method, Schedule
from sparring.core.objective import Likelihood
from sparring.core.prompt import ask_for_thought
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat
from sparring.parsing.thought import ThoughtFormat, thought_format


@dataclass(frozen=True)
class SFT(Method):
    """Imitates gold answers: the rationale if there is one, the bare answer with `learn = "answer"`."""

    name: ClassVar[str] = "sft"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    schedule: ClassVar[Schedule] = Schedule(problems=None, epochs=1, lifetime="phase")

    learn: Literal["rationale", "answer"] = "rationale"
    thought_format: str = "none"
    thought_prompt: str | None = None
    max_tokens: Annotated[int, Ge(1)] = 512

    def __post_init__(self) -> None:
        thought_format(self.thought_format)

    @property
    def form(self) -> ThoughtFormat:
        """Return the thought format named `thought_format`."""
        return thought_format(self.thought_format)

    @property
    def objective(self) -> Likelihood:
        """Plain likelihood."""
        return Likelihood()

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Return the question with its thought prompt; ask nobody."""
        return Episode(problem, ask_for_thought(self.form, problem.chat, self.thought_prompt))

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Return one demonstration per problem."""
        return [
            Demonstration(e.problem.id, e.chat.then(message(LEARNER, self._gold(e.problem), "gold", weight=1.0)))
            for e in episodes
        ]

    def _gold(self, problem: Problem) -> str:
        answer, rationale = problem.gold or "", problem.rationale
        if self.form.marker and rationale is not None:
            return self.form.join(problem.reasoning, answer)
        return rationale if rationale is not None and self.learn == "rationale" else answer

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return one greedy reply without its thought."""
        prompt = ask_for_thought(self.form, question, self.thought_prompt)
        reply = (await learner.reply(prompt, Sampling(temperature=0, max_tokens=self.max_tokens))).require_complete()
        response = self.form.split(reply.text).answer.text
        return Answered(prompt.then(reply.by(LEARNER)), response, (response,))
