"""A critic that is a speaker: asked for the first wrong step, its part and the reason, and read strictly.

A reason is learnt, so it must not state the gold answer (`leakage`): one that does is asked for once more. If the next
one does so too, the fault is kept without a reason. The right value of a last step is the gold answer as well; to write
it is the editor's part. Gold that stands in the steps before the fault, or in the part that is quoted, is known.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.leakage import states_gold
from sparring.core.partner import ask, conversation
from sparring.core.prompt import blanks, check_blanks, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import LINES, Fault, StepFormat


@dataclass(frozen=True)
class Example:
    """A question, somebody's `answer` to it, and the `feedback` that is to be given, in the form asked for."""

    question: str
    answer: str
    feedback: str


@dataclass(frozen=True)
class ModelCritic:
    """Asks a speaker where an attempt first goes wrong. With `told_gold` it is shown the right answer, to decide
    *whether* something is wrong. A prompt has the attempt as numbered `{steps}`, or as it is, in `{answer}`.
    `examples`, a text or a list of them, stand before the question."""

    name: ClassVar[str] = "model_critic"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    task: Task
    told_gold: bool = True
    examples: str | tuple[Example, ...] = ""
    temperature: Annotated[float, Ge(0)] = 0.0
    max_tokens: Annotated[int, Gt(0)] = 512
    prompt: str | None = None

    def __post_init__(self) -> None:
        check_blanks(self.prompt or "", ("question", "steps", "answer", "gold", "examples"))
        if self.examples and "examples" not in blanks(self.prompt or CRITIC_PROMPT):
            raise ConfigError("the prompt of the critic has no place for its examples; put the blank {examples} in it")
        self._shown()  # says what is wrong with them

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """The first fault; the part it quotes must stand in the step it names."""
        layout, refused = self.task.layout, 0

        def read(reply: str) -> Fault | None:
            nonlocal refused
            fault = _read(reply, layout, attempt)
            if fault is None:
                return None
            known = layout.before(attempt, fault.step) + fault.part
            if states_gold(self.task, problem, fault.reason, known):
                refused += 1
                if refused == 1:
                    raise Unreadable("the reason states the final answer; say what is wrong without it")
                fault = replace(fault, reason="")
            return replace(fault, leaked=refused > 0)

        prompt = fill(
            self.prompt or CRITIC_PROMPT,
            question=conversation(problem.chat, "student"),
            answer=attempt,
            steps=_numbered(layout, attempt),
            gold=fill(CRITIC_GOLD, gold=problem.gold) if self.told_gold and problem.gold is not None else "",
            examples=self._shown(),
        )
        return await ask(self.speaker, prompt, read, Sampling(self.temperature, max_tokens=self.max_tokens))

    def _shown(self) -> str:
        """The examples in the words of the prompt; ConfigError where the feedback of one would be refused."""
        if isinstance(self.examples, str):
            return f"\n{self.examples.strip()}\n" if self.examples.strip() else ""
        words = ""
        for number, example in enumerate(self.examples, start=1):
            steps = _numbered(self.task.layout, example.answer)
            try:
                _read(example.feedback, self.task.layout, example.answer)
            except Unreadable as error:
                raise ConfigError(
                    f"example {number} of the critic has feedback that it would refuse: {error}"
                ) from error
            told = {"number": str(number), "question": example.question, "steps": steps, "feedback": example.feedback}
            words += fill(EXAMPLE, **told)
        return words + NOW if words else ""


def _numbered(layout: StepFormat, attempt: str) -> str:
    return "\n".join(f"({step.label}) {step.text}" for step in layout.split(attempt))


def _read(reply: str, layout: StepFormat, attempt: str) -> Fault | None:
    """The fault that `reply` names in `attempt`; raises Unreadable."""
    fault = LINES.read(reply)
    return None if fault is None else layout.located(attempt, fault)


CRITIC_GOLD = """
The correct final answer is {gold}. Use it only to decide whether something is wrong; do not mention it.
"""

EXAMPLE = """
Example {number}

Question:
{question}

The student's answer:
{steps}

Your reply:
{feedback}
"""

NOW = "\nNow check this answer.\n"

CRITIC_PROMPT = """Check a student's answer step by step.
{examples}
Question:
{question}

The student's answer:
{steps}
{gold}
If every step is right, reply exactly:
All steps are correct.
Otherwise find the first step that is wrong. Reply exactly in this form, with the number of the step, the wrong part \
copied letter for letter, and a reason that does not state the final answer:
In step (2) the part "the wrong part" is incorrect. This is because the reason in a few words."""
