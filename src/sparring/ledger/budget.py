"""A budget is a promise: calls, tokens and money, for a run and for each of its rounds.

Every request that leaves counts as a call, whatever comes of it; tokens and money count when it is answered. Nothing
leaves once a cap is reached, so a cap is overshot by no more than what was under way; calls never are. A request that a
kill has cut off may have been paid: from then on it counts as a call, with the most that it may have cost. What the
ledger already holds costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge
from pydantic import BeforeValidator

from sparring.common.errors import ConfigError, RunStopped
from sparring.core.attempts import Serving, Tokens


class Price(NamedTuple):
    """What a million tokens of a model cost, in the unit of the caps."""

    input: Annotated[float, Ge(0)]
    output: Annotated[float, Ge(0)]

    def of(self, tokens: Tokens) -> float:
        """The cost of `tokens`."""
        return (tokens.prompt * self.input + tokens.completion * self.output) / 1e6


@dataclass(frozen=True)
class Cap:
    """The most that may be spent; None: no limit."""

    calls: Annotated[int, Ge(0)] | None = None
    tokens: Annotated[int, Ge(0)] | None = None
    money: Annotated[float, Ge(0)] | None = None


def by_model(table: Any, name: str = "") -> Any:
    """The prices in `table` by the whole names of the models: TOML reads the dots of a name without quotes, as in
    `gpt-4.1-mini = [0.4, 1.6]`, as tables within tables. What is no price is left for the validator to name."""
    if not isinstance(table, Mapping):
        return table
    own = {key: amount for key, amount in table.items() if key in Price._fields and not isinstance(amount, Mapping)}
    found = {name: own} if name and (own or not table) else {}
    for part, inner in table.items():
        if part not in own or not name:
            whole = f"{name}.{part}" if name else part
            found |= by_model(inner, whole) if isinstance(inner, Mapping) else {whole: inner}
    return found


@dataclass(frozen=True)
class Budget:
    """The caps of a run and of each of its rounds, and the prices that money is counted with, by model."""

    run: Cap = Cap()
    round: Cap = Cap()
    prices: Annotated[Mapping[str, Price], BeforeValidator(by_model)] = field(default_factory=dict)

    def cost(self, model: str, tokens: Tokens) -> float:
        """What `tokens` of `model` cost; 0 where the table has no price."""
        return self.prices[model].of(tokens) if model in self.prices else 0.0


@dataclass
class Spent:
    """What has been spent so far."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0

    def __str__(self) -> str:
        return f"{self.calls:,} calls, {self.tokens:,} tokens, {_told(self.money)} in money"


class BudgetReached(RunStopped):
    """A cap is reached: says what was spent, the cap, and how to go on.

    What was spent is told as it is when the words are read: what is under way at the cap is waited for and counts.
    """

    def __init__(self, scope: str, unit: str, cap: float, spent: Spent, in_all: Spent) -> None:
        super().__init__(scope, unit, cap)
        self._spent, self._in_all = spent, in_all

    def __str__(self) -> str:
        scope, unit, cap = self.args
        return (
            f"this {scope} has spent {_told(getattr(self._spent, unit))} of its budget of {_told(cap)} {unit} "
            f"(in all: {self._in_all}); raise budget.{scope}.{unit} and go on: what is recorded is not paid again"
        )


class Meter:
    """What a run spends, held against its budget."""

    def __init__(self, budget: Budget, before: Iterable[tuple[str, int, Spent]] = ()) -> None:
        """`before`: what earlier sittings of the run spent, by phase and round."""
        self.budget = budget
        self.run = Spent()
        self._rounds: defaultdict[tuple[str, int], Spent] = defaultdict(Spent)
        for phase, round_, spent in before:
            self.count(Serving(phase, round_), spent)

    def check(self, serving: Serving) -> None:
        """Raises BudgetReached where a cap allows no further request."""
        self._hold("run", self.run, self.budget.run)
        self._hold("round", self._rounds[serving.phase, serving.round], self.budget.round)

    def admit(self, model: str, serving: Serving) -> None:
        """Counts a request that is about to leave; raises BudgetReached, or ConfigError where no price is known."""
        limited = self.budget.run.money is not None or self.budget.round.money is not None
        if limited and model not in self.budget.prices:
            raise ConfigError(
                f"a budget of money needs the price of {model!r}: add it to budget.prices (0 if it is free)"
            )
        self.check(serving)
        self.count(serving, Spent(calls=1))

    def count(self, serving: Serving, more: Spent) -> None:
        """Adds `more` to what has been spent."""
        for spent in (self.run, self._rounds[serving.phase, serving.round]):
            spent.calls += more.calls
            spent.tokens += more.tokens
            spent.money += more.money

    def _hold(self, scope: str, spent: Spent, cap: Cap) -> None:
        for unit in ("calls", "tokens", "money"):
            most = getattr(cap, unit)
            if most is not None and getattr(spent, unit) >= most:
                raise BudgetReached(scope, unit, most, spent, self.run)


def _told(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"
