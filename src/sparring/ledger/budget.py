"""Caps on calls, tokens and money, for a run and for each of its rounds.

Every request that is sent counts as a call, whatever its result. Tokens and money count when the reply arrives; until
then the most that the request may cost is reserved. A request is sent if that fits the caps beside what is spent and
reserved. If it does not fit, it waits for those in flight. If it would not fit even alone, it is sent alone, as long as
the cap is not reached. So tokens and money exceed a cap by at most one request. Requests without a known bound (of a
speaker of your own, or to a server that ignores `max_tokens`) may add more.

A request may have been paid though its result is unknown, because it timed out, its connection was cut or the process
was killed: then it counts with the most that it may have cost. Replies from the ledger cost nothing.
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

    def add(self, more: Spent, sign: int = 1) -> None:
        """Add `more`, or with the `sign` -1 take it away."""
        self.calls += sign * more.calls
        self.tokens += sign * more.tokens
        self.money += sign * more.money

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


class _Account:
    """What a run or a round has spent under its cap, and the most that its requests in flight may cost."""

    def __init__(self, cap: Cap) -> None:
        self.cap, self.spent, self.reserved = cap, Spent(), Spent()

    def must_wait(self, most: Spent) -> bool:
        """Whether `most` does not fit the cap now and may fit it when a request in flight has its result."""
        if not self.reserved.tokens:  # not money, of which rounding may leave a rest
            return False
        for unit in ("tokens", "money"):
            limit, own = getattr(self.cap, unit), getattr(most, unit)
            taken = getattr(self.spent, unit) + getattr(self.reserved, unit)
            if limit is not None and own > 0 and taken + own > limit:
                return True
        return False


class Meter:
    """Counts what a run spends and checks it against its budget."""

    def __init__(self, budget: Budget, earlier: Iterable[tuple[str, int, Spent]] = ()) -> None:
        """`earlier`: what the run spent before it was resumed, by phase and round."""
        self.budget = budget
        self._run = _Account(budget.run)
        self._rounds: defaultdict[tuple[str, int], _Account] = defaultdict(lambda: _Account(budget.round))
        for phase, round_, spent in earlier:
            self.count(Serving(phase, round_), spent)

    @property
    def run(self) -> Spent:
        """What the run has spent."""
        return self._run.spent

    def check(self, serving: Serving) -> None:
        """Raise BudgetReached if a cap allows no further request."""
        for scope, account in zip(("run", "round"), self._accounts(serving), strict=True):
            for unit in ("calls", "tokens", "money"):
                limit = getattr(account.cap, unit)
                if limit is not None and getattr(account.spent, unit) >= limit:
                    raise BudgetReached(scope, unit, limit, account.spent, self.run)

    def admit(self, serving: Serving, most: Spent) -> bool:
        """Count a request that is about to be sent and reserve `most`; False if it has to wait. Raises BudgetReached.

        `most` is one call with the most that it may cost. `release` it when the result is known.
        """
        self.check(serving)
        accounts = self._accounts(serving)
        if any(account.must_wait(most) for account in accounts):
            return False
        self.count(serving, Spent(calls=1))
        for account in accounts:
            account.reserved.add(most)
        return True

    def release(self, serving: Serving, most: Spent) -> None:
        """Give back what `admit` reserved."""
        for account in self._accounts(serving):
            account.reserved.add(most, sign=-1)

    def count(self, serving: Serving, more: Spent) -> None:
        """Add `more` to what is spent in the run and in the round of `serving`."""
        for account in self._accounts(serving):
            account.spent.add(more)

    def _accounts(self, serving: Serving) -> tuple[_Account, _Account]:
        return self._run, self._rounds[serving.phase, serving.round]


def _format_amount(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"
