"""Split worked answers into steps, parse and write feedback on them, and cut or compare them at a step.

A `StepFormat` defines how steps are marked and how feedback on them is worded. The numbered format is TriPosT's
(arXiv 2310.13522, authors' code): `(1) …`, nested `(3.1) …`, last `(Final response) So the answer is …`. The compact
format, ours, says the same in few characters, for learners whose tokens are characters.

Tasks compute whether a step is right.
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
# Atomic: if no fault follows the first opening, none follows a later one, so do not backtrack.
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
    """One step of an answer.

    `label` is `1`, `3.2` or `Final response`, `text` the step without the label. `start` and `end` are character
    offsets in the answer; they include the label.
    """

    label: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Fault:
    """The first wrong step of an answer (its label), its wrong part, verbatim, and the reason.

    `leaked`: the critic stated the gold answer in a reason that was rejected.
    """

    step: str
    part: str
    reason: str = ""
    leaked: bool = field(default=False, compare=False)

    def agrees_with(self, other: Fault) -> bool:
        """Return whether both name the same part of a step. Spacing is ignored; one part may contain the other."""
        mine, theirs = _without_spaces(self.part), _without_spaces(other.part)
        is_same_part = mine == theirs or (bool(mine and theirs) and (mine in theirs or theirs in mine))
        return order(self.step) == order(other.step) and is_same_part


def order(label: str) -> tuple[float, ...]:
    """Return a sort key for labels as numbers: 9 before 10, 3.2 before 3.10, the final response last."""
    if label.lower() == FINAL.lower():
        return (math.inf,)
    return tuple(float(number) for number in re.findall(r"\d+", label)) or (math.inf,)


@dataclass(frozen=True)
class StepFormat:
    """How worked answers and feedback on them are written.

    `feedback` and `update` are the markers that open those parts of a learner turn; nothing else tells the learner
    which part comes next.
    """

    name: str
    numbered: bool
    terse: bool
    feedback: str
    update: str

    def write(self, steps: Iterable[str]) -> str:
        """Write an answer of `steps`; if steps are numbered, the last one is labelled as the final response."""
        lines = list(steps)
        if not self.numbered:
            return "\n".join(lines)
        labels = [str(number) for number in range(1, len(lines))] + [FINAL]
        return "\n".join(f"({label}) {line}" for label, line in zip(labels, lines, strict=True))

    def split(self, answer: str) -> tuple[Step, ...]:
        """Split `answer` at its labels, or into its non-blank lines if it has no labels."""
        labels = list(_LABEL.finditer(answer)) if self.numbered else []
        if not labels:
            lines = enumerate(_LINE.finditer(answer), start=1)
            return tuple(Step(str(number), line[0].strip(), line.start(), line.end()) for number, line in lines)
        ends = [label.start() for label in labels[1:]] + [len(answer)]
        spans = zip(labels, ends, strict=True)
        return tuple(Step(m["label"], answer[m.end() : end].strip(), m.start(), end) for m, end in spans)

    def before(self, answer: str, label: str) -> str:
        """Return the text of `answer` before step `label`, verbatim; "" if it has no steps.

        Unreadable if it has steps but not this one.
        """
        steps = self.split(answer)
        return answer[: steps[self._index(steps, label)].start] if steps else ""

    def locate(self, answer: str, fault: Fault) -> Fault:
        """Return `fault` with its step labelled as in `answer`; Unreadable if `answer` lacks the step or the part."""
        steps = self.split(answer)
        step = steps[self._index(steps, fault.step)]
        if fault.part not in step.text:
            raise Unreadable(
                f"step ({step.label}) does not contain the part {fault.part!r}; quote it letter for letter"
            )
        return replace(fault, step=step.label)

    @staticmethod
    def _index(steps: Sequence[Step], label: str) -> int:
        for index, step in enumerate(steps):
            if order(step.label) == order(label):
                return index
        raise Unreadable(f"the answer has no step ({label})")

    def write_feedback(self, answer: str, fault: Fault | None) -> str:
        """Write feedback on `answer`: that `fault` is its first fault, or that all of it is right (None)."""
        if self.terse:
            return "ok" if fault is None else f"{fault.step} {fault.part}".strip()
        labels = [step.label for step in self.split(answer)]  # the last one is the final response
        if fault is None:
            return f"{_are_correct(labels[:-1])}The final response is also correct."
        right = [label for label in labels[:-1] if order(label) < order(fault.step)]
        because = f" This is because {fault.reason.rstrip('.')}." if fault.reason else ""
        return f'{_are_correct(right)}In step ({fault.step}) the part "{fault.part}" is incorrect.{because}'

    def read_feedback(self, feedback: str) -> Fault | None:
        """Return the fault that `feedback` names, None if it says that all is right; Unreadable if it says neither."""
        text = feedback.strip()
        if self.terse:
            if text == "ok":
                return None
            match = _TERSE_FAULT.fullmatch(text)
        else:
            match = _FAULT.match(text)
            if match is None and _ALL_RIGHT.search(text):
                return None
        if match is None:
            raise Unreadable(f"feedback that names no step and does not say that all is right: {text[:60]!r}")
        reason = (match.groupdict().get("reason") or "").strip().rstrip(".")
        return Fault(match["step"].strip(), match["part"] or "", reason)

    def refusal(self, attempt: str, fault: Fault, update: str) -> str | None:
        """Return why `update` cannot be a correction of `attempt` at `fault`; None if it can.

        An update must keep the text before the faulty step and change that step (TriPosT, authors' code). If the fault
        is in the last step, it may instead add steps, since the attempt may have stopped too early.
        """
        if not update.startswith(self.before(attempt, fault.step)):
            return f"it does not keep the steps before ({fault.step})"
        old, new = self.split(attempt), self.split(update)
        index = self._index(old, fault.step) if old else 0  # compare by position: an update may correct the label
        if len(new) <= index:
            return f"it has no step ({fault.step})"
        adds_steps = index == len(old) - 1 and len(new) > len(old)
        if old and not adds_steps and self._normalised(attempt, old[index]) == self._normalised(update, new[index]):
            return f"it does not change step ({fault.step})"
        return None

    def _normalised(self, answer: str, step: Step) -> tuple[str, list[str]]:
        """Return a step's words, single-spaced, and the indentation of its lines (numbered: except the first line)."""
        lines = [line for line in answer[step.start : step.end].splitlines() if line.strip()]
        indents = [line[: len(line) - len(line.lstrip())] for line in lines]
        return " ".join(step.text.split()), indents[1:] if self.numbered else indents


NUMBERED = StepFormat("numbered", numbered=True, terse=False, feedback="\nFeedback: ", update="\nUpdated answer:\n")
LINES = StepFormat("lines", numbered=False, terse=False, feedback="\nFeedback: ", update="\nUpdated answer:\n")
COMPACT = StepFormat("compact", numbered=False, terse=True, feedback="\n?", update="\n!")

_FORMATS = {step_format.name: step_format for step_format in (NUMBERED, LINES, COMPACT)}


def layout(name: str) -> StepFormat:
    """Return the step format named `name`; ConfigError if there is none."""
    if name not in _FORMATS:
        raise nearest("layout", name, _FORMATS)
    return _FORMATS[name]


def _without_spaces(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _are_correct(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    if len(labels) == 1:
        return f"Step ({labels[0]}) is correct. "
    return f"Step ({labels[0]}) to ({labels[-1]}) are correct. "
