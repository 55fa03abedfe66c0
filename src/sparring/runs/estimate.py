"""`sparring estimate`: what a run may cost at most, told before anything is sent.

A few episodes of each phase are played dry (`dry`), and a round is taken to have as many calls a problem as the dry
episode with the most. So the calls are a bound, the tokens of the prompts a guess, and those of the replies a bound
again. Not here: calls that are made once more because a try failed or a reply could not be read, and what a ledger
holds already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from rich.table import Table as Columns

from sparring.config.factory import ROLES, name_of, role_fields
from sparring.core.attempts import Tokens
from sparring.runs.problem_order import Choice
from sparring.runs.dry_run import Dry, dry
from sparring.training.learner import Learner
from sparring.ledger import Price, totals
from sparring.core.method import Method
from sparring.config.recipe import Recipe
from sparring.runs.recording import spoken
from sparring.common.terminal import Terminal
from sparring.common.concurrency import wait_for


class EstimateRow(NamedTuple):
    """What one role at one model may be asked in each of the `rounds` of a phase: `calls` at most, their tokens, and
    where earlier calls tell of it the tokens of replies as long as those were (`usual`)."""

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
        """Whether it costs money of which nobody knows how much."""
        return self.price is None and self.completion > 0

    def cost(self, completion: int | None) -> float:
        """What a round costs with replies of so many tokens in all; 0 where that is not known."""
        return self.price.of(Tokens(self.prompt, completion or 0)) if self.price else 0.0

    @property
    def spends(self) -> dict[str, float]:
        """What a round may spend, in the words of a budget."""
        return {"calls": self.calls, "tokens": self.prompt + self.completion, "money": self.cost(self.completion)}


@dataclass(frozen=True)
class Estimate:
    """What a run may cost: a line for each role of each phase, and what else there is to say."""

    lines: tuple[EstimateRow, ...]
    notes: tuple[str, ...]

    def total(self, amount: Callable[[EstimateRow], float]) -> float:
        """The sum of `amount`, which is of one round, over all rounds."""
        return sum(amount(line) * line.rounds for line in self.lines)


def estimate(recipe: Recipe, episodes: int = 8) -> Estimate:
    """What a run of `recipe` may cost, after so many dry episodes of each phase; nothing is sent."""
    paid = [number for number, phase in enumerate(recipe.phases) if spoken(phase.method)]
    if not paid:
        return Estimate((), ("nobody is to be paid: all partners are programs of the task",))
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    learner, choice = Learner.load(recipe.learner, recipe.run.seed), Choice(recipe)
    usual = _earlier(recipe)
    lines: list[EstimateRow] = []
    notes: list[str] = []
    for number in paid:
        phase = recipe.phases[number]
        problems = choice.round(phase, number, 0)[:episodes]
        played = wait_for(dry(phase.method, recipe.task, problems, learner))
        name = f"{number + 1}-{name_of(phase.method)}"
        count = choice.count(phase) + len(choice.consulted(phase, number, 0))
        found = _lines(name, played, phase.rounds, count, usual)
        lines += (line._replace(price=recipe.budget.prices.get(line.model)) for line in found)
        notes += _notes(name, played, phase.method)
    return Estimate(tuple(lines), (*notes, *_unpriced(lines, recipe), *caps(lines, recipe)))


def _lines(
    name: str, played: Dry, rounds: int, problems: int, usual: Mapping[tuple[str, str], float]
) -> Iterator[EstimateRow]:
    """What each role may be asked in the phase `name`, of which a round plays so many `problems`."""
    for role, model in dict.fromkeys((asked.role, asked.model) for asked in played.asked):
        found = [asked for asked in played.asked if (asked.role, asked.model) == (role, model)]
        calls = max(Counter(asked.problem for asked in found).values()) * problems
        prompt = round(calls * fmean(asked.prompt_tokens for asked in found))
        completion = calls * max(asked.max_tokens for asked in found)
        length = usual.get((role, model))
        likely = None if length is None else round(calls * length)
        yield EstimateRow(name, rounds, role, model, calls, prompt, completion, likely)


def _notes(name: str, played: Dry, method: Method) -> Iterator[str]:
    """What makes the figures of the phase `name` less than a bound, or more than need be."""
    for role, count in Counter(asked.role for asked in played.asked if asked.again).items():
        of = sum(asked.role == role for asked in played.asked)
        yield (
            f"{name}: {count:,} of the {of:,} dry calls of the {role} ask once more, since the stand-in's reply cannot "
            "be read with its prompt or pattern; there is no telling how many real ones will"
        )
    kinds = role_fields(type(method))
    for role in sorted({ROLES[kinds[role]] for role in spoken(method)} - {asked.role for asked in played.asked}):
        causes = Counter(f"{f.who}: {f.kind}: {f.reason[:80]}" for e in played.episodes for f in e.failures)
        why = f" ({causes.most_common(1)[0][0]})" if causes else ""
        yield f"{name}: no dry episode got as far as the {role}{why}; its calls are not counted here"


# ── prices and caps ─────────────────────────────────────────────────────────────────────────────────────────


def _earlier(recipe: Recipe) -> dict[tuple[str, str], float]:
    """How long replies were so far, in tokens, by role and model, where the recipe's ledger holds some."""
    path = Path(recipe.ledger.path) if recipe.ledger.path else None
    if path is None or not path.exists() or recipe.ledger.mode == "off":
        return {}
    replies: Counter[tuple[str, str]] = Counter()
    tokens: Counter[tuple[str, str]] = Counter()
    for total in totals(path):
        if total.open:  # their tokens are a bound
            continue
        replies[total.role, total.model] += total.calls - total.failed
        tokens[total.role, total.model] += total.completion_tokens
    return {key: tokens[key] / count for key, count in replies.items() if count}


def _unpriced(lines: list[EstimateRow], recipe: Recipe) -> Iterator[str]:
    for model in dict.fromkeys(line.model for line in lines if line.unpriced):
        limited = (recipe.budget.run.money, recipe.budget.round.money) != (None, None)
        refused = "; with a cap on money the run stops at its first call" if limited else ""
        yield f"the price of {model!r} is not known, so its cost is in no sum: add it to budget.prices{refused}"


def caps(lines: list[EstimateRow], recipe: Recipe) -> Iterator[str]:
    """Where the run would reach each cap of its budget if it spent what it may."""
    for scope in ("run", "round"):
        for unit in ("calls", "tokens", "money"):
            most = getattr(getattr(recipe.budget, scope), unit)
            if most is not None and unit == "money" and any(line.unpriced for line in lines):
                yield f"budget.{scope}.money = {most:,}: without all prices it is not known whether that is enough"
            elif most is not None:
                yield _reached(lines, f"budget.{scope}.{unit}", unit, most, adding_up=scope == "run")


def _reached(lines: list[EstimateRow], key: str, unit: str, most: float, adding_up: bool) -> str:
    highest = spent = 0.0
    for phase in dict.fromkeys(line.phase for line in lines):
        each = sum(line.spends[unit] for line in lines if line.phase == phase)
        for round_ in range(1, next(line.rounds for line in lines if line.phase == phase) + 1):
            spent = spent + each if adding_up else each
            if spent > most:
                return f"{key} = {most:,} may be reached in phase {phase}, round {round_}"
            highest = max(highest, spent)
    return f"{key} = {most:,} is enough: {_told(highest)} at most"


def _told(amount: float) -> str:
    return f"{amount:,.0f}" if amount == round(amount) else f"{amount:,.4f}"


# ── in words ────────────────────────────────────────────────────────────────────────────────────────────────


def print_estimate(recipe: Recipe, episodes: int) -> None:
    """Prints the estimate of `recipe`, what of it is a bound and what a guess."""
    found, console = estimate(recipe, episodes), Terminal()
    if found.lines:
        console.print(_columns(found))
        console.print(LEGEND.format(episodes=episodes, model=recipe.learner.model))
        if any(line.usual is not None for line in found.lines):
            console.print(USUAL)
    for note in found.notes:
        console.print(note)


def _columns(found: Estimate) -> Columns:
    usual = any(line.usual is not None for line in found.lines)
    columns = Columns(box=None)
    for heading in ("phase", "rounds", "role", "model", "calls ≤", "tokens in ≈", "out ≤", "cost"):
        columns.add_column(heading, overflow="fold")
    for heading in ("out ≈", "cost ≈") if usual else ():
        columns.add_column(heading)
    for line in found.lines:
        counts = (line.calls, line.prompt, line.completion)
        row = [line.phase, str(line.rounds), line.role, line.model, *(f"{n * line.rounds:,}" for n in counts)]
        row.append(UNKNOWN if line.unpriced else f"{line.cost(line.completion) * line.rounds:.4f}")
        if usual and line.usual is not None:
            cost = UNKNOWN if line.unpriced else f"{line.cost(line.usual) * line.rounds:.4f}"
            row += [f"{line.usual * line.rounds:,}", cost]
        columns.add_row(*row)
    sums = (lambda x: x.calls), (lambda x: x.prompt), (lambda x: x.completion)
    total = ["total", "", "", "", *(f"{found.total(amount):,.0f}" for amount in sums)]
    more = f" + {UNKNOWN}" if any(line.unpriced for line in found.lines) else ""
    total.append(f"{found.total(lambda line: line.cost(line.completion)):.4f}{more}")
    if usual and all(line.usual is not None for line in found.lines):
        total += [f"{found.total(lambda line: line.usual or 0):,.0f}"]
        total.append(f"{found.total(lambda line: line.cost(line.usual)):.4f}{more}")
    columns.add_row(*total)
    return columns


UNKNOWN = "?"
LEGEND = """calls ≤: a bound, as if no attempt were right and each reply led to the most further calls
         (a try that fails and a reply that cannot be read are one more each)
tokens in ≈: a guess from {episodes} dry episodes a phase, counted by the tokenizer of {model}
out ≤: a bound, max_tokens for each call"""
USUAL = "out ≈: with replies as long as the ledger's were so far, by role and model"
