"""A worked calculation, followed as it is read: what every line may use, and the first thing in it that is wrong.

A line may show numbers that stand in the problem or were calculated before, under names that the answer gives to parts
of the problem or without any; it may calculate several things at once, regroup, and leave brackets out. It may not copy
wrongly, calculate wrongly, use what was never calculated, or end before the answer. That a value is right by accident
is no excuse: `2 * 2` is no copy of `2 + 2`.

Not here: how equations are read out of prose; see `equations`.
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

MOST_STATES = 16  # ways to read what has been calculated so far, where a line could mean one of several places


class Slip(NamedTuple):
    """Something wrong: its span in the answer, why it is wrong, and what would be true instead ("": nothing to say)."""

    start: int
    end: int
    reason: str
    truth: str = ""


@lru_cache(maxsize=1 << 12)
def asked(question: str) -> tuple[Expression, Form]:
    """The expression that `question` asks for, `(1 + 2) =`, and its form."""
    expression = parse(question.rstrip("= "))
    return expression, form(expression, {})


class Derivation:
    """What an answer to `question` has shown so far. `explained`: the names it explains somewhere."""

    def __init__(self, question: str, explained: frozenset[str] = frozenset()) -> None:
        self.question = question.rstrip("= ")
        self.expression, self.whole = asked(question)
        self.explained = explained
        self.meaning: dict[str, Form] = {}  # what its names stand for
        self.shown: dict[str, Side] = {}  # where it says so
        self.result: dict[str, Form] = {}  # their values, once calculated
        self.formula: Expression | None = None  # the whole problem in terms of names
        self.answered = False  # whether it gives the value of the whole problem
        self.stated = False  # and does so as the answer, or alone at the end
        self._states = [self.whole]  # the problem with what was calculated put in, line by line
        self._named = self.whole  # the problem with the values of names put in
        self._facts: set[Mark] = set()  # marks of the forms whose value was stated
        self._numbers: set[int] = set()  # the values themselves
        self._formulas: list[Side] = []  # those whose names are not all explained yet
        self._last: Side | None = None

    @property
    def begun(self) -> bool:
        """Whether anything has been calculated."""
        return bool(self._facts)

    @property
    def done(self) -> bool:
        """Whether the value of the whole problem has been calculated."""
        return self.whole.mark in self._facts or any(not state.kind for state in self._places())

    def take(self, statement: Statement, last: bool = False) -> Slip | None:
        """Follow one more statement (`last`: none comes after it); what is wrong with it, if anything."""
        sides = statement.sides
        if statement.unreadable is not None:
            return Slip(*statement.unreadable, "it cannot be read as sums, differences and products of integers")
        if statement.goes_on and self._last is not None:
            sides = (self._last, *sides)
        self._last = sides[-1]
        slip = self._equation(sides) if len(sides) > 1 else None
        number_alone = statement.says == "alone" and statement.value is not None
        if slip is None and (statement.says == "answer" or (number_alone and last)):
            slip = self._answer(sides[-1])
        elif len(sides) == 1:
            slip = self._mention(statement)
        return slip or self._wrong_formula()

    def next_operation(self) -> Operation | None:
        """An operation on two numbers that is still to be done."""
        if self.done:
            return None
        for found, _ in reductions(self.expression):
            head = form(found, {})
            if head.mark not in self._facts and any(replaced(p, head, number_form(head.value)) for p in self._places()):
                return found
        return next((found for state in self._places() for found in _operations(state)), None)

    def in_names(self) -> Expression | None:
        """The whole problem in terms of the answer's names, None if they do not cover it."""
        name_of = {meaning.mark: name for name, meaning in self.meaning.items()}
        found = _renamed(self.expression, name_of)
        return found if isinstance(found, Operation) and not _has_number(found) else None

    # ---- what there is to use

    def _places(self) -> list[Form]:
        return [*self._states, self._named] if self.result else self._states

    def _stands(self, head: Form) -> bool:
        """Whether `head` may be calculated now, or again."""
        if not head.kind:
            return head.value in self._numbers or abs(head.value) in map(abs, operands(self.whole))
        if head.mark in self._facts or head.mark == self.whole.mark:
            return True
        places = (*self._places(), *(self.meaning[name] for name in self.result))
        return any(replaced(place, head, number_form(head.value)) for place in places)

    def _is_whole(self, shown: Form) -> bool:
        """Whether `shown` is the whole problem, perhaps with more in it that changes nothing: `(A + 0) - B`."""
        more = len(operands(shown)) > len(operands(self.whole))
        return shown.mark == self.whole.mark or (more and follows(shown, self.whole))

    def _source(self, shown: Form) -> Form | None:
        """The part of the problem that `shown` is, or was evaluated from."""
        if self._stands(shown) or replaced(self.whole, shown, number_form(shown.value)):
            return shown
        size = len(operands(shown))
        return next((p for p in _parts(self.whole) if len(operands(p)) >= size and follows(p, shown)), None)

    def _conclude(self, head: Form, value: Form) -> None:
        if not value.kind:
            self._facts.add(head.mark)
            self._numbers.add(value.value)
        moved = {new.mark: new for state in self._states for new in replaced(state, head, value)}
        self._states = list(moved.values())[:MOST_STATES] or self._states

    def _meant(self, expression: Expression) -> Form:
        return form(expression, self.meaning)

    def _valued(self, expression: Expression) -> Form | None:
        """Its form with the values of names put in, None while they are not all calculated."""
        return form(expression, self.result) if names(expression) <= self.result.keys() else None

    # ---- what is said

    def _equation(self, sides: Sequence[Side]) -> Slip | None:
        expressions = [side.expression for side in sides]
        if _backwards(expressions, self.meaning):
            sides, expressions = sides[::-1], expressions[::-1]
        first = expressions[0]
        if isinstance(first, str) and first not in self.meaning:
            used = {name for e in expressions[1:] for name in names(e)}
            return self._definition(first, sides) if used <= self.meaning.keys() else None
        unknown = {name for e in expressions for name in names(e)} - self.meaning.keys()
        if unknown:
            return Slip(sides[0].start, sides[-1].end, f"nothing says what {min(unknown)} stands for", self._next())
        return self._calculation(sides)

    def _definition(self, name: str, sides: Sequence[Side]) -> Slip | None:
        shown = self._meant(sides[1].expression)
        source = self._source(shown) if shown.kind else shown
        if source is None:
            return self._miscopied(sides[1])
        self.meaning[name], self.shown[name] = source, sides[1]
        if not shown.kind:  # a name for a number is nothing but that
            self.result[name] = shown
        slip = self._links(sides[1:])
        if slip is None and isinstance(sides[-1].expression, int) and len(sides) > 2:
            self._calculated(name, source)
        return slip

    def _calculation(self, sides: Sequence[Side]) -> Slip | None:
        first, last = sides[0].expression, sides[-1].expression
        head, valued = self._meant(first), self._valued(first)
        head = self.whole if names(first) and self._is_whole(head) else head
        if isinstance(first, Operation) and not (self._stands(head) or (valued is not None and self._stands(valued))):
            return self._foreign(sides[0], head)
        slip = self._links(sides)
        if slip is not None:
            return slip
        if isinstance(first, str) and isinstance(last, int):
            self._calculated(first, head)
        elif isinstance(first, Operation):
            end = self._valued(last) or self._meant(last)
            self._conclude(head, end)
            if valued is not None and valued.mark != head.mark:
                self._conclude(valued, end)
            self.answered |= head.mark == self.whole.mark and isinstance(last, int)
        return None

    def _calculated(self, name: str, head: Form) -> None:
        value = self.result[name] = number_form(head.value)
        self._named = next(iter(replaced(self._named, head, value)), self._named)
        self._conclude(head, value)

    def _links(self, sides: Sequence[Side]) -> Slip | None:
        for before, after in pairwise(sides):
            slip = self._link(before, after)
            if slip is not None:
                return slip
            if isinstance(after.expression, int):
                self._numbers.add(after.expression)
        return None

    def _link(self, before: Side, after: Side) -> Slip | None:
        old, new = self._meant(before.expression), self._meant(after.expression)
        if old.mark == new.mark:
            return None
        span = min(before.start, after.start), max(before.end, after.end)
        waiting = names(before.expression) - self.result.keys()
        if follows(old, new):
            if not waiting or isinstance(before.expression, str):
                return None
            return Slip(*span, f"{min(waiting)} has not been calculated", self._next())
        old_value, new_value = self._valued(before.expression), self._valued(after.expression)
        if old_value is not None and new_value is not None and follows(old_value, new_value):
            return None
        if isinstance(before.expression, str) and waiting:
            return self._miscopied(after, self._brackets.get(old.mark, ""))
        return Slip(*span, *self._miscalculated(before.expression, old, new))

    def _mention(self, statement: Statement) -> Slip | None:
        side = statement.sides[0]
        expression = side.expression
        if isinstance(expression, Operation):
            unexplained = names(expression) - self.explained - self.meaning.keys()
            if unexplained:
                return Slip(side.start, side.end, f"nothing says what {min(unexplained)} stands for", self._next())
            if names(expression):
                self._formulas.append(side)
                return None
            shown = self._meant(expression)
            if len(operands(shown)) == len(operands(self.whole)) and shown.mark != self.whole.mark:
                return self._miscopied(side)
        elif statement.says == "alone" and self.begun and expression not in (*self._numbers, self.whole.value):
            return Slip(side.start, side.end, f"nothing before gives {expression}", self._next())
        return None

    def _wrong_formula(self) -> Slip | None:
        """The first formula that does not stand for the problem, or for a part of it, once its names are explained."""
        for side in list(self._formulas):
            formula = side.expression
            if not names(formula) <= self.meaning.keys():
                continue
            self._formulas.remove(side)
            shown = self._meant(formula)
            if self._is_whole(shown):
                self.formula = formula
            elif shown.mark not in self._brackets:
                partial = [name for name in sorted(names(formula)) if self.meaning[name].mark not in self._brackets]
                if partial:
                    return self._miscopied(self.shown[partial[0]])
                if not self._stands(shown):
                    right = format_expression(self.in_names() or self.expression)
                    reason = "with what the names stand for it is another equation"
                    return Slip(side.start, side.end, reason, f"the equation is {right}")
        return None

    def _answer(self, side: Side) -> Slip | None:
        reason = ""
        if self.begun and not self.done:
            reason = "the calculation is not finished"
        elif side.expression != self.whole.value:
            reason = f"the steps give {self.whole.value}" if self.done else "it is not what the equation comes to"
        if reason:
            return Slip(side.start, side.end, reason, self._next())
        self.answered = self.stated = True
        return None

    # ---- why something is wrong

    @cached_property
    def _brackets(self) -> dict[Mark, str]:
        """The brackets of the question by the marks of their forms."""
        found: dict[Mark, str] = {}
        opened: list[int] = []
        for place, character in enumerate(self.question):
            if character == "(":
                opened.append(place)
            elif character == ")" and opened:
                bracket = self.question[opened.pop() : place + 1]
                found[form(parse(bracket), {}).mark] = bracket
        return found

    def _next(self) -> str:
        found = self.next_operation()
        return _equal(found) if found is not None else ""

    def _foreign(self, side: Side, head: Form) -> Slip:
        known = {abs(value) for value in (*self._numbers, *operands(self.whole))}
        strange = [abs(value) for value in operands(head) if abs(value) not in known]
        reason = f"nothing before gives {strange[0]}" if strange else "this is no part of what is left to calculate"
        return Slip(side.start, side.end, reason, self._next())

    def _miscopied(self, side: Side, bracket: str = "") -> Slip:
        """`bracket`: what was to be copied, if that is known; otherwise it is the most similar one that has no name."""
        taken = {meaning.mark for meaning in self.meaning.values()}
        left = [text for mark, text in self._brackets.items() if mark not in taken] or [self.question]
        written = format_expression(side.expression)
        truth = bracket or max(left, key=lambda text: difflib.SequenceMatcher(None, text, written).ratio())
        return Slip(side.start, side.end, f"the equation has {truth}", f"the equation has {truth}")

    def _miscalculated(self, before: Expression, old: Form, new: Form) -> tuple[str, str]:
        values = {name: self.result[name].value for name in names(before) & self.result.keys()}
        shown = operands(new)
        misused = [name for name in sorted(values) if not {values[name], -values[name]} & set(shown)]
        if isinstance(before, str) or (misused and new.kind and len(names(before)) == len(shown)):
            name = before if isinstance(before, str) else misused[0]
            return f"{name} is {values[name]}", f"{name} = {values[name]}"
        expression = substitute(before, values)
        if old.value == new.value:
            return f"its value is right, but it is not calculated from {format_expression(expression)}", self._next()
        undone = (
            []
            if names(expression)
            else [found for found in ready_operations(expression) if not _shows(shown, found, old)]
        )
        if undone and (new.kind or expression == undone[0]):
            reason = f"there is a calculation error, since {operation(undone[0])} should be {value_of(undone[0])}"
            return reason, _equal(undone[0])
        return (
            f"there is a calculation error, since {format_expression(expression)} should be {old.value}",
            self._next(),
        )


def _shows(shown: Sequence[int], found: Operation, old: Form) -> bool:
    """Whether the value of `found`, an operation in `old`, is among the numbers `shown` that come after it."""
    left = Counter(map(abs, shown)) - (Counter(map(abs, operands(old))) - Counter(map(abs, operands(form(found, {})))))
    return abs(value_of(found)) in left


def _equal(found: Operation) -> str:
    return f"{operation(found)} = {value_of(found)}"


def _backwards(sides: Sequence[Expression], known: Mapping[str, Form]) -> bool:
    """`21 = 7 * 3`, or `(1 + 2) = A` where A is new."""
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


def _parts(whole: Form) -> Iterator[Form]:
    yield whole
    for part in whole.parts:
        yield from _parts(part)


def _operations(state: Form) -> Iterator[Operation]:
    """The operation on the first two numbers of each sum and product in `state`, the innermost first."""
    for part in state.parts:
        yield from _operations(part)
    plain = [part.value for part in state.parts if not part.kind]
    if state.kind in ("+", "*") and len(plain) > 1:
        yield Operation(plain[0], state.kind, plain[1])
