"""A method of one's own: rejection sampling. The learner imitates its own right answers, or gold where it has none.

python examples/own_method.py
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import sparring
from sparring import LEARNER, Candidate, Episode, Problem, Sampling, Speaker, StepFormat, Task


@dataclass(frozen=True)
class OwnBest(sparring.Method):
    """Imitates the learner's own right answers."""

    name: ClassVar[str] = "own_best"
    needs: ClassVar[frozenset[sparring.Offer]] = frozenset({"gold"})
    schedule: ClassVar[sparring.Schedule] = sparring.Schedule(problems=None, epochs=1, lifetime="round")
    objective: ClassVar[sparring.Likelihood] = sparring.Likelihood()

    samples: int = 4  # fields are the keys of a recipe
    max_tokens: int = 48

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Samples answers, and scores each by whether it is right."""
        sampling = Sampling(max_tokens=self.max_tokens)
        replies = await asyncio.gather(*(learner.reply(problem.chat, sampling, n) for n in range(self.samples)))
        scores = [float(task.is_right(problem, reply.text)) for reply in replies]
        candidates = [Candidate(reply.by(LEARNER), score=score) for reply, score in zip(replies, scores, strict=True)]
        return Episode(problem, problem.chat, tuple(candidates), notes={"right": sum(scores) / len(scores)})

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[sparring.Experience]:
        """One right answer a problem, as a demonstration; gold where no sample is right."""
        demonstrations: list[sparring.Experience] = []
        for episode in episodes:
            problem = episode.problem
            right = [candidate.message for candidate in episode.candidates if candidate.score]
            gold = sparring.message(LEARNER, problem.rationale or problem.gold or "")
            taught = (right[0] if right else gold).with_weight(1.0)
            demonstrations.append(sparring.Demonstration(problem.id, episode.chat.then(taught)))
        return demonstrations

    async def answer(self, question: sparring.Chat, learner: Speaker, layout: StepFormat) -> sparring.Answered:
        """One greedy reply."""
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return sparring.answered(question, reply.require_complete().by(LEARNER))


if __name__ == "__main__":
    recipe = sparring.Recipe.of(
        {
            "task": {"kind": "multistep_arithmetic", "train": 400, "development": 50, "test": 100},
            "phase": [{"method": "sft", "epochs": 4, "max_tokens": 48}, {"method": "__main__.OwnBest"}],
            "trainer": {"learning_rate": 2e-3, "batch_size": 16},
            "run": {"max_learner_failures": 1.0},
        }
    )
    sparring.train(recipe, run="runs/own-method")  # shows its rounds, and how many test problems are right
