"""Normal forms of expressions, without redundant brackets, and whether one form follows from another.

Two expressions are the same calculation if the marks of their forms agree. A mark is the value of a form modulo a prime
after each operand is replaced by a fixed random number. Different calculations have equal marks with probability about
1e-17 (Schwartz-Zippel). A mark has two numbers, computed with and without minus signs, so that cancelling operands
still count: `5 - 5` is not `7 - 7`. Equal values are not enough: `2 * 2` has the value of `2 + 2` but does not follow
from it. A form follows from another if it results from evaluating some of its parts.

`expressions` and `equations` read text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from sparring.common.seeds import stream
from sparring.parsing.arithmetic.expressions import Expression, Operation

_PRIME = 2**61 - 1
Mark = tuple[int, int]


class Form(NamedTuple):
    """A calculation without redundant brackets.

    `kind` is `""` for a number, `+` for a sum, `*` for a product, `-` for the negative of a sum or product. No part is
    of the same kind as the whole.
    """

    kind: str
    parts: tuple[Form, ...]
    value: int
    mark: Mark


@lru_cache(maxsize=1 << 14)
def number_form(value: int) -> Form:
    """Return the form of a number. Zero and one are ordinary operands: `0 * 5` is not `0 * 4`."""
    mark = stream("arithmetic", abs(value)) % _PRIME
    return Form("", (), value, _negated((mark, mark)) if value < 0 else (mark, mark))


def _negated(mark: Mark) -> Mark:
    return -mark[0] % _PRIME, mark[1]


def negative(form: Form) -> Form:
    """Return the negative of `form`."""
    if not form.kind:
        return number_form(-form.value)
    if form.kind == "-":
        return form.parts[0]
    return Form("-", (form,), -form.value, _negated(form.mark))


def total(forms: Iterable[Form]) -> Form:
    """Return the sum of `forms`."""
    parts: list[Form] = []
    for form in forms:
        parts.extend(form.parts if form.kind == "+" else (form,))  # a sum in a sum needs no brackets
    signed = unsigned = value = 0
    for part in parts:
        value += part.value
        signed += part.mark[0]
        unsigned += part.mark[1]
    return Form("+", tuple(parts), value, (signed % _PRIME, unsigned % _PRIME))


def product(forms: Iterable[Form]) -> Form:
    """Return the product of `forms`, with the minus signs of brackets moved outside."""
    n_minus_signs = 0
    parts: list[Form] = []
    for form in forms:
        n_minus_signs += form.kind == "-"
        bare = form.parts[0] if form.kind == "-" else form
        parts.extend(bare.parts if bare.kind == "*" else (bare,))
    signed = unsigned = value = 1
    for part in parts:
        value *= part.value
        signed = signed * part.mark[0] % _PRIME
        unsigned = unsigned * part.mark[1] % _PRIME
    result = Form("*", tuple(parts), value, (signed, unsigned))
    return negative(result) if n_minus_signs % 2 else result


def form(expression: Expression, known: Mapping[str, Form]) -> Form:
    """Return the form of `expression`, with its names taken from `known`; KeyError for an unknown name."""
    if isinstance(expression, Operation):
        left, right = form(expression.left, known), form(expression.right, known)
        if expression.symbol == "*":
            return product((left, right))
        return total((left, right if expression.symbol == "+" else negative(right)))
    return number_form(expression) if isinstance(expression, int) else known[expression]


def operands(form: Form) -> list[int]:
    """Return the numbers in `form`."""
    return [value for part in form.parts for value in operands(part)] if form.kind else [form.value]


def replaced(whole: Form, head: Form, by: Form) -> list[Form]:
    """Return all results of replacing `head` once in `whole` by `by`, which has the same value; [] if it is absent.

    `head` may be some terms of a sum or some factors of a product, also terms of a subtracted bracket.
    """
    return _replaced(whole, head, by) or _replaced(_spread(whole), head, by)


def _replaced(whole: Form, head: Form, by: Form) -> list[Form]:
    if whole.mark == head.mark:
        return [by]
    results: list[Form] = []
    if whole.kind == head.kind and whole.kind in ("+", "*"):
        rest = _without(whole.parts, head.parts)
        if rest is not None:
            results.append(_joined(whole, (by, *rest)))
    for index, part in enumerate(whole.parts):
        for new in _replaced(part, head, by):
            results.append(_joined(whole, (*whole.parts[:index], new, *whole.parts[index + 1 :])))
    return results


def _joined(whole: Form, parts: Sequence[Form]) -> Form:
    """Return a form of the kind of `whole` with `parts`."""
    if whole.kind == "-":
        return negative(parts[0])
    return total(parts) if whole.kind == "+" else product(parts)


def _spread(whole: Form) -> Form:
    """Remove subtracted brackets in `whole`: `4 - (7 + 3)` becomes `4 - 7 - 3`."""
    if whole.kind == "-" and whole.parts[0].kind == "+":
        return total(_spread(negative(part)) for part in whole.parts[0].parts)
    return _joined(whole, [_spread(part) for part in whole.parts]) if whole.kind else whole


def _without(parts: Sequence[Form], taken: Iterable[Form]) -> list[Form] | None:
    """Return `parts` without `taken`; None if one of them is missing."""
    marks, rest = [part.mark for part in parts], list(parts)
    for part in taken:
        if part.mark not in marks:
            return None
        index = marks.index(part.mark)
        del marks[index], rest[index]
    return rest


def follows(before: Form, after: Form) -> bool:
    """Return whether `after` is `before` regrouped, with some parts evaluated or some numbers split."""
    if before.value != after.value:
        return False
    if not after.kind or before.mark == after.mark or len(operands(after)) > len(operands(before)):
        return True
    before, after = _spread(before), _spread(after)
    kinds = (_kind(before), _kind(after))
    return any(_matches(before, after, kind) for kind in "+*" if kind in kinds)


_MOST_PARTS = 7  # parts without an equal counterpart; above it, equal values suffice (the search is exponential)


def _kind(form: Form) -> str:
    return "*" if form.kind == "-" else form.kind  # after `_spread`, only products are negative


def _matches(before: Form, after: Form, kind: str) -> bool:
    """Return whether every part of `after` is a part of `before` or the value of some of its parts.

    Parts of `before` that are left over must be neutral.
    """
    befores, afters = _parts(before, kind), _parts(after, kind)
    for part in list(afters):  # first remove equal parts from both sides
        marks = (part.mark, _negated(part.mark)) if kind == "*" else (part.mark,)  # values agree, so signs do overall
        alike = (candidate for candidate in befores if candidate.mark in marks and candidate.kind == part.kind)
        same = part if part in befores else next(alike, None)
        if same is not None:
            befores.remove(same)
            afters.remove(part)
    has_zero_factor = kind == "*" and number_form(0) in _parts(after, kind)  # it absorbs every left-over part
    return len(befores) > _MOST_PARTS or _assigns(befores, afters, kind, has_zero_factor)


def _parts(form: Form, kind: str) -> list[Form]:
    inner = form.parts[0] if kind == "*" and form.kind == "-" else form
    return list(inner.parts) if inner.kind == kind else [inner]


def _assigns(befores: Sequence[Form], afters: Sequence[Form], kind: str, has_zero_factor: bool) -> bool:
    """Return whether `befores` can be divided into groups, one per part of `afters`, that evaluate to it."""
    if not afters:
        neutral = 0 if kind == "+" else 1
        return has_zero_factor or _combined(befores, kind) == neutral
    first, rest = afters[0], afters[1:]
    largest = 1 if first.kind else len(befores)  # only a number can be the value of several parts
    for size in range(1, largest + 1):
        for taken in combinations(range(len(befores)), size):
            group = [befores[index] for index in taken]
            if _gives(group, first, kind):
                others = [part for index, part in enumerate(befores) if index not in taken]
                if _assigns(others, rest, kind, has_zero_factor):
                    return True
    return False


def _gives(group: Sequence[Form], part: Form, kind: str) -> bool:
    """Return whether `group`, parts of a sum or product (`kind`), evaluates to `part`."""
    if not part.kind:
        return _combined(group, kind) == (part.value if kind == "+" else abs(part.value))
    if kind == "+":
        return group[0].mark == part.mark or (group[0].value == part.value and _matches(group[0], part, "*"))
    signs = (part, _spread(negative(part)))
    return any(group[0].value == side.value and _matches(group[0], side, "+") for side in signs)


def _combined(forms: Iterable[Form], kind: str) -> int:
    """Return the sum, or the absolute value of the product."""
    values = [form.value for form in forms]
    return sum(values) if kind == "+" else abs(math.prod(values))
