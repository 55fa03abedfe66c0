"""The interface of an evaluation protocol: measure learners on one problem. The engine does the rest for all protocols.

`measure` plays one problem with the learners and returns named measures; it is asynchronous, and hundreds of problems
run at once. Means, intervals, bins, progress and files are written once, in `evaluation` and `runs`.

A protocol is a frozen dataclass in `protocols/`, one file each. Its fields are its settings; fields typed as a role of
`partner` are filled by a table, as in a method.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

from sparring.common.errors import ConversationError, Failure
from sparring.core.chat import LEARNER, Chat
from sparring.core.method import Answered, answered
from sparring.core.speaker import PARTNER, Reply, Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat
from sparring.parsing.thought import NONE, ThoughtFormat
from sparring.parsing.votes import ballots

Measures = Mapping[str, bool | float]

ACCURACY = "accuracy"


class Answers(Protocol):
    """A way to answer: every method, and `SingleReply`."""

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return `learner`'s answer to `question`; ConversationError if it gives none."""
        ...


@dataclass(frozen=True)
class SingleReply:
    """One greedy reply to the question alone, without the procedure that a method adds at use."""

    max_tokens: int = 512

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return the reply unchanged."""
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return answered(question, reply.require_complete().by(LEARNER))


def form_of(answers: Answers) -> ThoughtFormat:
    """Return the form of a reply: the attribute `form` of a method, or the form without a thought."""
    form = getattr(answers, "form", NONE)
    return form if isinstance(form, ThoughtFormat) else NONE


@dataclass(frozen=True)
class Participant:
    """A learner on one problem: the speaker that replies, and the way in which it was trained to answer."""

    name: str
    speaker: Speaker
    answers: Answers
    layout: StepFormat

    @property
    def revises(self) -> bool:
        """Whether an answer may consist of several attempts: its method has `revises = True`."""
        return getattr(self.answers, "revises", False) is True

    @property
    def form(self) -> ThoughtFormat:
        """The form of a reply."""
        return form_of(self.answers)

    async def answer(self, question: Chat) -> Answered:
        """Return the learner's answer, as it was trained to answer; ConversationError if it gives none."""
        return await self.answers.answer(question, self.speaker, self.layout)

    async def try_answer(self, question: Chat) -> Answered | NoAnswer:
        """Return the learner's answer, or why there is none."""
        heard = Heard(self.speaker)
        try:
            return await replace(self, speaker=heard).answer(question)
        except ConversationError as error:
            return NoAnswer(Failure.of(error, LEARNER), *(heard.chats or (question,)))

    def sampled(self, temperature: float, top_p: float, sample: int) -> Participant:
        """Return the same learner with its replies sampled; `sample` numbers independent draws."""
        return replace(self, speaker=_Resampled(self.speaker, temperature, top_p, sample))

    def plain(self, max_tokens: int) -> Participant:
        """Return the same learner, which gives a single reply instead of what its method trained."""
        return replace(self, answers=SingleReply(max_tokens))


@dataclass(frozen=True)
class NoAnswer:
    """A failure of the learner, and the conversation up to the reply that could not be used, if there was one."""

    failure: Failure
    chat: Chat


@dataclass
class Heard:
    """A learner's speaker that keeps its newest conversation: the transcript of an answer that fails."""

    speaker: Speaker
    chats: tuple[Chat, ...] = ()

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the speaker's reply."""
        self.chats = (chat,)
        reply = await self.speaker.reply(chat, sampling, sample)
        self.chats = (chat.then(reply.by(LEARNER)),)
        return reply


_STRIDE = 1_000  # more than the replies to one prompt that any method's `answer` samples


@dataclass(frozen=True)
class _Resampled:
    """Samples the replies that a method asks for, whatever temperature it asks for."""

    speaker: Speaker
    temperature: float
    top_p: float
    sample: int

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        sampling = replace(sampling, temperature=self.temperature, top_p=self.top_p)
        return await self.speaker.reply(chat, sampling, self.sample * _STRIDE + sample)


@dataclass(frozen=True)
class AsLearner:
    """A speaker in the learner's place: it sees the learner's messages as its own."""

    speaker: Speaker

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the speaker's reply."""
        messages = (replace(said, author=PARTNER) if said.author == LEARNER else said for said in chat.messages)
        return await self.speaker.reply(Chat(tuple(messages)), sampling, sample)


@dataclass(frozen=True)
class Measured:
    """One problem's result.

    `measures` are booleans and numbers by name; a measure that does not apply to this problem is left out.
    `transcripts` are the conversations, `response` the learner's final response, `failures` the conversation errors.
    """

    measures: Measures
    response: str = ""
    transcripts: tuple[Chat, ...] = ()
    failures: tuple[Failure, ...] = ()


def ballots_of(problem: Problem, responses: Sequence[str], right: Sequence[bool]) -> list[str]:
    """Return a key for each response to `problem`; two responses give the same answer if their keys are equal."""
    return ballots(responses, right, problem.gold, problem.data.get("choices", ()))


def revision_measures(problem: Problem, task: Task, answered: Answered) -> dict[str, bool]:
    """Compare the first attempt of an answer with the last: directly right, revised, fixed, broken (TriPosT)."""
    right_first, right = (task.is_right(problem, text) for text in (answered.attempts[0], answered.response))
    return {
        "right_first": right_first,
        "revised": len(answered.attempts) > 1,
        "fixed": right and not right_first,
        "broken": right_first and not right,
    }


@runtime_checkable
class EvaluationProtocol(Protocol):
    """A way to measure learners."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Offer]]
    primary: ClassVar[str]  # the measure that ranks learners
    learners: ClassVar[tuple[int, int | None]]  # the fewest and the most; None: no limit

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Measure `learners` on one problem; ConversationError if the first of them gives no answer."""
        ...

    def unanswered(self) -> Measures:
        """Return the measures of a problem without an answer."""
        return {self.primary: False}

    def exports(self, learner: str, responses: Sequence[tuple[Problem, str]]) -> Mapping[str, str]:
        """Return files that other tools read, by path, made from the first learner's responses; most have none."""
        return {}

    def summarize(self, measures: Sequence[Measures]) -> Mapping[str, Any]:
        """Return figures that are no means of the problems' measures (plain data); most protocols have none."""
        return {}
