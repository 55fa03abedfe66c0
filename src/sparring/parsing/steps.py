"""Worked answers as steps; feedback as step, part and reason; cutting before an error; comparing.

A `Layout` says how steps are told apart and how feedback on them is worded. The numbered layout is the one of
TriPosT (arXiv 2310.13522, authors' code): `(1) …`, nested `(3.1) …`, last `(Final response) So the answer is …`. The
compact one, ours, says the same in few characters, for learners that read characters.

Not here: whether a step is right. That is a task's to compute.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sparring.common.errors import Unreadable, nearest

FINAL = "Final response"

_LABEL = re.compile(r"^[ \t]*\((?P<label>\d+(?:\.\d+)*|Final response)\)[ \t]*", re.MULTILINE | re.IGNORECASE)
_LINE = re.compile(r"^[^\n]*\S[^\n]*", re.MULTILINE)
# The first opening is the one that counts (atomic): after none of the others is there more to find.
_FAULT = re.compile(
    r'(?>.*?In step \((?P<step>[^()]+)\),? the part ")(?P<part>.*?)" is incorrect'
    r"\.?(?:\s+This is because (?P<reason>.*))?",
    re.DOTALL,
)
_ALL_RIGHT = re.compile(
    r"(?:^|[.!]\s+)(?:the final response is also correct|all steps are correct)\s*(?:[.!]|$)", re.IGNORECASE
)
_TERSE_FAULT = re.compile(r"(?P<step>\d+)(?: (?P<part>[^\n]+))?")


@dataclass(frozen=True)
class Step:
    """One step of an answer: its label (`1`, `3.2`, `Final response`), its words without the label, and its span
    in the answer, label included (character offsets)."""

    label: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Fault:
    """The first wrong step of an answer, the wrong part of it, verbatim, and why it is wrong. `leaked`: its critic
    stated the gold answer, in a reason that was refused."""

    step: str
    part: str
    reason: str = ""
    leaked: bool = field(default=False, compare=False)

    def agrees_with(self, other: Fault) -> bool:
        """Whether both name the same part of the same step: spacing apart, and one part may quote more."""
        mine, theirs = _squeezed(self.part), _squeezed(other.part)
        same_part = mine == theirs or (bool(mine and theirs) and (mine in theirs or theirs in mine))
        return order(self.step) == order(other.step) and same_part


def order(label: str) -> tuple[float, ...]:
    """A key that sorts labels as numbers: 9 before 10, 3.2 before 3.10, the final response last."""
    if label.lower() == FINAL.lower():
        return (math.inf,)
    return tuple(float(number) for number in re.findall(r"\d+", label)) or (math.inf,)


@dataclass(frozen=True)
class StepFormat:
    """How worked answers are laid out, and how feedback on them is worded.

    `feedback` and `update` open those parts of a learner turn: the markers alone tell a learner what comes next.
    """

    name: str
    numbered: bool
    terse: bool
    feedback: str
    update: str

    def write(self, steps: Iterable[str]) -> str:
        """An answer of `steps`; where steps are numbered the last one is the final response."""
        lines = list(steps)
        if not self.numbered:
            return "\n".join(lines)
        labels = [str(number) for number in range(1, len(lines))] + [FINAL]
        return "\n".join(f"({label}) {line}" for label, line in zip(labels, lines, strict=True))

    def split(self, answer: str) -> tuple[Step, ...]:
        """The steps of `answer`: its labels where it has any, otherwise its lines that are not blank."""
        marks = list(_LABEL.finditer(answer)) if self.numbered else []
        if not marks:
            lines = enumerate(_LINE.finditer(answer), start=1)
            return tuple(Step(str(number), line[0].strip(), line.start(), line.end()) for number, line in lines)
        ends = [mark.start() for mark in marks[1:]] + [len(answer)]
        spans = zip(marks, ends, strict=True)
        return tuple(Step(m["label"], answer[m.end() : end].strip(), m.start(), end) for m, end in spans)

    def before(self, answer: str, label: str) -> str:
        """The words of `answer` before step `label`, verbatim: none where it has no steps at all; Unreadable if it has
        steps but not that one."""
        steps = self.split(answer)
        return answer[: steps[self._place(steps, label)].start] if steps else ""

    def located(self, answer: str, fault: Fault) -> Fault:
        """`fault`, its step labelled as in `answer`; Unreadable where `answer` lacks the step, or the step the part."""
        steps = self.split(answer)
        step = steps[self._place(steps, fault.step)]
        if fault.part not in step.text:
            raise Unreadable(
                f"step ({step.label}) does not contain the part {fault.part!r}; quote it letter for letter"
            )
        return replace(fault, step=step.label)

    @staticmethod
    def _place(steps: Sequence[Step], label: str) -> int:
        for place, step in enumerate(steps):
            if order(step.label) == order(label):
                return place
        raise Unreadable(f"the answer has no step ({label})")

    def word(self, answer: str, fault: Fault | None) -> str:
        """Feedback on `answer` in words: `fault`, or that all of it is right."""
        if self.terse:
            return "ok" if fault is None else f"{fault.step} {fault.part}".strip()
        labels = [step.label for step in self.split(answer)]
        if fault is None:
            return f"{_are_correct(_inner(labels))}The final response is also correct."
        right = [label for label in _inner(labels) if order(label) < order(fault.step)]
        because = f" This is because {fault.reason.rstrip('.')}." if fault.reason else ""
        return f'{_are_correct(right)}In step ({fault.step}) the part "{fault.part}" is incorrect.{because}'

    def read(self, feedback: str) -> Fault | None:
        """The fault that `feedback` names, None where it says that all is right; Unreadable if it says neither."""
        words = feedback.strip()
        if self.terse:
            if words == "ok":
                return None
            found = _TERSE_FAULT.fullmatch(words)
        else:
            found = _FAULT.match(words)
            if found is None and _ALL_RIGHT.search(words):
                return None
        if found is None:
            raise Unreadable(f"feedback that names no step and does not say that all is right: {words[:60]!r}")
        reason = (found.groupdict().get("reason") or "").strip().rstrip(".")
        return Fault(found["step"].strip(), found["part"] or "", reason)

    def refusal(self, attempt: str, fault: Fault, update: str) -> str | None:
        """Why `update` does not mend `attempt` at `fault`, None if it may: it must keep what stands before the faulty
        step and change that step (TriPosT, authors' code), or go on after it where the attempt stopped short."""
        if not update.startswith(self.before(attempt, fault.step)):
            return f"it does not keep the steps before ({fault.step})"
        old, new = self.split(attempt), self.split(update)
        place = self._place(old, fault.step) if old else 0  # by place: a label may be mended too
        if len(new) <= place:
            return f"it has no step ({fault.step})"
        goes_on = place == len(old) - 1 and len(new) > len(old)
        if old and not goes_on and self._shape(attempt, old[place]) == self._shape(update, new[place]):
            return f"it does not change step ({fault.step})"
        return None

    def _shape(self, answer: str, step: Step) -> tuple[str, list[str]]:
        """A step's words and the indentation of its lines (of a numbered one, of those after the label's). Spaces part
        words, in whatever number."""
        lines = [line for line in answer[step.start : step.end].splitlines() if line.strip()]
        indents = [line[: len(line) - len(line.lstrip())] for line in lines]
        return " ".join(step.text.split()), indents[1:] if self.numbered else indents


NUMBERED = StepFormat("numbered", numbered=True, terse=False, feedback="\nFeedback: ", update="\nUpdated answer:\n")
LINES = StepFormat("lines", numbered=False, terse=False, feedback="\nFeedback: ", update="\nUpdated answer:\n")
COMPACT = StepFormat("compact", numbered=False, terse=True, feedback="\n?", update="\n!")

_LAYOUTS = {layout.name: layout for layout in (NUMBERED, LINES, COMPACT)}


def layout(name: str) -> StepFormat:
    """The layout called `name`."""
    if name not in _LAYOUTS:
        raise nearest("layout", name, _LAYOUTS)
    return _LAYOUTS[name]


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _inner(labels: Sequence[str]) -> list[str]:
    """The labels before the final response, which is the last one."""
    return list(labels[:-1])


def _are_correct(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    if len(labels) == 1:
        return f"Step ({labels[0]}) is correct. "
    return f"Step ({labels[0]}) to ({labels[-1]}) are correct. "
