"""What an expression says, brackets that change nothing apart: a form; and whether one form follows from another.

Two expressions are the same calculation if the marks of their forms agree. A mark is the value of a form when its
operands are replaced by large numbers drawn once and for all, modulo a prime: forms that are not the same calculation
agree in it with a probability of about 1e-17 (Schwartz-Zippel). It is taken twice, with every minus and with none, so
that what cancels is not lost: `5 - 5` is not `7 - 7`. The same value is less than that: `2 * 2` has the value of
`2 + 2`, but nobody calculates the one from the other. What does follow is a form some parts of which were evaluated.

Not here: texts; see `expressions` and `equations`.
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
    """A calculation, however it is bracketed: a number (kind `""`), a sum `+`, a product `*` or the negative `-` of
    either, of `parts` that are not of the same kind."""

    kind: str
    parts: tuple[Form, ...]
    value: int
    mark: Mark


@lru_cache(maxsize=1 << 14)
def number_form(value: int) -> Form:
    """The form of one number; zero and one are operands like others, as `0 * 5` is not `0 * 4`."""
    mark = stream("arithmetic", abs(value)) % _PRIME
    return Form("", (), value, _negated((mark, mark)) if value < 0 else (mark, mark))


def _negated(mark: Mark) -> Mark:
    return -mark[0] % _PRIME, mark[1]


def negative(form: Form) -> Form:
    """Minus `form`."""
    if not form.kind:
        return number_form(-form.value)
    if form.kind == "-":
        return form.parts[0]
    return Form("-", (form,), -form.value, _negated(form.mark))


def total(forms: Iterable[Form]) -> Form:
    """The sum of `forms`."""
    parts = [part for form in forms for part in (form.parts if form.kind == "+" else (form,))]
    signed = unsigned = value = 0
    for part in parts:
        value += part.value
        signed += part.mark[0]
        unsigned += part.mark[1]
    return Form("+", tuple(parts), value, (signed % _PRIME, unsigned % _PRIME))


def product(forms: Iterable[Form]) -> Form:
    """The product of `forms`, the minus signs of brackets taken out."""
    flips = 0
    parts: list[Form] = []
    for form in forms:
        flips += form.kind == "-"
        bare = form.parts[0] if form.kind == "-" else form
        parts.extend(bare.parts if bare.kind == "*" else (bare,))
    signed = unsigned = value = 1
    for part in parts:
        value *= part.value
        signed = signed * part.mark[0] % _PRIME
        unsigned = unsigned * part.mark[1] % _PRIME
    found = Form("*", tuple(parts), value, (signed, unsigned))
    return negative(found) if flips % 2 else found


def form(expression: Expression, known: Mapping[str, Form]) -> Form:
    """The form of `expression`, its names filled in from `known`; KeyError for one that is not known."""
    if isinstance(expression, Operation):
        left, right = form(expression.left, known), form(expression.right, known)
        if expression.symbol == "*":
            return product((left, right))
        return total((left, right if expression.symbol == "+" else negative(right)))
    return number_form(expression) if isinstance(expression, int) else known[expression]


def operands(form: Form) -> list[int]:
    """The numbers in `form`."""
    return [value for part in form.parts for value in operands(part)] if form.kind else [form.value]


def replaced(whole: Form, head: Form, by: Form) -> list[Form]:
    """What `whole` may become when `head` stands in it and is replaced by `by`, once; `by` has the value of `head`.

    A head may take some terms of a sum or some factors of a product, and terms of a bracket that is subtracted.
    """
    return _replaced(whole, head, by) or _replaced(_spread(whole), head, by)


def _replaced(whole: Form, head: Form, by: Form) -> list[Form]:
    if whole.mark == head.mark:
        return [by]
    found: list[Form] = []
    if whole.kind == head.kind and whole.kind in ("+", "*"):
        rest = _without(whole.parts, head.parts)
        if rest is not None:
            found.append(_joined(whole, (by, *rest)))
    for place, part in enumerate(whole.parts):
        for new in _replaced(part, head, by):
            found.append(_joined(whole, (*whole.parts[:place], new, *whole.parts[place + 1 :])))
    return found


def _joined(whole: Form, parts: Sequence[Form]) -> Form:
    """A form of the kind of `whole` with other parts."""
    if whole.kind == "-":
        return negative(parts[0])
    return total(parts) if whole.kind == "+" else product(parts)


def _spread(whole: Form) -> Form:
    """`whole` with the brackets that are subtracted in it opened: `4 - (7 + 3)` as `4 - 7 - 3`."""
    if whole.kind == "-" and whole.parts[0].kind == "+":
        return total(_spread(negative(part)) for part in whole.parts[0].parts)
    return _joined(whole, [_spread(part) for part in whole.parts]) if whole.kind else whole


def _without(parts: Sequence[Form], taken: Iterable[Form]) -> list[Form] | None:
    """`parts` less `taken`, None if they are not all there."""
    marks, rest = [part.mark for part in parts], list(parts)
    for part in taken:
        if part.mark not in marks:
            return None
        place = marks.index(part.mark)
        del marks[place], rest[place]
    return rest


def follows(before: Form, after: Form) -> bool:
    """Whether `after` is `before`, regrouped and some of its parts evaluated, or numbers in it taken apart."""
    if before.value != after.value:
        return False
    if not after.kind or before.mark == after.mark or len(operands(after)) > len(operands(before)):
        return True
    before, after = _spread(before), _spread(after)
    return any(_matches(before, after, kind) for kind in "+*" if kind in (_kind(before), _kind(after)))


_MOST_PARTS = 7  # of a sum or a product, common parts apart: with more, the values decide


def _kind(form: Form) -> str:
    return "*" if form.kind == "-" else form.kind  # spread, so what is negative is a product


def _matches(before: Form, after: Form, kind: str) -> bool:
    """Whether every part of `after` is a part of `before`, or the value of some; what is left over must do nothing."""
    befores, afters = _parts(before, kind), _parts(after, kind)
    for part in list(afters):
        marks = (part.mark, _negated(part.mark)) if kind == "*" else (part.mark,)
        alike = (b for b in befores if b.mark in marks and b.kind == part.kind)
        same = part if part in befores else next(alike, None)
        if same is not None:
            befores.remove(same)
            afters.remove(part)
    swallow = kind == "*" and number_form(0) in _parts(after, kind)  # zero times anything
    return len(befores) > _MOST_PARTS or _assigns(befores, afters, kind, swallow)


def _parts(form: Form, kind: str) -> list[Form]:
    inner = form.parts[0] if kind == "*" and form.kind == "-" else form
    return list(inner.parts) if inner.kind == kind else [inner]


def _assigns(befores: Sequence[Form], afters: Sequence[Form], kind: str, swallow: bool) -> bool:
    if not afters:
        return swallow or _combined(befores, kind) == (0 if kind == "+" else 1)
    first, rest = afters[0], afters[1:]
    for size in range(1, 2 if first.kind else len(befores) + 1):
        for taken in combinations(range(len(befores)), size):
            group = [befores[place] for place in taken]
            if _gives(group, first, kind):
                left = [part for place, part in enumerate(befores) if place not in taken]
                if _assigns(left, rest, kind, swallow):
                    return True
    return False


def _gives(group: Sequence[Form], part: Form, kind: str) -> bool:
    if not part.kind:
        return _combined(group, kind) == (part.value if kind == "+" else abs(part.value))
    if kind == "+":
        return group[0].mark == part.mark or (group[0].value == part.value and _matches(group[0], part, "*"))
    signs = (part, _spread(negative(part)))
    return any(group[0].value == side.value and _matches(group[0], side, "+") for side in signs)


def _combined(forms: Iterable[Form], kind: str) -> int:
    """The sum, or the product without its sign."""
    values = [form.value for form in forms]
    return sum(values) if kind == "+" else abs(math.prod(values))
