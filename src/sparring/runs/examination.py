"""Examines the partners of a recipe, before they are paid to train a learner. No learner is loaded.

The probes come from development problems, then from training problems, never from test problems. The calls of a partner
that is a model are on the ledger in the exam's folder, so an exam can be resumed and has a budget. The folder holds
`recipe.toml`, `run.json`, `ledger.sqlite`, and the results in `exam.json`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import Progress

from sparring.common.concurrency import bounded_gather, run_sync
from sparring.common.errors import (
    ConfigError,
    ConversationError,
    Failure,
    RunStopped,
    SparringError,
    Unavailable,
    nearest,
)
from sparring.common.files import write_json, write_whole
from sparring.common.registry import Catalogue
from sparring.common.seeds import digest, named_rng
from sparring.common.terminal import Terminal
from sparring.config.factory import ROLES, name_of, role_fields
from sparring.config.recipe import Recipe
from sparring.core import attempts
from sparring.core.attempts import Serving, Tokens
from sparring.core.exam import Exam, Graded, Measure, Probe
from sparring.core.task import Problem
from sparring.ledger import Ledger, Prices, entries
from sparring.runs.folder import RECIPE, check_resumable
from sparring.runs.lock import locked
from sparring.runs.recording import (
    PRICES,
    STATUS,
    USED,
    check_ready,
    identity,
    is_recordable,
    ledger_path,
    open_ledger,
    partner_on_ledger,
)
from sparring.speakers.human import Human

EXAM_RESULTS = "exam.json"
EXAMS = Catalogue("sparring.exams", "exam")
HOPELESS = 10  # calls; if so many get no reply and none gets one, the exam stops


@dataclass(frozen=True)
class Candidacy:
    """A partner to be examined; `name` says where the recipe names it first."""

    name: str
    role: str
    partner: Any

    @property
    def model(self) -> str:
        """The partner class, and its speaker with the model if it has one."""
        speaker = getattr(self.partner, "speaker", None)
        own = [] if speaker is None else [name_of(speaker), *filter(None, [str(getattr(speaker, "model", "") or "")])]
        return " ".join([name_of(self.partner), *own])


@dataclass(frozen=True)
class Report:
    """The result of one exam of one partner.

    `seconds` are those of each request, `calls` the calls of the partner; `price` is that of a hundred calls, None
    where a price is unknown.
    """

    exam: str
    candidate: Candidacy
    calls: int
    measures: tuple[Measure, ...]
    graded: tuple[Graded, ...]
    seconds: tuple[float, ...]
    price: float | None

    @property
    def latency(self) -> tuple[float, float]:
        """The median and the 95th percentile of the seconds of a request; 0 without requests."""
        ordered = sorted(self.seconds) or [0.0]
        return median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]

    def plain(self) -> dict[str, Any]:
        """Return the report with every probe as plain data."""
        return {
            "exam": self.exam,
            "role": self.candidate.role,
            "partner": self.candidate.model,
            "named_in": self.candidate.name,
            "calls": self.calls,
            "measures": [measure.plain() for measure in self.measures],
            "latency": {"median": self.latency[0], "p95": self.latency[1]},
            "price_per_hundred_calls": self.price,
            "items": [graded.plain() for graded in self.graded],
        }


@dataclass(frozen=True)
class _Plan:
    """An exam of a candidate with its probes."""

    exam: Exam
    candidate: Candidacy
    probes: Sequence[Probe]


def examine(
    recipe: Recipe,
    run: str | Path | None = None,
    *,
    role: str | None = None,
    calls: int = 100,
    preferences: str | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> tuple[Report, ...]:
    """Examine the partners of `recipe` (of the given `role`) with about `calls` calls each.

    `run` is the folder of the exam, required if a partner's calls are recorded. `preferences` is a file of experts'
    preferences for judges. Works in a notebook too.
    """
    plans = _plans(recipe, role, calls, preferences)
    is_paid = any(is_recordable(plan.candidate.partner) for plan in plans)
    if run is None and is_paid:
        names = ", ".join(plan.candidate.model for plan in plans if is_recordable(plan.candidate.partner))
        raise ConfigError(f"the calls of {names} are recorded; give a folder for the ledger with --run")
    folder = None if run is None else Path(run)
    with nullcontext() if folder is None else locked(folder):
        return run_sync(_Examination(recipe, plans, folder, console or Terminal(stderr=True)).go(resume))


# ── what is examined ────────────────────────────────────────────────────────────────────────────────────────


def candidates(recipe: Recipe, role: str | None = None) -> list[Candidacy]:
    """Return the distinct partners that the phases name, or those of one `role`; ConfigError if there is none.

    An author is not examined, since its attempts may be wrong.
    """
    found: list[Candidacy] = []
    examined = {EXAMS[name].role for name in EXAMS}  # type: ignore[attr-defined]
    for number, phase in enumerate(recipe.phases, start=1):
        for field, kind in role_fields(type(phase.method)).items():
            partner = getattr(phase.method, field)
            if partner is None or ROLES[kind] not in examined:
                continue
            if not any(one.role == ROLES[kind] and one.partner == partner for one in found):
                name = f"phase {number} ({name_of(phase.method)}): {field}"
                found.append(Candidacy(name, ROLES[kind], partner))
    if not found:
        raise ConfigError("the recipe names no partner; add a phase whose method has a role")
    if role is not None and role not in examined:
        raise nearest("role with an exam", role, sorted(examined))
    chosen = [one for one in found if role in (None, one.role)]
    if not chosen:
        roles = ", ".join(dict.fromkeys(one.role for one in found))
        raise ConfigError(f"no phase of the recipe has a {role}; choose from {roles}")
    return chosen


def _plans(recipe: Recipe, role: str | None, calls: int, preferences: str | None) -> list[_Plan]:
    """Return the exams of each candidate; ConfigError if there is nothing to examine a candidate with."""
    chosen, problems = candidates(recipe, role), _problems(recipe)
    if preferences is not None and all(one.role != "judge" for one in chosen):
        raise ConfigError(f"no judge is examined, so preferences are not used (got {preferences!r}); leave them out")
    plans: list[_Plan] = []
    for candidate in chosen:
        own = []
        for exam in _exams(candidate.role, preferences):
            probes = exam.probes(recipe.task, problems, max(1, calls // exam.calls), recipe.run.seed)
            own += [_Plan(exam, candidate, probes)] if probes else []
        if not own:
            more = ", or give --preferences" if candidate.role == "judge" else ""
            raise ConfigError(
                f"the task {name_of(recipe.task)} has no development or training problem with "
                f"an answer in which a fault can be planted, so a {candidate.role} cannot be examined; "
                f"add answers and rationales, or choose another task{more}"
            )
        plans += own
    return plans


def _exams(role: str, preferences: str | None) -> Iterator[Exam]:
    for name in EXAMS:
        kind: Any = EXAMS[name]
        if kind.role == role:
            yield kind(preferences or "") if name == "preferences" else kind()


def _problems(recipe: Recipe) -> list[Problem]:
    """Return the development problems, then the training problems, each in random order."""
    seed, splits = recipe.run.seed, (recipe.task.problems("development"), recipe.task.problems("train"))
    return [problem for split in splits for problem in sorted(split, key=lambda one: digest(seed, "exam", one.id))]


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Examination:
    """The exams of one recipe; `folder`, whose lock the caller holds, is None if nothing is recorded."""

    def __init__(self, recipe: Recipe, plans: Sequence[_Plan], folder: Path | None, console: Console) -> None:
        self.recipe, self.plans, self.folder, self.console = recipe, plans, folder, console

    async def go(self, resume: bool) -> tuple[Report, ...]:
        if self.folder is None:
            return tuple([await self._examine(plan, None) for plan in self.plans])
        run = self._begin(self.folder, resume)
        try:
            reports = await self._on_ledger(self.folder, run)
        except (SparringError, KeyboardInterrupt, asyncio.CancelledError) as error:
            write_json(self.folder / STATUS, {"id": run, "status": "stopped", "reason": str(error) or "interrupted"})
            raise
        write_json(self.folder / EXAM_RESULTS, [report.plain() for report in reports])
        write_json(self.folder / STATUS, {"id": run, "status": "finished"})
        return reports

    def _begin(self, folder: Path, resume: bool) -> str:
        """Check and prepare the folder; return the run's id on the ledger."""
        if (folder / "metrics.jsonl").exists() or (folder / "checkpoints").exists():
            raise ConfigError(f"{folder} holds a training run; choose another folder for the exam")
        check_resumable(folder, self.recipe, resume)
        run = identity(folder, ledger_path(self.recipe.ledger.path, folder))
        for plan in self.plans:
            speaker = getattr(plan.candidate.partner, "speaker", None)
            check_ready(speaker, self.recipe.ledger.mode, ledger_path(self.recipe.ledger.path, folder))
        write_whole(folder / RECIPE, self.recipe.toml())
        write_json(folder / STATUS, {"id": run, "status": "running"})
        return run

    async def _on_ledger(self, folder: Path, run: str) -> tuple[Report, ...]:
        if not any(is_recordable(plan.candidate.partner) for plan in self.plans):
            return tuple([await self._examine(plan, None) for plan in self.plans])
        reports: list[tuple[Report, set[str]]] = []
        with open_ledger(self.recipe.ledger, self.recipe.budget, folder, run) as ledger:
            try:
                for plan in self.plans:
                    start = _size(folder / USED)
                    report = await self._examine(plan, ledger)
                    reports.append((report, _keys(folder / USED, start)))
            finally:
                await ledger.settle()
        return tuple(self._with_accounts(report, keys, folder) for report, keys in reports)

    async def _examine(self, plan: _Plan, ledger: Ledger | None) -> Report:
        """Ask all probes of one exam."""
        candidate, seconds = plan.candidate, list[float]()
        partner, failures = candidate.partner, list[Failure]()
        if ledger is not None and is_recordable(partner):
            partner = partner_on_ledger(partner, ledger, candidate.role)

        async def one(index: int) -> Graded:
            probe, start = plan.probes[index], time.monotonic()
            attempts.serving.set(Serving(f"exam: {plan.exam.name}", 0, probe.problem.id))
            rng = named_rng(self.recipe.run.seed, "exam", plan.exam.name, candidate.name, index)
            graded = await _grade(plan.exam, partner, self.recipe, probe, rng)
            seconds.append((time.monotonic() - start) / plan.exam.calls)
            failures.extend([graded.failure] if graded.failure else [])
            _check_hope(candidate, failures, len(seconds))
            advance()
            return graded

        at_once = 1 if isinstance(getattr(candidate.partner, "speaker", None), Human) else self.recipe.run.at_once
        with self._bar(plan) as advance:
            graded = await bounded_gather(one, range(len(plan.probes)), at_once)
        measures, calls = plan.exam.measures(graded), len(graded) * plan.exam.calls
        price = 0.0 if vars(type(candidate.partner)).get("by") == "task" else None
        return Report(plan.exam.name, candidate, calls, tuple(measures), tuple(graded), tuple(seconds), price)

    def _with_accounts(self, report: Report, keys: set[str], folder: Path) -> Report:
        """Return `report` with the seconds and the price of its requests on the ledger."""
        path = ledger_path(self.recipe.ledger.path, folder)
        if not keys or not path.exists():
            return report
        recorded = list(entries(path, calls=keys))
        prices, cost = Prices(self.recipe.budget.prices, folder / PRICES), 0.0
        for entry in recorded:
            tokens, urls = Tokens(entry["prompt_tokens"], entry["completion_tokens"]), entry["host"].split()
            cost += prices.cost(entry["model"], tokens, urls)
        is_priced = all(prices.of(entry["model"], entry["host"].split()) is not None for entry in recorded)
        seconds = tuple(entry["seconds"] for entry in recorded if entry["outcome"] == attempts.REPLIED)
        return replace(report, seconds=seconds, price=100 * cost / report.calls if is_priced else None)

    @contextmanager
    def _bar(self, plan: _Plan) -> Iterator[Callable[[], None]]:
        """Show a progress bar, unless a person is asked at the terminal; yield what advances it."""
        is_human = isinstance(getattr(plan.candidate.partner, "speaker", None), Human)
        is_shown = self.console.is_terminal and not is_human
        with Progress(console=self.console, transient=True, disable=not is_shown) as bar:
            task = bar.add_task(f"{plan.exam.name}: {plan.candidate.model}", total=len(plan.probes))
            yield partial(bar.advance, task)


async def _grade(exam: Exam, partner: Any, recipe: Recipe, probe: Probe, rng: random.Random) -> Graded:
    try:
        return await exam.grade(partner, recipe.task, probe, rng)
    except ConversationError as error:
        return Graded.failed(probe, Failure.of(error, exam.role))


def _check_hope(candidate: Candidacy, failures: Sequence[Failure], done: int) -> None:
    """Raise RunStopped if so far no call got a reply; replies that cannot be used are a result of the exam."""
    if done >= HOPELESS and sum(failure.kind == Unavailable.__name__ for failure in failures) == done:
        raise RunStopped(
            f"the {candidate.role} ({candidate.model}) gave no reply to the first {done} calls "
            f"({failures[-1].reason[:200]}); correct the cause, and continue with --resume"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _keys(path: Path, start: int) -> set[str]:
    """Return the ledger keys in the file `path` after byte `start`."""
    return set(path.read_bytes()[start:].decode().split()) if path.exists() else set()
