"""Follow a worked calculation line by line and find its first mistake.

A line may use numbers of the problem and results of earlier lines, with or without names for parts of the problem. It
may calculate several operations at once, regroup, and omit brackets. It must not copy wrongly, calculate wrongly, use a
value that was never calculated, or end before the answer. A value that is right by accident is still a mistake: `2 * 2`
is not a copy of `2 + 2`.

`equations` reads the statements from prose.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

from sparring.parsing.arithmetic.equations import Side, Statement
from sparring.parsing.arithmetic.expressions import (
    Expression,
    Operation,
    format_expression,
    names,
    operation,
    parse,
    ready_operations,
    reductions,
    substitute,
    value_of,
)
from sparring.parsing.arithmetic.forms import Form, Mark, follows, form, number_form, operands, replaced

MAX_STATES = 16  # readings of the calculation so far; a line may match several places in the problem


class Slip(NamedTuple):
    """A mistake: its span in the answer, the reason, and a true equation to state instead ("": none)."""

    start: int
    end: int
    reason: str
    truth: str = ""


@lru_cache(maxsize=1 << 12)
def parse_question(question: str) -> tuple[Expression, Form]:
    """Parse a question such as `(1 + 2) =`; return its expression and its form."""
    expression = parse(question.rstrip("= "))
    return expression, form(expression, {})


class Derivation:
    """The state of an answer to `question`, statement by statement. `explained`: all names that the answer explains."""

    def __init__(self, question: str, explained: frozenset[str] = frozenset()) -> None:
        self.question = question.rstrip("= ")
        self.expression, self.problem = parse_question(question)
        self.explained = explained
        self.meaning: dict[str, Form] = {}  # of each name: the part of the problem that it stands for
        self.shown: dict[str, Side] = {}  # of each name: the side of the equation that defines it
        self.result: dict[str, Form] = {}  # of each name: its value, once calculated
        self.formula: Expression | None = None  # the problem in terms of names, as the answer gives it
        self.is_answered = False  # whether the value of the problem was calculated or stated
        self.is_stated = False  # whether it was stated as the answer, or alone at the end
        self._states = [self.problem]  # the problem with calculated values put in, per reading
        self._named_problem = self.problem  # the problem with the values of names put in
        self._facts: set[Mark] = set()  # marks of the forms that were calculated
        self._numbers: set[int] = set()  # their values
        self._formulas: list[Side] = []  # formulas with names that are not all defined yet
        self._last: Side | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything has been calculated."""
        return bool(self._facts)

    @property
    def is_done(self) -> bool:
        """Whether the value of the problem has been calculated."""
        return self.problem.mark in self._facts or any(not state.kind for state in self._readings())

    def take(self, statement: Statement, last: bool = False) -> Slip | None:
        """Follow the next statement and return its mistake, if any. `last`: no statement follows."""
        sides = statement.sides
        if statement.unreadable is not None:
            return Slip(*statement.unreadable, "it cannot be read as sums, differences and products of integers")
        if statement.goes_on and self._last is not None:
            sides = (self._last, *sides)
        self._last = sides[-1]
        slip = self._check_equation(sides) if len(sides) > 1 else None
        is_number_alone = statement.says == "alone" and statement.value is not None
        is_answer = statement.says == "answer" or (is_number_alone and last)
        if slip is None and is_answer:
            slip = self._check_answer(sides[-1])
        elif len(sides) == 1:
            slip = self._check_mention(statement)
        return slip or self._check_formulas()

    def next_operation(self) -> Operation | None:
        """Return an operation on two numbers that remains to be calculated, if any."""
        if self.is_done:
            return None
        for candidate, _ in reductions(self.expression):
            head = form(candidate, {})
            if head.mark in self._facts:
                continue
            value = number_form(head.value)
            if any(replaced(reading, head, value) for reading in self._readings()):
                return candidate
        return next((candidate for reading in self._readings() for candidate in _operations(reading)), None)

    def in_names(self) -> Expression | None:
        """Return the problem in terms of the answer's names; None if they do not cover it."""
        name_of = {meaning.mark: name for name, meaning in self.meaning.items()}
        renamed = _renamed(self.expression, name_of)
        return renamed if isinstance(renamed, Operation) and not _has_number(renamed) else None

    # ---- what a statement may use

    def _readings(self) -> list[Form]:
        """Return the possible states of the problem, after the calculations so far."""
        return [*self._states, self._named_problem] if self.result else self._states

    def _is_available(self, head: Form) -> bool:
        """Return whether `head` may be calculated now, or again."""
        if not head.kind:  # a number: the sign of an operand may belong to its operator
            return head.value in self._numbers or abs(head.value) in map(abs, operands(self.problem))
        if head.mark in self._facts or head.mark == self.problem.mark:
            return True
        value = number_form(head.value)
        readings = (*self._readings(), *(self.meaning[name] for name in self.result))
        return any(replaced(reading, head, value) for reading in readings)

    def _is_problem(self, shown: Form) -> bool:
        """Return whether `shown` is the problem, perhaps with extra operands that change nothing: `(A + 0) - B`."""
        has_more = len(operands(shown)) > len(operands(self.problem))
        return shown.mark == self.problem.mark or (has_more and follows(shown, self.problem))

    def _source(self, shown: Form) -> Form | None:
        """Return the part of the problem that `shown` equals or was evaluated from; None if there is none."""
        if self._is_available(shown) or replaced(self.problem, shown, number_form(shown.value)):
            return shown
        size = len(operands(shown))
        parts = (part for part in _parts(self.problem) if len(operands(part)) >= size)
        return next((part for part in parts if follows(part, shown)), None)

    def _replace_by_value(self, head: Form, value: Form) -> None:
        """Record that `head` was calculated as `value`, and put `value` in every state that contains `head`."""
        if not value.kind:
            self._facts.add(head.mark)
            self._numbers.add(value.value)
        by_mark = {new.mark: new for state in self._states for new in replaced(state, head, value)}
        self._states = list(by_mark.values())[:MAX_STATES] or self._states

    def _form_of(self, expression: Expression) -> Form:
        """Return its form with names replaced by their meaning."""
        return form(expression, self.meaning)

    def _form_of_values(self, expression: Expression) -> Form | None:
        """Return its form with names replaced by their values; None unless all are calculated."""
        return form(expression, self.result) if names(expression) <= self.result.keys() else None

    # ---- checks of statements

    def _check_equation(self, sides: Sequence[Side]) -> Slip | None:
        expressions = [side.expression for side in sides]
        if _is_backwards(expressions, self.meaning):
            sides, expressions = sides[::-1], expressions[::-1]
        first = expressions[0]
        if isinstance(first, str) and first not in self.meaning:
            used = {name for side in expressions[1:] for name in names(side)}
            return self._check_definition(first, sides) if used <= self.meaning.keys() else None
        unknown = {name for side in expressions for name in names(side)} - self.meaning.keys()
        if unknown:
            return Slip(sides[0].start, sides[-1].end, f"nothing says what {min(unknown)} stands for", self._pending())
        return self._check_calculation(sides)

    def _check_definition(self, name: str, sides: Sequence[Side]) -> Slip | None:
        shown = self._form_of(sides[1].expression)
        source = self._source(shown) if shown.kind else shown
        if source is None:
            return self._miscopied_slip(sides[1])
        self.meaning[name], self.shown[name] = source, sides[1]
        if not shown.kind:  # a name for a number needs no calculation
            self.result[name] = shown
        slip = self._check_chain(sides[1:])
        if slip is None and isinstance(sides[-1].expression, int) and len(sides) > 2:
            self._record_value(name, source)
        return slip

    def _check_calculation(self, sides: Sequence[Side]) -> Slip | None:
        first, last = sides[0].expression, sides[-1].expression
        head, head_of_values = self._form_of(first), self._form_of_values(first)
        if names(first) and self._is_problem(head):
            head = self.problem
        heads = [head] if head_of_values is None else [head, head_of_values]
        if isinstance(first, Operation) and not any(map(self._is_available, heads)):
            return self._foreign_slip(sides[0], head)
        slip = self._check_chain(sides)
        if slip is not None:
            return slip
        if isinstance(first, str) and isinstance(last, int):
            self._record_value(first, head)
        elif isinstance(first, Operation):
            end = self._form_of_values(last) or self._form_of(last)
            self._replace_by_value(head, end)
            if head_of_values is not None and head_of_values.mark != head.mark:
                self._replace_by_value(head_of_values, end)
            self.is_answered |= head.mark == self.problem.mark and isinstance(last, int)
        return None

    def _record_value(self, name: str, head: Form) -> None:
        value = self.result[name] = number_form(head.value)
        self._named_problem = next(iter(replaced(self._named_problem, head, value)), self._named_problem)
        self._replace_by_value(head, value)

    def _check_chain(self, sides: Sequence[Side]) -> Slip | None:
        for before, after in pairwise(sides):
            slip = self._check_link(before, after)
            if slip is not None:
                return slip
            if isinstance(after.expression, int):
                self._numbers.add(after.expression)
        return None

    def _check_link(self, before: Side, after: Side) -> Slip | None:
        """Check one `=`: `after` must say the same as `before`, regrouped or evaluated in parts."""
        old, new = self._form_of(before.expression), self._form_of(after.expression)
        if old.mark == new.mark:
            return None
        span = min(before.start, after.start), max(before.end, after.end)
        uncalculated = names(before.expression) - self.result.keys()
        if follows(old, new):
            if not uncalculated or isinstance(before.expression, str):  # `A = (1 + 2)` only repeats what A stands for
                return None
            return Slip(*span, f"{min(uncalculated)} has not been calculated", self._pending())
        old_value, new_value = self._form_of_values(before.expression), self._form_of_values(after.expression)
        if old_value is not None and new_value is not None and follows(old_value, new_value):
            return None
        if isinstance(before.expression, str) and uncalculated:
            return self._miscopied_slip(after, self._brackets.get(old.mark, ""))
        return Slip(*span, *self._explain_miscalculation(before.expression, old, new))

    def _check_mention(self, statement: Statement) -> Slip | None:
        """Check a statement of one side: a formula, a copy of the problem, or a number alone."""
        side = statement.sides[0]
        expression = side.expression
        if isinstance(expression, Operation):
            unexplained = names(expression) - self.explained - self.meaning.keys()
            if unexplained:
                return Slip(side.start, side.end, f"nothing says what {min(unexplained)} stands for", self._pending())
            if names(expression):
                self._formulas.append(side)
                return None
            shown = self._form_of(expression)
            if len(operands(shown)) == len(operands(self.problem)) and shown.mark != self.problem.mark:
                return self._miscopied_slip(side)
        elif statement.says == "alone" and self.has_begun and expression not in (*self._numbers, self.problem.value):
            return Slip(side.start, side.end, f"nothing before gives {expression}", self._pending())
        return None

    def _check_formulas(self) -> Slip | None:
        """Check the formulas whose names are all defined: each must be the problem or a part of it."""
        for side in list(self._formulas):
            formula = side.expression
            if not names(formula) <= self.meaning.keys():
                continue
            self._formulas.remove(side)
            shown = self._form_of(formula)
            if self._is_problem(shown):
                self.formula = formula
            elif shown.mark not in self._brackets:
                partial = [name for name in sorted(names(formula)) if self.meaning[name].mark not in self._brackets]
                if partial:
                    return self._miscopied_slip(self.shown[partial[0]])
                if not self._is_available(shown):
                    right = format_expression(self.in_names() or self.expression)
                    reason = "with what the names stand for it is another equation"
                    return Slip(side.start, side.end, reason, f"the equation is {right}")
        return None

    def _check_answer(self, side: Side) -> Slip | None:
        reason = ""
        if self.has_begun and not self.is_done:
            reason = "the calculation is not finished"
        elif side.expression != self.problem.value:
            reason = f"the steps give {self.problem.value}" if self.is_done else "it is not what the equation comes to"
        if reason:
            return Slip(side.start, side.end, reason, self._pending())
        self.is_answered = self.is_stated = True
        return None

    # ---- reasons

    @cached_property
    def _brackets(self) -> dict[Mark, str]:
        """The brackets of the question by the marks of their forms."""
        by_mark: dict[Mark, str] = {}
        open_indices: list[int] = []
        for index, character in enumerate(self.question):
            if character == "(":
                open_indices.append(index)
            elif character == ")" and open_indices:
                bracket = self.question[open_indices.pop() : index + 1]
                by_mark[form(parse(bracket), {}).mark] = bracket
        return by_mark

    def _pending(self) -> str:
        missing = self.next_operation()
        return _equation_of(missing) if missing is not None else ""

    def _foreign_slip(self, side: Side, head: Form) -> Slip:
        known = {abs(value) for value in (*self._numbers, *operands(self.problem))}
        unknown = [abs(value) for value in operands(head) if abs(value) not in known]
        reason = f"nothing before gives {unknown[0]}" if unknown else "this is no part of what is left to calculate"
        return Slip(side.start, side.end, reason, self._pending())

    def _miscopied_slip(self, side: Side, bracket: str = "") -> Slip:
        """Explain a wrong copy. `bracket` is the original; by default the most similar bracket without a name."""
        named = {meaning.mark for meaning in self.meaning.values()}
        unnamed = [text for mark, text in self._brackets.items() if mark not in named] or [self.question]
        written = format_expression(side.expression)
        truth = bracket or max(unnamed, key=lambda text: difflib.SequenceMatcher(None, text, written).ratio())
        return Slip(side.start, side.end, f"the equation has {truth}", f"the equation has {truth}")

    def _explain_miscalculation(self, before: Expression, old: Form, new: Form) -> tuple[str, str]:
        """Return reason and truth: a wrong value of a name, of one ready operation, or of the whole side."""
        values = {name: self.result[name].value for name in names(before) & self.result.keys()}
        shown = operands(new)
        misused = [name for name in sorted(values) if not {values[name], -values[name]} & set(shown)]
        if isinstance(before, str) or (misused and new.kind and len(names(before)) == len(shown)):
            name = before if isinstance(before, str) else misused[0]
            return f"{name} is {values[name]}", f"{name} = {values[name]}"
        expression = substitute(before, values)
        if old.value == new.value:
            return (
                f"its value is right, but it is not calculated from {format_expression(expression)}",
                self._pending(),
            )
        ready = [] if names(expression) else ready_operations(expression)
        wrong = [candidate for candidate in ready if not _shows_value(shown, candidate, old)]
        if wrong and (new.kind or expression == wrong[0]):
            reason = f"there is a calculation error, since {operation(wrong[0])} should be {value_of(wrong[0])}"
            return reason, _equation_of(wrong[0])
        return (
            f"there is a calculation error, since {format_expression(expression)} should be {old.value}",
            self._pending(),
        )


def _shows_value(shown: Sequence[int], candidate: Operation, old: Form) -> bool:
    """Return whether the value of `candidate`, an operation in `old`, is among the numbers `shown` after the `=`."""
    unused = Counter(map(abs, operands(old))) - Counter(map(abs, operands(form(candidate, {}))))
    new_numbers = Counter(map(abs, shown)) - unused  # those that are not copies of other operands
    return abs(value_of(candidate)) in new_numbers


def _equation_of(solved: Operation) -> str:
    return f"{operation(solved)} = {value_of(solved)}"


def _is_backwards(sides: Sequence[Expression], known: Mapping[str, Form]) -> bool:
    """Return whether the equation must be reversed: `21 = 7 * 3`, or `(1 + 2) = A` where A is new."""
    first, last = sides[0], sides[-1]
    return (isinstance(first, int) and not isinstance(last, int)) or (isinstance(last, str) and last not in known)


def _renamed(expression: Expression, name_of: Mapping[Mark, str]) -> Expression:
    name = name_of.get(form(expression, {}).mark)
    if name is not None or not isinstance(expression, Operation):
        return name or expression
    return Operation(_renamed(expression.left, name_of), expression.symbol, _renamed(expression.right, name_of))


def _has_number(expression: Expression) -> bool:
    if isinstance(expression, Operation):
        return _has_number(expression.left) or _has_number(expression.right)
    return isinstance(expression, int)


def _parts(head: Form) -> Iterator[Form]:
    """Yield `head` and all forms inside it."""
    yield head
    for part in head.parts:
        yield from _parts(part)


def _operations(state: Form) -> Iterator[Operation]:
    """Yield the operation on the first two numbers of each sum and product in `state`, innermost first."""
    for part in state.parts:
        yield from _operations(part)
    numbers = [part.value for part in state.parts if not part.kind]
    if state.kind in ("+", "*") and len(numbers) > 1:
        yield Operation(numbers[0], state.kind, numbers[1])
