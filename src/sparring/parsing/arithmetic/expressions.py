"""Integer expressions of + - * as syntax trees: parse, format, evaluate, reduce one operation at a time.

The parser never uses `eval`; it rejects text that is too long or nested too deeply. `forms` compares expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sparring.common.errors import Unreadable


class Operation(NamedTuple):
    """Two expressions joined by the symbol `+`, `-` or `*`."""

    left: Expression
    symbol: str
    right: Expression


Expression = int | str | Operation

# Larger than any problem needs, small enough that hostile text costs little time and recursion.
MOST_DIGITS, MOST_CHARACTERS, DEEPEST = 50, 600, 40

_TOKEN = re.compile(r"\s*(?:([0-9][0-9,]*)|([A-Za-z]\w*)|([-+*()]))")


def parse(text: str) -> Expression:
    """Parse `text`, products before sums; Unreadable if it is not an expression. Open brackets close at the end."""
    tokens, start, end = [], 0, len(text.rstrip())
    while start < end:
        match = _TOKEN.match(text, start)
        if match is None:
            raise Unreadable(f"not an expression of + - *: {text[start : start + 20]!r}")
        tokens.append(match[match.lastindex or 0])
        start = match.end()
    return parse_tokens(tokens)


def parse_tokens(tokens: Sequence[str]) -> Expression:
    """Parse `tokens` (numbers, names, `+ - * ( )`); Unreadable if they are not an expression."""
    if sum(map(len, tokens)) > MOST_CHARACTERS:
        raise Unreadable(f"an expression of more than {MOST_CHARACTERS} characters")
    parser = _Parser(tokens)
    expression = parser.sum(0)
    if any(token != ")" for token in tokens[parser.index :]):  # superfluous closing brackets are tolerated
        raise Unreadable(f"not an expression: {' '.join(tokens)[:60]!r}")
    return expression


class _Parser:
    """A recursive-descent parser over tokens; `next` is "" after the last one."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.index = 0

    def sum(self, depth: int) -> Expression:
        left = self.product(depth)
        while (symbol := self.next) in ("+", "-"):
            self.index += 1
            left = Operation(left, symbol, self.product(depth))
        return left

    def product(self, depth: int) -> Expression:
        left = self.signed(depth)
        while (symbol := self.next) in ("*", "("):  # `(3)(4)` is a product too
            self.index += symbol == "*"
            left = Operation(left, "*", self.signed(depth))
        return left

    def signed(self, depth: int) -> Expression:
        token = self.next
        self.index += 1
        if depth > DEEPEST or not token or token in "*)":
            raise Unreadable("not an expression, or one with too many brackets")
        if token == "-":
            return _negated(self.signed(depth + 1))
        if token == "+":
            return self.signed(depth + 1)
        if token == "(":
            inner = self.sum(depth + 1)
            self.index += self.next == ")"
            return inner
        return _number(token) if token[0] in "0123456789" else token

    @property
    def next(self) -> str:
        return self.tokens[self.index] if self.index < len(self.tokens) else ""


def _negated(expression: Expression) -> Expression:
    """Negate `expression` by negating its first number."""
    if isinstance(expression, Operation):  # -(a + b) = -a - b, -(a * b) = -a * b
        left, symbol, right = expression
        return Operation(_negated(left), symbol if symbol == "*" else "-+"[symbol == "-"], right)
    return -expression if isinstance(expression, int) else Operation(-1, "*", expression)


def _number(token: str) -> int:
    digits = token.replace(",", "")
    if len(digits) > MOST_DIGITS or not digits.isdecimal():
        raise Unreadable(f"not a whole number of at most {MOST_DIGITS} digits: {token[:20]!r}")
    return int(digits)


def format_expression(expression: Expression, gap: str = " ") -> str:
    """Format `expression` with all brackets: `(-7 + (21 * -9))`."""
    if isinstance(expression, Operation):
        return f"({operation(expression, gap)})"
    return str(expression)


def operation(expression: Operation, gap: str = " ") -> str:
    """Format `expression` without its outermost brackets: `21 * -9`."""
    left, symbol, right = expression
    return f"{format_expression(left, gap)}{gap}{symbol}{gap}{format_expression(right, gap)}"


def calculate(symbol: str, left: int, right: int) -> int:
    """Return the result of `left` `symbol` `right`."""
    return left + right if symbol == "+" else left - right if symbol == "-" else left * right


def value_of(expression: Expression) -> int:
    """Return the value of `expression`, which must not contain names."""
    if isinstance(expression, Operation):
        return calculate(expression.symbol, value_of(expression.left), value_of(expression.right))
    return int(expression)


def names(expression: Expression) -> set[str]:
    """Return the names in `expression`."""
    if isinstance(expression, Operation):
        return names(expression.left) | names(expression.right)
    return {expression} if isinstance(expression, str) else set()


def substitute(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """Replace the names in `expression` that `values` contains."""
    if isinstance(expression, Operation):
        return Operation(substitute(expression.left, values), expression.symbol, substitute(expression.right, values))
    return values.get(expression, expression) if isinstance(expression, str) else expression


def ready_operations(expression: Expression) -> list[Operation]:
    """Return the operations on two numbers in `expression`, from the left."""
    return [ready for _, ready in _ready(expression, ())]


def reductions(expression: Expression) -> Iterator[tuple[Operation, Expression]]:
    """Evaluate `expression` one operation at a time; yield each operation and the remaining expression.

    The order is TriPosT's: all ready operations from the left, then those that have become ready.
    """
    while isinstance(expression, Operation):
        for path, ready in list(_ready(expression, ())):
            expression = _put(expression, path, value_of(ready))
            yield ready, expression


def _ready(expression: Expression, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Operation]]:
    """Yield the operations on two numbers with their paths: 0 leads to the left operand, 1 to the right one."""
    if not isinstance(expression, Operation):
        return
    if isinstance(expression.left, int) and isinstance(expression.right, int):
        yield path, expression
    else:
        yield from _ready(expression.left, (*path, 0))
        yield from _ready(expression.right, (*path, 1))


def _put(expression: Expression, path: tuple[int, ...], value: int) -> Expression:
    """Replace the operation at `path` by `value`."""
    if not path or not isinstance(expression, Operation):
        return value
    left, symbol, right = expression
    if path[0] == 0:
        return Operation(_put(left, path[1:], value), symbol, right)
    return Operation(left, symbol, _put(right, path[1:], value))
