"""Supervised fine-tuning on worked answers, conversations and plain texts: the baseline, and the warm-up of the others.

There is no partner. Of a conversation every turn of the assistant is taught, at the weights of the data. Its thoughts
are written as the learner's chat template writes thoughts, since the learner will write them so.

Ours: with a `thought_format`, the thought of the last reply takes that form instead, and only this reply is taught. Of
a worked answer, the steps become the thought and the gold answer the response. So a model that cannot follow the
thought prompt yet learns its form.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.core.chat import GOLD, LEARNER, Chat, message
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
    """Imitates worked answers and conversations: all turns of the assistant, or the last with `turns = "last"`.

    With `learn = "answer"`, the bare gold answer of each row that has one.
    """

    name: ClassVar[str] = "sft"
    needs: ClassVar[frozenset[Offer]] = frozenset({"worked"})
    schedule: ClassVar[Schedule] = Schedule(problems=None, epochs=1, lifetime="phase")
    offline: ClassVar[bool] = True

    learn: Literal["rationale", "answer"] = "rationale"
    turns: Literal["all", "last"] = "all"
    thought_format: str = "none"
    thought_prompt: str | None = None
    max_tokens: Annotated[int, Ge(1)] = 512

    def __post_init__(self) -> None:
        if self.form.marker:  # of this one, not of the class
            object.__setattr__(self, "needs", type(self).needs | {"thoughts"})

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
        """Return one demonstration for each problem that has something to teach."""
        taught = [(episode.problem.id, self._taught(episode)) for episode in episodes]
        return [Demonstration(problem, chat) for problem, chat in taught if chat.text or chat.last.tools]

    def _taught(self, episode: Episode) -> Chat:
        """Return the chat to imitate."""
        problem = episode.problem
        if problem.worked is None or self._wants_answer(problem):
            return episode.chat.then(message(LEARNER, self._gold(problem), GOLD, weight=1.0))
        *earlier, last = problem.worked.messages  # not episode.chat: in the data a user may have the last word
        context = Chat(tuple(turn.with_weight(0.0) for turn in earlier))
        if self.form.marker:
            asked = ask_for_thought(self.form, context, self.thought_prompt)
            return asked.then(message(LEARNER, self._with_thought(problem), GOLD, weight=1.0))
        return problem.worked if self.turns == "all" else context.then(last)

    def _gold(self, problem: Problem) -> str:
        answer, rationale = problem.gold or "", problem.rationale
        if self.form.marker and rationale is not None:
            return self.form.join(problem.reasoning, answer)
        return answer if rationale is None or self._wants_answer(problem) else rationale

    def _wants_answer(self, problem: Problem) -> bool:
        return self.learn == "answer" and problem.gold is not None

    def _with_thought(self, problem: Problem) -> str:
        """Return the last reply of a conversation in the thought format; without a thought, its worked answer."""
        thought = "".join(part.text for part in problem.worked.last.parts if part.thought) if problem.worked else ""
        return self.form.join(thought, problem.worked.last.text) if problem.worked and thought else self._gold(problem)

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return one greedy reply without its thought."""
        prompt = ask_for_thought(self.form, question, self.thought_prompt)
        reply = (await learner.reply(prompt, Sampling(temperature=0, max_tokens=self.max_tokens))).require_complete()
        response = self.form.split(reply.text).answer.text
        return Answered(prompt.then(reply.by(LEARNER)), response, (response,))
