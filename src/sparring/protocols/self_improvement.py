"""Attempt, own feedback, update: how often does a learner find and repair its own mistakes?

The measures are those of TriPosT (arXiv 2310.13522) in our definition: right at the first attempt, improved (revised at
least once and right in the end), and both together, the accuracy. A learner that was trained to revise uses its own
procedure. Any other learner is prompted, which is the baseline "self-improvement by prompting alone".

The prompted procedure is ours, in the form of Self-Refine (Madaan et al., arXiv 2303.17651): the same learner is asked
for a review of its answer and, if it calls the answer wrong, for a new answer, with the whole conversation in view.
There are no examples in the prompts, since tasks have no wrong attempts to show.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import ConversationError, Failure, Unreadable
from sparring.core.chat import LEARNER, USER, Chat
from sparring.core.method import Answered
from sparring.core.prompt import check_placeholders
from sparring.core.protocol import ACCURACY, EvaluationProtocol, Measured, Measures, Participant, revision_measures
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat


@dataclass(frozen=True)
class SelfImprovement(EvaluationProtocol):
    """An answer that the learner may review and revise by itself, as it was trained to or as a prompt asks it to.

    With `prompted`, a learner that was trained to revise is prompted too; each of its replies has at most `max_tokens`.
    A prompt of one's own must ask for the same last line: `Verdict: correct` or `Verdict: wrong`.
    """

    name: ClassVar[str] = "self_improvement"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    primary: ClassVar[str] = ACCURACY
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    prompted: bool = False
    updates: Annotated[int, Ge(1)] = 2  # at most, if prompted; a method that revises has its own limit
    max_tokens: Annotated[int, Gt(0)] = 512
    review_prompt: str | None = None
    update_prompt: str | None = None

    def __post_init__(self) -> None:
        for prompt in (self.review_prompt, self.update_prompt):
            check_placeholders(prompt or "", ())

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Compare the first attempt with the last, and the first feedback with the truth."""
        [learner] = learners
        if learner.revises and not self.prompted:
            answered = await learner.answer(problem.chat)
            reviewed = _Reviewed(answered, _flags_first(answered, learner.layout))
        else:
            reviewed = await self._prompt(problem.chat, self._as_prompted(learner))
        answered = reviewed.answered
        measures = revision_measures(problem, task, answered)
        right = task.is_right(problem, answered.response)
        measures = {ACCURACY: right, **measures, "improved": measures["revised"] and right}
        if reviewed.flags_first is not None:
            measures["false_alarm" if measures["right_first"] else "found"] = reviewed.flags_first
        return Measured(measures, answered.response, (answered.chat,), reviewed.failures)

    def unanswered(self) -> Measures:
        """Return the measures of a problem without a first attempt: nothing right, nothing revised."""
        return dict.fromkeys((ACCURACY, "right_first", "revised", "fixed", "broken", "improved"), False)

    def _as_prompted(self, learner: Participant) -> Participant:
        return learner.plain(self.max_tokens) if learner.revises else learner

    async def _prompt(self, question: Chat, learner: Participant) -> _Reviewed:
        """Ask for reviews and updates until a review calls the answer right, a reply fails or `updates` are made."""
        first = await learner.answer(question)
        chat, attempts, verdicts = first.chat, [first.response], list[bool]()
        failures: tuple[Failure, ...] = ()
        try:
            while len(attempts) <= self.updates:
                review = await learner.answer(chat.say(USER, self.review_prompt or REVIEW))
                chat = review.chat
                verdicts.append(_calls_wrong(review.response))
                if not verdicts[-1]:
                    break
                update = await learner.answer(chat.say(USER, self.update_prompt or UPDATE))
                chat = update.chat
                attempts.append(update.response)
        except ConversationError as error:
            failures = (Failure.of(error, LEARNER),)
        answered = Answered(chat, attempts[-1], tuple(attempts))
        return _Reviewed(answered, verdicts[0] if verdicts else None, failures)


@dataclass(frozen=True)
class _Reviewed:
    """An answer, and whether the first feedback calls the first attempt wrong (None: it cannot be read)."""

    answered: Answered
    flags_first: bool | None
    failures: tuple[Failure, ...] = ()


def _flags_first(answered: Answered, layout: StepFormat) -> bool | None:
    """Return whether the feedback that a method's learner wrote after its first attempt names a fault."""
    attempt = answered.attempts[0]
    own, marker, rest = answered.chat.text.removeprefix(attempt).partition(layout.feedback)
    if own or not marker:
        return None
    try:
        fault = layout.read_feedback(rest.partition(layout.update)[0])
        return fault is not None and layout.locate(attempt, fault) is not None
    except ConversationError:
        return None


def _calls_wrong(review: str) -> bool:
    """Return whether the last verdict of `review` is "wrong"; Unreadable if it has none on a line of its own."""
    verdicts = _VERDICT.findall(review)
    if not verdicts:
        raise Unreadable(f"the review ends in no verdict: {review[-60:]!r}")
    return verdicts[-1].lower() in ("wrong", "incorrect")


_VERDICT = re.compile(r"^[^\w\n]*+verdict\W++(correct|right|wrong|incorrect)[^\w\n]*+$", re.IGNORECASE | re.MULTILINE)

REVIEW = """Review your answer. Check it step by step and look for the first mistake. If you find one, say what is \
wrong and why. Do not write a new answer yet.

End with a line that says either "Verdict: correct" or "Verdict: wrong"."""

UPDATE = """Now answer the question again without that mistake. Write the whole answer, in the same form as before."""
