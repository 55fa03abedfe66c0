"""Caps on calls, tokens and money, for a run and for each of its rounds.

Every request that is sent counts as a call, whatever its result. Tokens and money count when the reply arrives. Once a
cap is reached nothing more is sent, so only tokens and money can exceed a cap, by at most what was in flight. A request
may have been paid though its result is unknown, because it timed out, its connection was cut or the process was killed:
then it counts with the most that it may have cost. Replies from the ledger cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge
from pydantic import BeforeValidator

from sparring.common.errors import RunStopped
from sparring.core.attempts import Serving, Tokens


class Price(NamedTuple):
    """The price of a million tokens of a model, in the unit of the caps."""

    input: Annotated[float, Ge(0)]
    output: Annotated[float, Ge(0)]

    def of(self, tokens: Tokens) -> float:
        """Return the cost of `tokens`."""
        return (tokens.prompt * self.input + tokens.completion * self.output) / 1e6


@dataclass(frozen=True)
class Cap:
    """Upper limits of what may be spent; None: no limit."""

    calls: Annotated[int, Ge(0)] | None = None
    tokens: Annotated[int, Ge(0)] | None = None
    money: Annotated[float, Ge(0)] | None = None


def flatten_prices(table: Any, name: str = "") -> Any:
    """Return the prices in `table` by the full names of the models.

    TOML parses the dots of an unquoted name, as in `gpt-4.1-mini = [0.4, 1.6]`, into nested tables. Malformed prices
    stay as they are: the validator reports them.
    """
    if not isinstance(table, Mapping):
        return table
    price = {key: amount for key, amount in table.items() if key in Price._fields and not isinstance(amount, Mapping)}
    prices = {name: price} if name and (price or not table) else {}
    for part, inner in table.items():
        if part not in price or not name:
            full_name = f"{name}.{part}" if name else part
            prices |= flatten_prices(inner, full_name) if isinstance(inner, Mapping) else {full_name: inner}
    return prices


Auto = Literal["auto"]
GivenPrices = Mapping[str, Price | Auto] | Auto


@dataclass(frozen=True)
class Budget:
    """The caps of a run and of each of its rounds, and the prices of the models (`prices` says what "auto" means)."""

    run: Cap = Cap()
    round: Cap = Cap()
    prices: Annotated[GivenPrices, BeforeValidator(flatten_prices)] = field(default_factory=dict)

    @property
    def limits_money(self) -> bool:
        """Whether a cap needs the price of every model."""
        return self.run.money is not None or self.round.money is not None


@dataclass
class Spent:
    """The calls, tokens and money spent so far."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0

    def __str__(self) -> str:
        return f"{self.calls:,} calls, {self.tokens:,} tokens, {_format_amount(self.money)} in money"


class BudgetReached(RunStopped):
    """A cap is reached.

    The message shows what is spent at the time it is read, since calls in flight at the cap still count afterwards.
    """

    def __init__(self, scope: str, unit: str, cap: float, spent: Spent, total: Spent) -> None:
        super().__init__(scope, unit, cap)
        self._spent, self._total = spent, total

    def __str__(self) -> str:
        scope, unit, cap = self.args
        return (
            f"this {scope} has spent {_format_amount(getattr(self._spent, unit))} of its budget of "
            f"{_format_amount(cap)} {unit} (in all: {self._total}); raise budget.{scope}.{unit} and resume: "
            "recorded calls are not paid again"
        )


class Meter:
    """Counts what a run spends and checks it against its budget."""

    def __init__(self, budget: Budget, earlier: Iterable[tuple[str, int, Spent]] = ()) -> None:
        """`earlier`: what the run spent before it was resumed, by phase and round."""
        self.budget = budget
        self.run = Spent()
        self._rounds: defaultdict[tuple[str, int], Spent] = defaultdict(Spent)
        for phase, round_, spent in earlier:
            self.count(Serving(phase, round_), spent)

    def check(self, serving: Serving) -> None:
        """Raise BudgetReached if a cap allows no further request."""
        self._check_cap("run", self.run, self.budget.run)
        self._check_cap("round", self._rounds[serving.phase, serving.round], self.budget.round)

    def admit(self, serving: Serving) -> None:
        """Count a request that is about to be sent; raises BudgetReached."""
        self.check(serving)
        self.count(serving, Spent(calls=1))

    def count(self, serving: Serving, more: Spent) -> None:
        """Add `more` to what is spent in the run and in the round of `serving`."""
        for spent in (self.run, self._rounds[serving.phase, serving.round]):
            spent.calls += more.calls
            spent.tokens += more.tokens
            spent.money += more.money

    def _check_cap(self, scope: str, spent: Spent, cap: Cap) -> None:
        for unit in ("calls", "tokens", "money"):
            limit = getattr(cap, unit)
            if limit is not None and getattr(spent, unit) >= limit:
                raise BudgetReached(scope, unit, limit, spent, self.run)


def _format_amount(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"
