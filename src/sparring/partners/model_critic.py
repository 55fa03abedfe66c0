"""A critic that asks a speaker for the first wrong step, the wrong part and the reason.

The learner trains on the reason, so it must not state the gold answer (`core.leakage`). If it does, the critic asks
once more; if the second reason does so too, the fault keeps no reason. The correct value of the last step is the gold
answer too: writing it is the editor's task. Gold in the steps before the fault or in the quoted part is no leak.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.leakage import states_gold
from sparring.core.partner import ask, conversation
from sparring.core.prompt import check_placeholders, fill, placeholders
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import LINES, Fault, StepFormat


@dataclass(frozen=True)
class Example:
    """A question, an `answer` to it, and the expected `feedback` in the requested form."""

    question: str
    answer: str
    feedback: str


@dataclass(frozen=True)
class ModelCritic:
    """Asks a speaker where an attempt first goes wrong.

    With `told_gold` the prompt shows the right answer, to decide *whether* something is wrong. A custom `prompt` gets
    the attempt as numbered `{steps}` or unchanged as `{answer}`. `examples` (a text or a list) precede the question.
    """

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
        check_placeholders(self.prompt or "", ("question", "steps", "answer", "gold", "examples"))
        if self.examples and "examples" not in placeholders(self.prompt or CRITIC_PROMPT):
            raise ConfigError("the prompt of the critic has no blank for its examples; add {examples} to it")
        self._format_examples()  # raises if an example is invalid

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return the first fault, whose quoted part must occur in the named step; None if all steps are correct."""
        layout, leaks = self.task.layout, 0

        def read(reply: str) -> Fault | None:
            nonlocal leaks
            fault = _read(reply, layout, attempt)
            if fault is None:
                return None
            shown = layout.before(attempt, fault.step) + fault.part
            if states_gold(self.task, problem, fault.reason, shown):
                leaks += 1
                if leaks == 1:
                    raise Unreadable("the reason states the final answer; say what is wrong without it")
                fault = replace(fault, reason="")
            return replace(fault, leaked=leaks > 0)

        prompt = fill(
            self.prompt or CRITIC_PROMPT,
            question=conversation(problem.chat, "student"),
            answer=attempt,
            steps=_numbered(layout, attempt),
            gold=fill(CRITIC_GOLD, gold=problem.gold) if self.told_gold and problem.gold is not None else "",
            examples=self._format_examples(),
        )
        return await ask(self.speaker, prompt, read, Sampling(self.temperature, max_tokens=self.max_tokens))

    def _format_examples(self) -> str:
        """Return the examples as text for the prompt; ConfigError if the critic would reject an example's feedback."""
        if isinstance(self.examples, str):
            return f"\n{self.examples.strip()}\n" if self.examples.strip() else ""
        text = ""
        for number, example in enumerate(self.examples, start=1):
            steps = _numbered(self.task.layout, example.answer)
            try:
                _read(example.feedback, self.task.layout, example.answer)
            except Unreadable as error:
                raise ConfigError(
                    f"example {number} of the critic has feedback that the critic would reject: {error}"
                ) from error
            values = {"number": str(number), "question": example.question, "steps": steps, "feedback": example.feedback}
            text += fill(EXAMPLE, **values)
        return text + NOW if text else ""


def _numbered(layout: StepFormat, attempt: str) -> str:
    return "\n".join(f"({step.label}) {step.text}" for step in layout.split(attempt))


def _read(reply: str, layout: StepFormat, attempt: str) -> Fault | None:
    """Return the fault in `attempt` that `reply` names; raises Unreadable."""
    fault = LINES.read_feedback(reply)
    return None if fault is None else layout.locate(attempt, fault)


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
