"""Sums, differences and products of integers in brackets, with worked answers.

Two ranges. `paper`: BIG-bench's multistep arithmetic, operands -9 … 9, brackets of 3 to 6 operands, 2, 4 or 8 of them,
with the worked answers of TriPosT (arXiv 2310.13522). `easy`, ours, is for character-level learners trained from
scratch: three operands 0 … 9, one operation per line, the answer alone on the last line:

    (4-(7*3))=        7*3=21
                      4-21=-17
                      -17

The checker accepts any right calculation, whatever its wording, names and grouping, and finds the first mistake.
`sparring.parsing.arithmetic` follows the calculation.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.chat import question
from sparring.core.task import GeneratedTask, Problem, Split
from sparring.parsing.arithmetic.derivation import Derivation, Slip, parse_question
from sparring.parsing.arithmetic.equations import Statement, explained, statements
from sparring.parsing.arithmetic.expressions import (
    Expression,
    Operation,
    calculate,
    format_expression,
    names,
    operation,
    parse,
    reductions,
    substitute,
    value_of,
)
from sparring.parsing.arithmetic.forms import Form, form, operands
from sparring.parsing.steps import COMPACT, FINAL, NUMBERED, Fault, Step, StepFormat

LENGTHS, DEPTHS = (3, 4, 5, 6), (1, 2, 3)  # operands in a bracket; 2, 4 or 8 brackets
EASY = 2 * 9 * 1000  # two ways of bracketing, two operators, three operands
MAX_ANSWER_CHARACTERS = 20_000  # characters of an answer that are read

_NAMES = "ABCDEFGH"
_LABEL = re.compile(r"^[ \t]*\((\d+)(?:\.\d+)*\)", re.MULTILINE)
_EQUATION = re.compile(r"the equation (has|is) ([^.\n]*)")
_THOUGHT = re.compile(r"^(Thought|Step) (\d+):", re.MULTILINE)


@dataclass(frozen=True)
class MultistepArithmetic(GeneratedTask):
    """Integer arithmetic with brackets, step by step (BIG-bench), or an easy range of it for tiny learners.

    `range` is `easy` or `paper`. In the paper's range, training problems have brackets of `seen_lengths` operands at
    nesting depths `seen_depths` (1: two brackets, 2: four, 3: eight). Development and test problems have all lengths
    and depths.
    """

    name: ClassVar[str] = "multistep_arithmetic"

    range: Literal["easy", "paper"] = "easy"
    train: Annotated[int, Ge(1)] = 1500
    development: Annotated[int, Ge(0)] = 200
    test: Annotated[int, Ge(0)] = 1000
    seed: int = 0
    seen_lengths: tuple[int, ...] = (3, 4)
    seen_depths: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.range not in ("easy", "paper"):
            raise ConfigError(f"unknown range (got {self.range!r}); choose from easy, paper")
        for key, least in (("train", 1), ("development", 0), ("test", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"{key} = {getattr(self, key)}; give {least} or more problems")
        for key, allowed in (("seen_lengths", LENGTHS), ("seen_depths", DEPTHS)):
            if not getattr(self, key) or not set(getattr(self, key)) <= set(allowed):
                raise ConfigError(f"{key} = {list(getattr(self, key))}; choose from {', '.join(map(str, allowed))}")
        total = self.train + self.development + self.test
        if self.range == "easy" and total > EASY:
            raise ConfigError(
                f"the easy range has only {EASY} problems (got train + development + test = {total}); ask for fewer"
            )

    @property
    def layout(self) -> StepFormat:
        """Numbered steps as in the paper; the compact format in the easy range."""
        return COMPACT if self.range == "easy" else NUMBERED

    def _draw(self, rng: random.Random, split: Split) -> Problem:
        if self.range == "easy":
            return _easy(rng)
        lengths, depths = (self.seen_lengths, self.seen_depths) if split == "train" else (LENGTHS, DEPTHS)
        length, depth = rng.choice(lengths), rng.choice(depths)
        is_seen = length in self.seen_lengths and depth in self.seen_depths
        return _paper(rng, length, depth, is_seen)

    # ---- checks and remarks

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether the last value that `response` states for the problem is right."""
        return str(self._final(problem, response[-MAX_ANSWER_CHARACTERS:])) == problem.gold

    def first_error(self, problem: Problem, answer: str) -> Fault | None:
        """Return the first fault of `answer`; None if it calculates rightly to the end."""
        mistake = self._follow(problem, answer)[1]
        if mistake is None:
            return None
        step, slip = mistake
        return Fault(step.label, answer[slip.start : slip.end], slip.reason)

    def solve(self, problem: Problem, kept: str) -> str:
        """Return a right answer that continues `kept`, with its names and labels."""
        if problem.rationale and problem.rationale.startswith(kept):
            return problem.rationale
        derivation = self._follow(problem, kept)[0]
        if derivation.is_stated:
            return kept
        rest = _operated(derivation) if self.range == "easy" else _argued(problem, derivation)
        gap = "\n" if kept and not kept.endswith("\n") else ""
        return kept + gap + _continued(list(rest), kept, self.layout)

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a true equation for the first fault; for a right answer, one of its operations."""
        mistake = self._follow(problem, answer)[1]
        operations = _operations(problem)
        if mistake is None:
            return self._remark(answer, _equal(rng.choice(operations[:-1] or operations)))
        step, slip = mistake
        return self._remark(answer, slip.truth or _equal(operations[-1]), step.label)

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a wrong value for one operation of the problem, worded like a hint."""
        chosen = rng.choice(_operations(problem))
        return self._remark(answer, f"{operation(chosen)} = {_wrong(chosen, rng)}")

    def is_true(self, problem: Problem, answer: str, remark: str) -> bool | None:
        """Check what `remark` says of the equation and of the names that `answer` gives to its parts."""
        meaning = self._follow(problem, answer)[0].meaning
        verdicts = []
        for says, text in _EQUATION.findall(remark):
            shown = _read(text)
            if says == "has":
                verdicts.append(text.strip() in problem.chat.text)
            elif shown is not None and names(shown) <= meaning.keys():
                verdicts.append(form(shown, meaning).mark == parse_question(problem.chat.text)[1].mark)
        for statement in statements(remark, 0, len(remark), frozenset(meaning)):
            name = statement.sides[0].expression if len(statement.sides) == 2 else None
            if isinstance(name, str) and name in meaning and statement.value is not None:
                verdicts.append(meaning[name].value == statement.value)
        return all(verdicts) if verdicts else None

    def _remark(self, answer: str, equation: str, label: str = "") -> str:
        """Word `equation` as a remark on step `label` of `answer`, by default the step with its left side."""
        if self.range == "easy":
            return f"check: {equation.replace(' ', '')}"
        head = equation.partition(" = ")[0]
        label = label or next((step.label for step in self.layout.split(answer) if head in step.text), "")
        return f"Check step ({label}): {equation}." if label else f"Check this: {equation}."

    def _statements(self, answer: str, known: frozenset[str]) -> list[tuple[Step, Statement]]:
        """Return the statements of each step of `answer`; `known` are the names that it explains."""
        steps = self.layout.split(answer)
        return [(step, statement) for step in steps for statement in statements(answer, *_span(answer, step), known)]

    def _follow(self, problem: Problem, answer: str) -> tuple[Derivation, tuple[Step, Slip] | None]:
        """Follow `answer` up to its first mistake; return the derivation, and the mistake with its step, if any."""
        read = answer[:MAX_ANSWER_CHARACTERS]
        known = explained(read)
        by_step = self._statements(read, known)
        derivation = Derivation(problem.chat.text, known)
        for index, (step, statement) in enumerate(by_step):
            slip = derivation.take(statement, last=index == len(by_step) - 1)
            if slip is not None:
                return derivation, (step, slip)
        if not derivation.is_answered:
            return derivation, self._stopped(read, derivation, "the answer stops here")
        if not self.is_right(problem, answer):  # the value was calculated, but another one is stated last
            return derivation, self._stopped(read, derivation, "the answer does not end in its value")
        return derivation, None

    def _stopped(self, answer: str, derivation: Derivation, reason: str) -> tuple[Step, Slip]:
        """Return the last step, from its last line on, as an unfinished end of the answer for `reason`."""
        step = (self.layout.split(answer) or (Step("1", "", 0, 0),))[-1]
        start, end = _span(answer, step)
        line = max(start, answer.rfind("\n", start, end) + 1)
        missing = derivation.next_operation()
        return step, Slip(line, end, reason, _equal(missing) if missing is not None else "")

    def _final(self, problem: Problem, response: str) -> int | None:
        """Return the value that `response` states for the problem, right or wrong; None if it states none."""
        whole = parse_question(problem.chat.text)[1]
        meaning: dict[str, Form] = {}
        answer: Statement | None = None
        last: int | None = None
        for _, statement in self._statements(response, explained(response)):
            answer = statement if statement.says == "answer" else answer
            last = statement.value if statement.says == "alone" else None
            if len(statement.sides) < 2:
                continue
            head, shown = statement.sides[0].expression, statement.sides[1].expression
            if isinstance(head, str) and head not in meaning and names(shown) <= meaning.keys():
                stands_for = form(shown, meaning)
                if len(operands(stands_for)) <= len(operands(whole)):  # or repeated doublings would grow without bound
                    meaning[head] = stands_for
            elif isinstance(head, Operation) and names(head) <= meaning.keys():
                last = statement.value if form(head, meaning).mark == whole.mark else None
        return answer.value if answer is not None else last


def _span(answer: str, step: Step) -> tuple[int, int]:
    """Return the span of `step` in `answer` without its label."""
    end = step.start + len(answer[step.start : step.end].rstrip())
    return end - len(step.text), end


def _read(text: str) -> Expression | None:
    try:
        return parse(text)
    except Unreadable:
        return None


def _operations(problem: Problem) -> list[Operation]:
    return [solved for solved, _ in reductions(parse_question(problem.chat.text)[0])]


def _equal(solved: Operation) -> str:
    return f"{operation(solved)} = {value_of(solved)}"


def _wrong(solved: Operation, rng: random.Random) -> int:
    """Draw a plausible wrong value for `solved`: another operation, another sign, or a small slip."""
    left, symbol, right = solved
    value = value_of(solved)
    others = [calculate(other, value_of(left), value_of(right)) for other in "+-*" if other != symbol]
    slips = [value + step for step in (-10, -2, -1, 1, 2, 10)]
    wrong = sorted({*others, -value, *slips} - {value})
    return rng.choice(wrong)


# ---- problems


def _easy(rng: random.Random) -> Problem:
    a, b, c = (rng.randrange(10) for _ in "abc")
    first, second = rng.choice("+-*"), rng.choice("+-*")
    is_left_bracketed = rng.random() < 0.5
    inner = Operation(a, first, b) if is_left_bracketed else Operation(b, second, c)
    whole = Operation(inner, second, c) if is_left_bracketed else Operation(a, first, inner)
    solved = list(reductions(whole))
    lines = [f"{operation(step, '')}={value_of(step)}" for step, _ in solved]
    gold = str(solved[-1][1])
    text = f"{format_expression(whole, '')}="
    symbols = "".join(step.symbol for step, _ in solved)
    return Problem(text, question(text), gold, COMPACT.write([*lines, gold]), bin=symbols)


def _paper(rng: random.Random, length: int, depth: int, is_seen: bool) -> Problem:
    brackets = [_bracket(rng, length) for _ in _NAMES[: 2**depth]]
    formula = _joined(rng, list(_NAMES[: 2**depth]))
    text = format_expression(formula)
    for name, bracket in zip(_NAMES, brackets, strict=False):
        text = text.replace(name, bracket)
    text = f"{text} ="
    steps = _worked(formula, dict(zip(_NAMES, brackets, strict=False)))
    gold = str(value_of(parse(text.rstrip(" ="))))
    answer = NUMBERED.write([*steps, f"So the answer is {gold}."])
    novelty = "seen" if is_seen else "unseen"
    return Problem(text, question(text), gold, answer, bin=f"{novelty}, {length} operands in {2**depth} brackets")


def _bracket(rng: random.Random, length: int) -> str:
    text = str(rng.randint(-9, 9))
    for _ in range(length - 1):
        text += f" {rng.choice('+-*')} {rng.randint(-9, 9)}"
    return f"({text})"


def _joined(rng: random.Random, parts: list[Expression]) -> Expression:
    """Join `parts` in pairs, then pairs of pairs, and so on, by random operators."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [Operation(left, rng.choice("+-*"), right) for left, right in pairs]
    return parts[0]


def _worked(formula: Expression, brackets: dict[str, str]) -> Iterator[str]:
    """Yield TriPosT's steps, without the final response."""
    definitions = [f"{name} = {bracket}" for name, bracket in brackets.items()]
    listed = f"{', '.join(definitions[:-1])} and {definitions[-1]}"
    yield f'This equation can be written as "{format_expression(formula)}", where {listed}.'
    for name, bracket in brackets.items():
        yield _bracket_step(name, bracket)
    values = {name: value_of(parse(bracket)) for name, bracket in brackets.items()}
    yield _final_step(formula, values)


def _bracket_step(name: str, bracket: str) -> str:
    expression = parse(bracket)
    chain = [bracket, format_expression(expression), *(format_expression(rest) for _, rest in reductions(expression))]
    return f"Let's calculate {name} = {_chained(chain)}."


def _final_step(formula: Expression, values: dict[str, int]) -> str:
    filled = substitute(formula, values)
    chain = [
        format_expression(formula),
        format_expression(filled),
        *(format_expression(rest) for _, rest in reductions(filled)),
    ]
    return f"Then, the final equation is {_chained(chain)}."


def _chained(sides: Sequence[str]) -> str:
    """Join `sides` by `=` without repetitions of neighbours."""
    return " = ".join(side for index, side in enumerate(sides) if index == 0 or side != sides[index - 1])


# ---- continuations of given steps


def _operated(derivation: Derivation) -> Iterator[str]:
    """Yield the missing operations, one per line, and the answer."""
    while (missing := derivation.next_operation()) is not None:
        line = f"{operation(missing, '')}={value_of(missing)}"
        for statement in statements(line, 0, len(line), frozenset()):
            derivation.take(statement)
        yield line
    yield str(derivation.problem.value)


def _argued(problem: Problem, derivation: Derivation) -> Iterator[str]:
    """Yield the missing steps: all of them if nothing was calculated or named."""
    if not derivation.has_begun and not derivation.meaning and problem.rationale:
        yield from (step.text for step in NUMBERED.split(problem.rationale))
        return
    if not derivation.is_done:
        yield from _unfinished(derivation)
    yield f"So the answer is {derivation.problem.value}."


def _unfinished(derivation: Derivation) -> Iterator[str]:
    """Yield a step for each defined name without a value, then the final equation, in terms of names if possible."""
    values = {name: value.value for name, value in derivation.result.items()}
    for name, meaning in derivation.meaning.items():
        if name not in values:
            written = derivation.shown[name].expression
            values[name] = meaning.value
            yield _bracket_step(name, format_expression(substitute(written, values)))
    formula = derivation.formula or derivation.in_names()
    yield _final_step(derivation.expression if formula is None else formula, values)


def _continued(lines: list[str], kept: str, step_format: StepFormat) -> str:
    """Label `lines` like the steps of `kept`."""
    labels = _LABEL.findall(kept) if step_format.numbered else []
    thoughts = _THOUGHT.findall(kept)
    if labels:
        # At most 9 digits: `int` refuses very long numbers.
        numbers = [str(int(labels[-1][-9:]) + 1 + index) for index in range(len(lines) - 1)]
        return "\n".join(f"({label}) {line}" for label, line in zip([*numbers, FINAL], lines, strict=True))
    if thoughts:
        word, number = thoughts[-1]
        return "\n".join(f"{word} {int(number[-9:]) + 1 + index}: {line}" for index, line in enumerate(lines))
    return "\n".join(lines)
