"""Integer expressions of + - * as they were written: read, write, evaluate, work out one operation at a time.

Never `eval`: a text is read by hand, and one that is too long, or nested too deep, is not an expression.

Not here: which expressions say the same; see `forms`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sparring.common.errors import Unreadable


class Operation(NamedTuple):
    """Two expressions and what is done with them: `+`, `-` or `*`."""

    left: Expression
    symbol: str
    right: Expression


Expression = int | str | Operation

# More than any problem asks for, little enough that no text, however hostile, costs time or depth.
MOST_DIGITS, MOST_CHARACTERS, DEEPEST = 50, 600, 40

_TOKEN = re.compile(r"\s*(?:([0-9][0-9,]*)|([A-Za-z]\w*)|([-+*()]))")


def parse(text: str) -> Expression:
    """The expression `text`, products first; Unreadable if it is none. Brackets not closed close at the end."""
    tokens, place, end = [], 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise Unreadable(f"not an expression of + - *: {text[place : place + 20]!r}")
        tokens.append(found[found.lastindex or 0])
        place = found.end()
    return parse_tokens(tokens)


def parse_tokens(tokens: Sequence[str]) -> Expression:
    """The expression that `tokens` (numbers, names, `+ - * ( )`) spell."""
    if sum(map(len, tokens)) > MOST_CHARACTERS:
        raise Unreadable(f"an expression of more than {MOST_CHARACTERS} characters")
    reader = _Reader(tokens)
    found = reader.sum(0)
    if reader.place < len(tokens) and tokens[reader.place :].count(")") < len(tokens) - reader.place:
        raise Unreadable(f"not an expression: {' '.join(tokens)[:60]!r}")
    return found


class _Reader:
    """Recursive descent over tokens; after the last one comes the empty token."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.place = 0

    def sum(self, depth: int) -> Expression:
        left = self.product(depth)
        while (symbol := self.next) in ("+", "-"):
            self.place += 1
            left = Operation(left, symbol, self.product(depth))
        return left

    def product(self, depth: int) -> Expression:
        left = self.signed(depth)
        while (symbol := self.next) in ("*", "("):  # `(3)(4)` is a product too
            self.place += symbol == "*"
            left = Operation(left, "*", self.signed(depth))
        return left

    def signed(self, depth: int) -> Expression:
        token = self.next
        self.place += 1
        if depth > DEEPEST or not token or token in "*)":
            raise Unreadable("not an expression, or one with too many brackets")
        if token == "-":
            return _negated(self.signed(depth + 1))
        if token == "+":
            return self.signed(depth + 1)
        if token == "(":
            inner = self.sum(depth + 1)
            self.place += self.next == ")"
            return inner
        return _number(token) if token[0] in "0123456789" else token

    @property
    def next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""


def _negated(expression: Expression) -> Expression:
    """Minus `expression`, the sign taken to its first number."""
    if isinstance(expression, Operation):
        left, symbol, right = expression
        return Operation(_negated(left), symbol if symbol == "*" else "-+"[symbol == "-"], right)
    return -expression if isinstance(expression, int) else Operation(-1, "*", expression)


def _number(token: str) -> int:
    digits = token.replace(",", "")
    if len(digits) > MOST_DIGITS or not digits.isdecimal():
        raise Unreadable(f"not a whole number of at most {MOST_DIGITS} digits: {token[:20]!r}")
    return int(digits)


def format_expression(expression: Expression, gap: str = " ") -> str:
    """`expression` with every bracket: `(-7 + (21 * -9))`."""
    if isinstance(expression, Operation):
        return f"({operation(expression, gap)})"
    return str(expression)


def operation(found: Operation, gap: str = " ") -> str:
    """`found` without its outermost brackets: `21 * -9`."""
    return f"{format_expression(found.left, gap)}{gap}{found.symbol}{gap}{format_expression(found.right, gap)}"


def calculate(symbol: str, left: int, right: int) -> int:
    """`left` `symbol` `right`."""
    return left + right if symbol == "+" else left - right if symbol == "-" else left * right


def value_of(expression: Expression) -> int:
    """The value of `expression`, which has no names."""
    if isinstance(expression, Operation):
        return calculate(expression.symbol, value_of(expression.left), value_of(expression.right))
    return int(expression)


def names(expression: Expression) -> set[str]:
    """The names in `expression`."""
    if isinstance(expression, Operation):
        return names(expression.left) | names(expression.right)
    return {expression} if isinstance(expression, str) else set()


def substitute(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """`expression` with the names that `values` has replaced."""
    if isinstance(expression, Operation):
        return Operation(substitute(expression.left, values), expression.symbol, substitute(expression.right, values))
    return values.get(expression, expression) if isinstance(expression, str) else expression


def ready_operations(expression: Expression) -> list[Operation]:
    """The operations on two numbers in `expression`, from the left."""
    return [found for _, found in _ready(expression, ())]


def reductions(expression: Expression) -> Iterator[tuple[Operation, Expression]]:
    """`expression` worked out one operation at a time: the operation, and what is left of the expression.

    Those operations that are ready are done from the left, then those that became ready: the order of TriPosT.
    """
    while isinstance(expression, Operation):
        for path, found in list(_ready(expression, ())):
            expression = _put(expression, path, value_of(found))
            yield found, expression


def _ready(expression: Expression, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Operation]]:
    if not isinstance(expression, Operation):
        return
    if isinstance(expression.left, int) and isinstance(expression.right, int):
        yield path, expression
    else:
        yield from _ready(expression.left, (*path, 0))
        yield from _ready(expression.right, (*path, 1))


def _put(expression: Expression, path: tuple[int, ...], value: int) -> Expression:
    if not path or not isinstance(expression, Operation):
        return value
    left, symbol, right = expression
    if path[0] == 0:
        return Operation(_put(left, path[1:], value), symbol, right)
    return Operation(left, symbol, _put(right, path[1:], value))
