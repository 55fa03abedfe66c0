"""An editor that is a speaker: it is given the steps before the fault and asked to go on from there."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import Unreadable
from sparring.core.partner import ask, conversation
from sparring.core.prompt import check_blanks, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import Fault


@dataclass(frozen=True)
class ModelEditor:
    """Asks a speaker to finish an attempt. The steps before the fault are kept verbatim, whatever the speaker does to
    them; an update that does not change the faulty step is refused."""

    name: ClassVar[str] = "model_editor"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    task: Task
    temperature: Annotated[float, Ge(0)] = 0.7  # TriPosT, authors' code
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None

    def __post_init__(self) -> None:
        check_blanks(self.prompt or "", ("question", "kept", "step", "wrong", "reason"))

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """The kept steps and the speaker's continuation."""
        layout = self.task.layout
        kept = layout.before(attempt, fault.step)

        def read(reply: str) -> str:
            words = _unwrapped(reply)
            update = words if kept and words.lstrip().startswith(kept.strip()) else kept + words
            if reason := layout.refusal(attempt, fault, update):
                raise Unreadable(f"the update is refused: {reason}")
            return update

        prompt = fill(
            self.prompt or EDITOR_PROMPT,
            question=conversation(problem.chat, "student"),
            kept=kept.rstrip() or "(none: start from the beginning)",
            step=fault.step,
            wrong=fault.part,
            reason=fault.reason or "none given",
        )
        return await ask(self.speaker, prompt, read, Sampling(self.temperature, max_tokens=self.max_tokens))


def _unwrapped(reply: str) -> str:
    """`reply` without what stands around it; its first line stays indented, as code may be, by more than a space."""
    words = re.sub(r"\A(?:[^\S\n]*\n)+", "", reply).rstrip()
    return words if words.startswith(("  ", "\t")) else words.lstrip()


EDITOR_PROMPT = """A student's answer goes wrong at step ({step}): the part "{wrong}" is incorrect. Reason: {reason}.

Question:
{question}

The steps before, which are right:
{kept}

Write the rest of the answer in the same layout. Begin with the corrected step ({step}) and go on to the final answer. \
Do not repeat the steps before, and write nothing else."""
