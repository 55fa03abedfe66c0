"""LMSI: self-improvement on one's own right answers (Huang et al.; arXiv 2210.11610), as a baseline of TriPosT.

The learner, warmed up on rationales, samples several answers to each problem. Those that end in the gold answer are
kept. It imitates each in two forms: as the chain of thought that it wrote, and as the bare answer (TriPosT, authors'
code: five rounds of sampling at temperature 1.2). Nobody corrects anything, so there is no partner.

Departures and choices of ours:
1. Right means equal to gold, as in TriPosT's baseline. LMSI itself keeps the answer of the majority.
2. `direct_prompt` asks for the direct form, so that a question on its own still asks for the chain of thought.
3. Chains that one problem got twice, letter for letter, are kept once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import ConversationError, Failure
from sparring.core.chat import LEARNER, Chat, Message, message
from sparring.core.episode import Candidate, Episode
from sparring.core.experience import Demonstration, Experience
from sparring.core.method import Answered, Method, Schedule, answered
from sparring.core.objective import Likelihood
from sparring.core.prompt import put_before
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat
from sparring.parsing.thought import NONE


@dataclass(frozen=True)
class LMSI(Method):
    """Imitates its own answers where they are right, with and without their steps."""

    name: ClassVar[str] = "lmsi"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    schedule: ClassVar[Schedule] = Schedule(problems=None, epochs=1, lifetime="round")

    samples: Annotated[int, Ge(1)] = 5  # TriPosT, authors' code: rounds of sampling
    temperature: Annotated[float, Ge(0)] = 1.2  # TriPosT, authors' code
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    direct_weight: Annotated[float, Ge(0)] = 1.0
    direct_prompt: str | None = None
    max_tokens: Annotated[int, Gt(0)] = 512

    @property
    def objective(self) -> Likelihood:
        """Likelihood of the kept answers."""
        return Likelihood()

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Sample `samples` answers; a right one scores 1, a wrong one 0."""
        candidates = await asyncio.gather(*(self._candidate(problem, task, learner, n) for n in range(self.samples)))
        right = [candidate.score == 1.0 for candidate in candidates]
        failures = tuple(candidate.failure for candidate in candidates if candidate.failure is not None)
        notes = {"right": sum(right) / self.samples, "solved": any(right)}
        return Episode(problem, problem.chat, tuple(candidates), failures, notes, failed=len(failures) == self.samples)

    async def _candidate(self, problem: Problem, task: Task, learner: Speaker, sample: int) -> Candidate:
        reply_message = Message(LEARNER, ())  # stays empty if there is no reply
        try:
            sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)
            reply = await learner.reply(problem.chat, sampling, sample)
            reply_message = reply.by(LEARNER)
            answer = NONE.split(reply.require_complete().text).answer
        except ConversationError as error:
            return Candidate(reply_message, failure=Failure.of(error, LEARNER))
        return Candidate(reply_message, answer, float(task.is_right(problem, answer.text)))

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Return each different right answer as a chain of thought, followed by its direct form."""
        lessons: list[Experience] = []
        for episode in episodes:
            right = [candidate.message for candidate in episode.candidates if candidate.score == 1.0]
            for chain in {reply.full_text: reply for reply in right}.values():
                lessons += self._forms(episode.problem, chain)
        return lessons

    def _forms(self, problem: Problem, chain: Message) -> list[Demonstration]:
        with_steps = Demonstration(problem.id, problem.chat.then(chain.with_weight(1.0)), "chain_of_thought")
        if not self.direct_weight:
            return [with_steps]
        asked = put_before(problem.chat, DIRECT if self.direct_prompt is None else self.direct_prompt)
        answer = message(LEARNER, problem.gold or "", "gold", self.direct_weight)
        return [with_steps, Demonstration(problem.id, asked.then(answer), "direct")]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return one greedy reply, a chain of thought."""
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return answered(question, reply.require_complete().by(LEARNER))


DIRECT = "Give only the final answer.\n\n"
