"""With and without a thought: what it costs in length, how often it cannot be read, and what it does to accuracy.

The learner answers three times: as it was trained to think (or prompted to, if it never was), without a thought, and
with the final answer only. Without a thought means the question alone. A learner that was trained to think may think
unasked, so it gets an empty thought instead and continues after it. "Thinking LLMs" (arXiv 2410.10630) saw the
answer-only accuracy collapse on GSM8K while free-form answers held. The prompt that asks for the answer only is ours.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Gt

from sparring.core.chat import LEARNER, Chat, Part, message
from sparring.core.method import Answered
from sparring.core.prompt import ask_for_thought, check_placeholders, fill
from sparring.core.protocol import EvaluationProtocol, Measured, NoAnswer, Participant
from sparring.core.speaker import Reply, Sampling, Speaker, prefill
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat
from sparring.parsing.thought import ThoughtFormat, thought_format


@dataclass(frozen=True)
class ThoughtComparison(EvaluationProtocol):
    """Answers with a thought, without one and with the answer only: accuracies, lengths and readable replies.

    `thought_format` and `thought_prompt` prompt a learner that was not trained to think. `readable`: the first reply
    with a thought can be read; a learner that samples again may still answer. Lengths are characters; a native thought
    counts as thought. A task without gold answers gets no accuracies.
    """

    name: ClassVar[str] = "thinking"
    needs: ClassVar[frozenset[Offer]] = frozenset({"question"})
    primary: ClassVar[str] = "readable"  # the one measure that every task and every answer has
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    thought_format: str = "generic"
    thought_prompt: str | None = None
    answer_prompt: str | None = None
    max_tokens: Annotated[int, Gt(0)] = 1024

    def __post_init__(self) -> None:
        thought_format(self.thought_format)
        check_placeholders(self.answer_prompt or "", ("question",))

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask three times at once; an answer that fails counts as wrong and has no length."""
        [learner] = learners
        thinker, plain = self._thinker(learner), learner.plain(self.max_tokens)
        speaker = _Counting(learner.speaker)
        if learner.form.marker:  # it may think unasked
            plain = replace(learner, speaker=_EmptyThought(learner.speaker, learner.form))
        with_thought, without, answer_only = given = await asyncio.gather(
            replace(thinker, speaker=speaker).try_answer(problem.chat),
            plain.try_answer(problem.chat),
            plain.try_answer(self._answer_only(problem.chat)),
        )
        measures: dict[str, bool | float] = {self.primary: isinstance(with_thought, Answered) and speaker.replies == 1}
        for name, one in (("thinking", with_thought), ("plain", without), ("answer_only", answer_only)):
            measures |= _measures(name, problem, task, one)
        if isinstance(with_thought, Answered):
            measures["thought_characters"] = _thought_length(with_thought, thinker.form)
        return Measured(
            measures,
            with_thought.response if isinstance(with_thought, Answered) else "",
            tuple(one.chat for one in given),
            tuple(one.failure for one in given if isinstance(one, NoAnswer)),
        )

    def _thinker(self, learner: Participant) -> Participant:
        """Return the learner as its method trained it to think, or else prompted to think."""
        if learner.form.marker:
            return learner
        return replace(
            learner, answers=_Prompted(thought_format(self.thought_format), self.thought_prompt, self.max_tokens)
        )

    def _answer_only(self, question: Chat) -> Chat:
        *before, last = question.messages
        return Chat((*before, message(last.author, fill(self.answer_prompt or ANSWER_ONLY, question=last.text))))


def _measures(name: str, problem: Problem, task: Task, given: Answered | NoAnswer) -> dict[str, bool | float]:
    """Return accuracy, if the problem has a gold answer, and length, if there is an answer."""
    measures: dict[str, bool | float] = {}
    if problem.gold is not None:
        measures[f"accuracy_{name}"] = isinstance(given, Answered) and task.is_right(problem, given.response)
    if isinstance(given, Answered):
        measures[f"response_characters_{name}"] = len(given.response)
    return measures


def _thought_length(answered: Answered, form: ThoughtFormat) -> int:
    """Return the characters of the thought: written in `form`, native, or both."""
    reply = answered.chat.last
    return len(form.split(reply.text).thought or "") + len(reply.full_text) - len(reply.text)


@dataclass(frozen=True)
class _Prompted:
    """One greedy reply to the question after a prompt that asks for a thought."""

    form: ThoughtFormat
    prompt: str | None
    max_tokens: int

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return the response; Unreadable if the reply does not follow the form."""
        chat = ask_for_thought(self.form, question, self.prompt)
        reply = await learner.reply(chat, Sampling(temperature=0, max_tokens=self.max_tokens))
        response = self.form.split(reply.require_complete().text).answer.text
        return Answered(chat.then(reply.by(LEARNER)), response, (response,))


class _Counting:
    """A speaker that counts its replies."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker, self.replies = speaker, 0

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.replies += 1
        return await self._speaker.reply(chat, sampling, sample)


@dataclass(frozen=True)
class _EmptyThought:
    """A speaker whose replies start with an empty thought in `form`."""

    speaker: Speaker
    form: ThoughtFormat

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        start = Part(self.form.join("", ""), "protocol")
        reply = await self.speaker.reply(prefill(chat, LEARNER, [start]), sampling, sample)
        return replace(reply, parts=(start, *reply.parts))


ANSWER_ONLY = """{question}

Give only the final answer. Do not explain it and show no steps."""
