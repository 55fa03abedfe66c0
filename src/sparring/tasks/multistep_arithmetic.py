"""Sums, differences and products of integers in brackets, worked out step by step.

Two ranges. `paper`: BIG-bench's multistep arithmetic, operands -9 … 9, brackets of 3 to 6 operands, 2, 4 or 8 of them,
with the worked answers of TriPosT (arXiv 2310.13522). `easy`, ours, for learners that read characters and are trained
from nothing: three operands 0 … 9, one operation a line, the answer alone on the last line:

    (4-(7*3))=        7*3=21
                      4-21=-17
                      -17

The checker is not ours alone to please: it takes any answer that calculates rightly, whatever its wording, names and
grouping, and finds the first thing in it that is wrong.

Not here: following somebody's calculation; see `sparring.parsing.arithmetic`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.common.errors import ConfigError
from sparring.core.chat import question
from sparring.core.task import Pool, Problem, Split
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
_THOUGHT = re.compile(r"^(Thought|Step) (\d+):", re.MULTILINE)


@dataclass(frozen=True)
class MultistepArithmetic:
    """Integer arithmetic with brackets, step by step (BIG-bench), or an easy range of it for tiny learners.

    `range` is `easy` or `paper`. In the paper's range training problems have brackets of `seen_lengths` operands,
    nested `seen_depths` deep (1: two brackets, 2: four, 3: eight), and development and test problems come from all
    lengths and depths alike.
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
            raise ConfigError(f"range = {self.range!r}; it is 'easy' or 'paper'")
        for key, least in (("train", 1), ("development", 0), ("test", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"{key} = {getattr(self, key)}; give {least} or more problems")
        for key, allowed in (("seen_lengths", LENGTHS), ("seen_depths", DEPTHS)):
            if not getattr(self, key) or not set(getattr(self, key)) <= set(allowed):
                raise ConfigError(f"{key} = {list(getattr(self, key))}; give some of {', '.join(map(str, allowed))}")
        wanted = self.train + self.development + self.test
        if self.range == "easy" and wanted > EASY:
            raise ConfigError(
                f"train + development + test = {wanted}; the easy range has {EASY} problems: ask for fewer"
            )

    @property
    def layout(self) -> StepFormat:
        """Numbered steps as in the paper, or as few characters as will do."""
        return COMPACT if self.range == "easy" else NUMBERED

    def problems(self, split: Split) -> Sequence[Problem]:
        """The problems of `split`."""
        return self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        """New training problems; the easy range ends with a ConfigError when it is used up."""
        return self._pool.endless()

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._draw, self.seed, self.train, self.development, self.test)

    def _draw(self, generator: random.Random, split: Split) -> Problem:
        if self.range == "easy":
            return _easy(generator)
        lengths, depths = (self.seen_lengths, self.seen_depths) if split == "train" else (LENGTHS, DEPTHS)
        length, depth = generator.choice(lengths), generator.choice(depths)
        seen = length in self.seen_lengths and depth in self.seen_depths
        return _paper(generator, length, depth, seen)

    # ---- what can be computed about an answer

    def is_right(self, problem: Problem, response: str) -> bool:
        """Whether the value that `response` states last, as the value of the whole problem, is the right one."""
        return str(self._final(problem, response[-MAX_ANSWER_CHARACTERS:])) == problem.gold

    def first_error(self, problem: Problem, answer: str) -> Fault | None:
        """The first fault of `answer`, None if it calculates rightly to the end."""
        found = self._follow(problem, answer)[1]
        if found is None:
            return None
        step, slip = found
        return Fault(step.label, answer[slip.start : slip.end], slip.reason)

    def solve(self, problem: Problem, kept: str) -> str:
        """A right answer that goes on from `kept`, in its names and labels."""
        if problem.rationale and problem.rationale.startswith(kept):
            return problem.rationale
        derivation = self._follow(problem, kept)[0]
        if derivation.is_stated:
            return kept
        rest = _operated(derivation) if self.range == "easy" else _argued(problem, derivation)
        gap = "\n" if kept and not kept.endswith("\n") else ""
        return kept + gap + _continued(list(rest), kept, self.layout)

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """What would be true where the first fault is; of a right answer an operation of it."""
        found = self._follow(problem, answer)[1]
        done = _operations(problem)
        if found is None:
            return self._remark(answer, _equal(rng.choice(done[:-1] or done)))
        return self._remark(answer, found[1].truth or _equal(done[-1]), found[0].label)

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """A wrong value for one operation of the problem, in the words of a hint."""
        chosen = rng.choice(_operations(problem))
        return self._remark(answer, f"{operation(chosen)} = {_wrong(chosen, rng)}")

    def _remark(self, answer: str, said: str, label: str = "") -> str:
        """`said` as a remark on a step of `answer`, by default on the one in which its left side stands."""
        if self.range == "easy":
            return f"check: {said.replace(' ', '')}"
        head = said.partition(" = ")[0]
        there = label or next((step.label for step in self.layout.split(answer) if head in step.text), "")
        return f"Check step ({there}): {said}." if there else f"Check this: {said}."

    def _said(self, answer: str, known: frozenset[str]) -> list[tuple[Step, Statement]]:
        """What each step of `answer`, which explains the names `known`, says."""
        steps = self.layout.split(answer)
        return [(step, said) for step in steps for said in statements(answer, *_span(answer, step), known)]

    def _follow(self, problem: Problem, answer: str) -> tuple[Derivation, tuple[Step, Slip] | None]:
        """What `answer` shows, as far as it is right, and the first step that is not, and why."""
        read = answer[:MAX_ANSWER_CHARACTERS]
        known = explained(read)
        said = self._said(read, known)
        derivation = Derivation(problem.chat.text, known)
        for place, (step, statement) in enumerate(said):
            slip = derivation.take(statement, last=place == len(said) - 1)
            if slip is not None:
                return derivation, (step, slip)
        if not derivation.is_answered:
            return derivation, self._stopped(read, derivation, "the answer stops here")
        if not self.is_right(problem, answer):  # it was calculated, and the end is about something else
            return derivation, self._stopped(read, derivation, "the answer does not end in its value")
        return derivation, None

    def _stopped(self, answer: str, derivation: Derivation, reason: str) -> tuple[Step, Slip]:
        """The last step, which holds nothing wrong and is not the end, and the `reason`."""
        step = (self.layout.split(answer) or (Step("1", "", 0, 0),))[-1]
        start, end = _span(answer, step)
        line = max(start, answer.rfind("\n", start, end) + 1)
        left = derivation.next_operation()
        return step, Slip(line, end, reason, _equal(left) if left is not None else "")

    def _final(self, problem: Problem, response: str) -> int | None:
        """The value that `response` states for the whole problem, right or wrong, None if it states none."""
        whole = parse_question(problem.chat.text)[1]
        meaning: dict[str, Form] = {}
        answer: Statement | None = None
        last: int | None = None
        for _, said in self._said(response, explained(response)):
            answer = said if said.says == "answer" else answer
            last = said.value if said.says == "alone" else None
            if len(said.sides) < 2:
                continue
            head, shown = said.sides[0].expression, said.sides[1].expression
            if isinstance(head, str) and head not in meaning and names(shown) <= meaning.keys():
                stands_for = form(shown, meaning)
                if len(operands(stands_for)) <= len(operands(whole)):  # or else doublings would grow without bound
                    meaning[head] = stands_for
            elif isinstance(head, Operation) and names(head) <= meaning.keys():
                last = said.value if form(head, meaning).mark == whole.mark else None
        return answer.value if answer is not None else last


def _span(answer: str, step: Step) -> tuple[int, int]:
    """Where the words of `step` stand in `answer`, its label left out."""
    end = step.start + len(answer[step.start : step.end].rstrip())
    return end - len(step.text), end


def _operations(problem: Problem) -> list[Operation]:
    return [found for found, _ in reductions(parse_question(problem.chat.text)[0])]


def _equal(found: Operation) -> str:
    return f"{operation(found)} = {value_of(found)}"


def _wrong(found: Operation, rng: random.Random) -> int:
    """A wrong value for `found` that somebody might come to: another operation, another sign, a slip."""
    left, symbol, right = found.left, found.symbol, found.right
    value = value_of(found)
    others = [calculate(other, value_of(left), value_of(right)) for other in "+-*" if other != symbol]
    slips = [value + step for step in (-10, -2, -1, 1, 2, 10)]
    wrong = sorted({*others, -value, *slips} - {value})
    return rng.choice(wrong)


# ---- problems


def _easy(generator: random.Random) -> Problem:
    a, b, c = (generator.randrange(10) for _ in "abc")
    first, second = generator.choice("+-*"), generator.choice("+-*")
    left = generator.random() < 0.5
    inner = Operation(a, first, b) if left else Operation(b, second, c)
    whole = Operation(inner, second, c) if left else Operation(a, first, inner)
    done = list(reductions(whole))
    lines = [f"{operation(found, '')}={value_of(found)}" for found, _ in done]
    gold = str(done[-1][1])
    asks = f"{format_expression(whole, '')}="
    symbols = "".join(found.symbol for found, _ in done)
    return Problem(asks, question(asks), gold, COMPACT.write([*lines, gold]), bin=symbols)


def _paper(generator: random.Random, length: int, depth: int, seen: bool) -> Problem:
    brackets = [_bracket(generator, length) for _ in _NAMES[: 2**depth]]
    formula = _joined(generator, list(_NAMES[: 2**depth]))
    asks = format_expression(formula)
    for name, bracket in zip(_NAMES, brackets, strict=False):
        asks = asks.replace(name, bracket)
    asks = f"{asks} ="
    steps = _worked(formula, dict(zip(_NAMES, brackets, strict=False)))
    gold = str(value_of(parse(asks.rstrip(" ="))))
    answer = NUMBERED.write([*steps, f"So the answer is {gold}."])
    known = "seen" if seen else "unseen"
    return Problem(asks, question(asks), gold, answer, bin=f"{known}, {length} operands in {2**depth} brackets")


def _bracket(generator: random.Random, length: int) -> str:
    text = str(generator.randint(-9, 9))
    for _ in range(length - 1):
        text += f" {generator.choice('+-*')} {generator.randint(-9, 9)}"
    return f"({text})"


def _joined(generator: random.Random, parts: list[Expression]) -> Expression:
    """`parts` joined in pairs, pairs of pairs, and so on."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [Operation(left, generator.choice("+-*"), right) for left, right in pairs]
    return parts[0]


def _worked(formula: Expression, brackets: dict[str, str]) -> Iterator[str]:
    """The steps of TriPosT, the final response apart."""
    said = [f"{name} = {bracket}" for name, bracket in brackets.items()]
    listed = f"{', '.join(said[:-1])} and {said[-1]}"
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
    return " = ".join(side for place, side in enumerate(sides) if place == 0 or side != sides[place - 1])


# ---- going on from somebody's steps


def _operated(derivation: Derivation) -> Iterator[str]:
    """The operations that are missing, one a line, and the answer."""
    while (found := derivation.next_operation()) is not None:
        line = f"{operation(found, '')}={value_of(found)}"
        for said in statements(line, 0, len(line), frozenset()):
            derivation.take(said)
        yield line
    yield str(derivation.problem.value)


def _argued(problem: Problem, derivation: Derivation) -> Iterator[str]:
    """The steps that are missing: all of them where nothing was calculated or given a name."""
    if not derivation.has_begun and not derivation.meaning and problem.rationale:
        yield from (step.text for step in NUMBERED.split(problem.rationale))
        return
    if not derivation.is_done:
        yield from _unfinished(derivation)
    yield f"So the answer is {derivation.problem.value}."


def _unfinished(derivation: Derivation) -> Iterator[str]:
    """The names that were explained and not calculated, then the equation in terms of them, or without them."""
    values = {name: value.value for name, value in derivation.result.items()}
    for name, meaning in derivation.meaning.items():
        if name not in values:
            written = derivation.shown[name].expression
            values[name] = meaning.value
            yield _bracket_step(name, format_expression(substitute(written, values)))
    formula = derivation.formula or derivation.in_names()
    yield _final_step(derivation.expression if formula is None else formula, values)


def _continued(lines: list[str], kept: str, layout: StepFormat) -> str:
    """`lines` labelled as the steps of `kept` are."""
    labels = _LABEL.findall(kept) if layout.numbered else []
    thoughts = _THOUGHT.findall(kept)
    if labels:
        numbers = [str(int(labels[-1][-9:]) + 1 + place) for place in range(len(lines) - 1)]
        return "\n".join(f"({label}) {line}" for label, line in zip([*numbers, FINAL], lines, strict=True))
    if thoughts:
        word, number = thoughts[-1]
        return "\n".join(f"{word} {int(number[-9:]) + 1 + place}: {line}" for place, line in enumerate(lines))
    return "\n".join(lines)
