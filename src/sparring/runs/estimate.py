"""`sparring estimate`: computes the most that a run may cost, and about how long it takes, before anything is sent.

It simulates a few episodes of each phase (`dry_run`) and assumes that every problem of a round makes as many calls as
the simulated episode with the most. So the numbers of calls and of reply tokens are upper bounds, and the number of
prompt tokens is an estimate. It leaves out retries after failed calls or unreadable replies, and it does not subtract
calls that a ledger already holds. The time is measured (`pilot`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from rich.table import Table as Columns

from sparring.common.concurrency import run_sync
from sparring.common.terminal import Terminal
from sparring.config.factory import ROLES, name_of, role_fields
from sparring.config.recipe import Recipe
from sparring.core.attempts import Tokens
from sparring.core.function_partner import FunctionPartner
from sparring.core.method import Method
from sparring.core.partner import JUDGE
from sparring.ledger import Price, Prices, addresses, totals
from sparring.protocols.win_rate import WinRate
from sparring.runs.dry_run import DryRun, dry_run
from sparring.runs.pilot import time_in_words
from sparring.runs.problem_order import ProblemOrder
from sparring.runs.recording import recordable_partners
from sparring.runs.selection import protocol_of
from sparring.training.learner import Learner


class EstimateRow(NamedTuple):
    """The calls of one role to one model in each of the `rounds` rounds of a phase.

    `calls` and `completion` (reply tokens) are upper bounds, `prompt` (tokens) is an estimate. `usual` is the number of
    reply tokens if replies are as long as earlier ones on the ledger; None if there are none.
    """

    phase: str
    rounds: int
    role: str
    model: str
    calls: int
    prompt: int
    completion: int
    usual: int | None
    price: Price | None = None

    @property
    def unpriced(self) -> bool:
        """Tell whether the calls use tokens whose price is unknown."""
        return self.price is None and self.completion > 0

    def cost(self, completion: int | None) -> float:
        """Return the cost of a round with `completion` reply tokens in all; 0 if the price is unknown."""
        return self.price.of(Tokens(self.prompt, completion or 0)) if self.price else 0.0

    @property
    def spends(self) -> dict[str, float]:
        """Return the most that a round may spend, by the units of a budget."""
        return {"calls": self.calls, "tokens": self.prompt + self.completion, "money": self.cost(self.completion)}


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a run: a row for each role and model of each phase, and remarks."""

    lines: tuple[EstimateRow, ...]
    notes: tuple[str, ...]

    def total(self, amount: Callable[[EstimateRow], float]) -> float:
        """Return the sum over all rounds of `amount`, which gives the amount of one round."""
        return sum(amount(line) * line.rounds for line in self.lines)


def estimate(recipe: Recipe, episodes: int = 8, learner: Learner | None = None) -> Estimate:
    """Estimate the cost of a run of `recipe` from `episodes` simulated episodes of each phase; sends nothing.

    `learner` is the recipe's, if it is loaded already.
    """
    with_calls = [number for number, phase in enumerate(recipe.phases) if recordable_partners(phase.method)]
    if not with_calls:
        return Estimate((), (_free(recipe),))
    learner, order = learner or _load(recipe), ProblemOrder(recipe)
    usual, urls, prices = _usual_lengths(recipe), _addresses(recipe), Prices(recipe.budget.prices)
    rows: list[EstimateRow] = []
    notes: list[str] = []
    for number in with_calls:
        phase = recipe.phases[number]
        problems = order.round(phase, order.total(number), 0)[:episodes]
        simulated = run_sync(dry_run(phase.method, recipe.task, problems, learner))
        name = f"{number + 1}-{name_of(phase.method)}"
        count = order.count(phase) + len(order.consulted(phase, number, 0))
        phase_rows = _rows(name, simulated, phase.rounds or 1, count, usual)
        rows += (row._replace(price=prices.of(row.model, urls.get(row.model, ()))) for row in phase_rows)
        notes += _notes(name, simulated, phase.method)
        if phase.rounds is None:
            notes.append(f"{name}: a budget ends the phase, so its number of rounds is unknown; one round is counted")
    rows += _evaluations(recipe, rows, order)
    return Estimate(tuple(rows), (*notes, *_unpriced(rows, recipe), *caps(rows, recipe)))


def _free(recipe: Recipe) -> str:
    """Say why nothing is counted."""
    parts = (part for phase in recipe.phases for part in vars(phase.method).values())
    functions = sorted({part.function for part in parts if isinstance(part, FunctionPartner)})
    if functions:
        return f"no call is counted; if {', '.join(functions)} pays for something, add that yourself"
    return "the run costs nothing: no partner is a model behind an API"


def _load(recipe: Recipe) -> Learner:
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    return Learner.load(recipe.learner, recipe.run.seed)


def _rows(
    name: str, simulated: DryRun, rounds: int, problems: int, usual: Mapping[tuple[str, str], float]
) -> Iterator[EstimateRow]:
    """Yield a row for each role and model of the phase `name`, whose rounds have `problems` problems each."""
    for role, model in dict.fromkeys((call.role, call.model) for call in simulated.calls):
        own = [call for call in simulated.calls if (call.role, call.model) == (role, model)]
        calls = max(Counter(call.problem for call in own).values()) * problems
        prompt = round(calls * fmean(call.prompt_tokens for call in own))
        completion = calls * max(call.max_tokens for call in own)
        length = usual.get((role, model))
        likely = None if length is None else round(calls * length)
        yield EstimateRow(name, rounds, role, model, calls, prompt, completion, likely)


def _evaluations(recipe: Recipe, rows: Sequence[EstimateRow], order: ProblemOrder) -> Iterator[EstimateRow]:
    """Yield a row for the calls of the judge that measures the learner, if one does.

    There is an evaluation on development problems after each `evaluate_every` problems and each phase, and two tests at
    the end. A call has as many tokens as the judge's calls in training.
    """
    protocol, settings = protocol_of(recipe), recipe.run
    judge = next((row for row in reversed(rows) if row.role == JUDGE), None)
    if protocol is None or judge is None or not judge.calls or not recordable_partners(protocol):
        return
    verdicts = 2 if isinstance(protocol, WinRate) else 1
    every = settings.evaluate_every
    evaluations = len(recipe.phases) + (int(order.total() / every) if every else 0)
    developed = min(settings.evaluate_problems, len(recipe.task.problems("development")))
    tested = len(recipe.task.problems("test")[: settings.test_problems])
    for name, rounds, problems in (("development", evaluations, developed), ("test", 2, tested)):
        calls = verdicts * problems
        share = calls / judge.calls
        usual = None if judge.usual is None else round(judge.usual * share)
        amounts = (calls, round(judge.prompt * share), round(judge.completion * share), usual)
        yield EstimateRow(name, rounds, JUDGE, judge.model, *amounts, judge.price)


def _notes(name: str, simulated: DryRun, method: Method) -> Iterator[str]:
    """Yield remarks on why the figures of the phase `name` are too high or not a bound."""
    for role, count in Counter(call.role for call in simulated.calls if call.retry).items():
        total = sum(call.role == role for call in simulated.calls)
        yield (
            f"{name}: {count:,} of the {total:,} simulated calls of the {role} are retries, because the simulated "
            "reply does not fit its prompt or pattern; the number of real retries is unknown"
        )
    kinds = role_fields(type(method))
    roles = {ROLES[kinds[field]] for field in recordable_partners(method)}
    for role in sorted(roles - {call.role for call in simulated.calls}):
        causes = Counter(f"{f.who}: {f.kind}: {f.reason[:80]}" for e in simulated.episodes for f in e.failures)
        reason = f" ({causes.most_common(1)[0][0]})" if causes else ""
        yield f"{name}: no simulated episode reached the {role}{reason}; its calls are not counted"


# ── prices and caps ─────────────────────────────────────────────────────────────────────────────────────────


def _addresses(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the addresses of the servers of each model of the recipe's partners."""
    partners = (partner for phase in recipe.phases for partner in recordable_partners(phase.method).values())
    return {getattr(partner.speaker, "model", ""): addresses(partner.speaker) for partner in partners}


def _usual_lengths(recipe: Recipe) -> dict[tuple[str, str], float]:
    """Return the mean length in tokens of the replies on the recipe's ledger, by role and model."""
    path = Path(recipe.ledger.path) if recipe.ledger.path else None
    if path is None or not path.exists() or recipe.ledger.mode == "off":
        return {}
    replies: Counter[tuple[str, str]] = Counter()
    tokens: Counter[tuple[str, str]] = Counter()
    for total in totals(path):
        if total.open:  # no result yet: its token counts are only a bound
            continue
        replies[total.role, total.model] += total.calls - total.failed
        tokens[total.role, total.model] += total.completion_tokens
    return {key: tokens[key] / count for key, count in replies.items() if count}


def _unpriced(rows: list[EstimateRow], recipe: Recipe) -> Iterator[str]:
    """Yield a remark for each model without a price."""
    for model in dict.fromkeys(row.model for row in rows if row.unpriced):
        stop = "; because money is capped, the run stops at the first call to it" if recipe.budget.limits_money else ""
        yield f"the price of {model!r} is unknown, so all costs leave it out; add it to budget.prices{stop}"


def caps(rows: list[EstimateRow], recipe: Recipe) -> Iterator[str]:
    """Yield for each cap of the budget where the run would reach it at the highest cost."""
    has_all_rounds = all(phase.rounds for phase in recipe.phases if recordable_partners(phase.method))
    for scope in ("run", "round"):
        for unit in ("calls", "tokens", "money"):
            cap = getattr(getattr(recipe.budget, scope), unit)
            if cap is not None and scope == "run" and not has_all_rounds:
                yield f"budget.run.{unit} = {cap:,}: the number of rounds is unknown, and so whether this is enough"
            elif cap is not None and unit == "money" and any(row.unpriced for row in rows):
                yield f"budget.{scope}.money = {cap:,}: prices are missing, so it is unknown whether this is enough"
            elif cap is not None:
                yield _reached(rows, f"budget.{scope}.{unit}", unit, cap, cumulative=scope == "run")


def _reached(rows: list[EstimateRow], key: str, unit: str, cap: float, cumulative: bool) -> str:
    """Say where spending may pass `cap`; `cumulative` sums over rounds, otherwise each round counts by itself."""
    highest = spent = 0.0
    for phase in dict.fromkeys(row.phase for row in rows):
        per_round = sum(row.spends[unit] for row in rows if row.phase == phase)
        for round_ in range(1, next(row.rounds for row in rows if row.phase == phase) + 1):
            spent = spent + per_round if cumulative else per_round
            if spent > cap:
                return f"{key} = {cap:,} may be reached in phase {phase}, round {round_}"
            highest = max(highest, spent)
    return f"{key} = {cap:,} is enough: the run uses at most {_format(highest)}"


def _format(amount: float) -> str:
    return f"{amount:,.0f}" if amount == round(amount) else f"{amount:,.4f}"


# ── printing ────────────────────────────────────────────────────────────────────────────────────────────────


def print_estimate(recipe: Recipe, episodes: int) -> None:
    """Print the estimate for `recipe`, with a legend of what is a bound and what a guess, then the time."""
    learner, console = _load(recipe), Terminal()
    result = estimate(recipe, episodes, learner)
    if result.lines:
        console.print(_columns(result))
        console.print(LEGEND.format(episodes=episodes, model=recipe.learner.model))
        if any(row.usual is not None for row in result.lines):
            console.print(USUAL)
    for note in result.notes:
        console.print(note)
    for line in time_in_words(recipe, learner, episodes):  # last: it takes longest, and may need too much memory
        console.print(line)


def _columns(result: Estimate) -> Columns:
    has_usual = any(row.usual is not None for row in result.lines)
    columns = Columns(box=None)
    for heading in ("phase", "rounds", "role", "model", "calls ≤", "tokens in ≈", "out ≤", "cost"):
        columns.add_column(heading, overflow="fold")
    for heading in ("out ≈", "cost ≈") if has_usual else ():
        columns.add_column(heading)
    for row in result.lines:
        counts = (row.calls, row.prompt, row.completion)
        cells = [row.phase, str(row.rounds), row.role, row.model, *(f"{n * row.rounds:,}" for n in counts)]
        cells.append(UNKNOWN if row.unpriced else f"{row.cost(row.completion) * row.rounds:.4f}")
        if has_usual and row.usual is not None:
            cost = UNKNOWN if row.unpriced else f"{row.cost(row.usual) * row.rounds:.4f}"
            cells += [f"{row.usual * row.rounds:,}", cost]
        columns.add_row(*cells)
    amounts = (lambda x: x.calls), (lambda x: x.prompt), (lambda x: x.completion)
    total = ["total", "", "", "", *(f"{result.total(amount):,.0f}" for amount in amounts)]
    more = f" + {UNKNOWN}" if any(row.unpriced for row in result.lines) else ""
    total.append(f"{result.total(lambda row: row.cost(row.completion)):.4f}{more}")
    if has_usual and all(row.usual is not None for row in result.lines):
        total += [f"{result.total(lambda row: row.usual or 0):,.0f}"]
        total.append(f"{result.total(lambda row: row.cost(row.usual)):.4f}{more}")
    columns.add_row(*total)
    return columns


UNKNOWN = "?"
LEGEND = """calls ≤: an upper bound; assumes that every answer is wrong and every reply leads to the most further calls
         (each failed call and each unreadable reply adds one)
tokens in ≈: an estimate from {episodes} simulated episodes per phase, counted with the tokenizer of {model}
out ≤: an upper bound, max_tokens for each call"""
USUAL = "out ≈: an estimate; assumes replies as long as those on the ledger, by role and model"
