"""Selects the best learner of a run: the first with the highest score on the development problems.

The score is the accuracy. For a task without gold answers it comes from the judge of the last phase that has one: its
mean score, or if it compares pairs, the win rate against the responses of the run's start (`start`). Without a judge,
it comes from the loss on held-out rows, if the last phase learns from rows (`held_out`). At the end the best learner
and the final one are tested, once if they are the same. The results name the phase, round and step of each, and each
phase that never beat its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sparring.common.concurrency import bounded_gather
from sparring.common.errors import ConfigError, ConversationError, RunStopped
from sparring.common.files import read_json, write_json
from sparring.common.schema import keys, plain
from sparring.common.seeds import digest
from sparring.config.factory import for_use, name_of, partner_table, role_fields
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER
from sparring.core.evaluation import Evaluation, Outcome, in_words, measure_problems, score
from sparring.core.match import is_pairwise
from sparring.core.method import Method
from sparring.core.partner import Judge
from sparring.core.protocol import Answers, EvaluationProtocol, Participant, SingleReply
from sparring.core.task import Problem, ReadOnDemand, Split, offers
from sparring.inference.journal import Journal
from sparring.ledger import Ledger
from sparring.models.source import USAGE
from sparring.protocols.judge_score import JudgeScore
from sparring.protocols.solo import Solo
from sparring.protocols.win_rate import WinRate
from sparring.runs.display import Display
from sparring.runs.held_out import held_out_loss
from sparring.runs.metrics import Key, Metrics
from sparring.runs.recording import on_ledger
from sparring.runs.start import START_FILE, read_start
from sparring.training import checkpoint
from sparring.training.checkpoint import Origin, Usage
from sparring.training.trainer import Trainer


@dataclass(frozen=True)
class Progress:
    """The development score, a mean of `measure`, at the start of a phase, and the highest since."""

    phase: int
    method: str
    measure: str
    start: float
    highest: float

    @property
    def beat_its_start(self) -> bool:
        """Tell whether any learner of the phase was better than the one at its start."""
        return self.highest > self.start

    def describe(self) -> str:
        """Return one line for a phase that never beat its start."""
        return (
            f"phase {self.phase} ({self.method}) never beat its start on the development problems: "
            f"{in_words(self.measure, self.start)} at the start, at most {in_words(self.measure, self.highest)} since"
        )


def without_progress(evaluation: Mapping[str, Any]) -> list[Progress]:
    """Return the phases in the content of `evaluation.json` that never beat their start."""
    phases = [Progress(**{name: raw[name] for name in keys(Progress)}) for raw in evaluation["development"]]
    return [phase for phase in phases if not phase.beat_its_start]


def protocol_of(recipe: Recipe) -> EvaluationProtocol | None:
    """Return how a run's learner is measured; None without gold answers and without a judge."""
    if "gold" in offers(recipe.task):
        return Solo()
    methods = (phase.method for phase in reversed(recipe.phases))
    fields = ((method, name, kind) for method in methods for name, kind in role_fields(type(method)).items())
    judge = next((getattr(method, name) for method, name, kind in fields if kind is Judge), None)
    if judge is None:
        return None
    return WinRate(judge) if is_pairwise(judge) else JudgeScore(judge)


def check_measurable(recipe: Recipe) -> None:
    """Raise ConfigError if problems on which the accuracy will be measured have no answer."""
    if not isinstance(protocol_of(recipe), Solo):
        return
    counts: dict[Split, int | None] = {"development": recipe.run.evaluate_problems, "test": recipe.run.test_problems}
    for split, count in counts.items():
        problems = recipe.task.problems(split)
        if isinstance(problems, ReadOnDemand):  # of rows that all offer the same
            continue
        lacking = [problem for problem in problems[:count] if problem.gold is None]
        if lacking:
            key = "evaluate_problems" if split == "development" else "test_problems"
            raise ConfigError(
                f"{len(lacking)} of the {split} problems have no answer, so the accuracy cannot be measured on them; "
                f"add the answers, or set {key} = 0 under [run]"
            )


class Selection:
    """Evaluates a run's learner and saves the best one."""

    def __init__(self, recipe: Recipe, folder: Path, trainer: Trainer, metrics: Metrics, display: Display) -> None:
        self.recipe, self.folder, self.learner = recipe, folder, trainer.learner
        self.metrics, self.display = metrics, display
        self.best = folder / "checkpoints" / "best"
        self.protocol = protocol_of(recipe)
        self.held_out = held_out_loss(recipe, trainer, folder) if self.protocol is None else None
        self.start = folder / START_FILE

    async def begin(self, origin: Origin) -> None:
        """Keep what is compared with later, at the run's `origin`: its responses, or its loss on held-out rows."""
        problems = [*self._problems("development", self.recipe.run.evaluate_problems)]
        problems += self._problems("test", self.recipe.run.test_problems)
        if self._compares_with_start and self.held_out is None and not self.start.exists():
            await self._keep_responses(problems)
        if self.held_out is not None:
            if self._compares_with_start:
                await self.held_out.keep_start(problems)
            await self.develop(self.recipe.phases[0].method, (1, 0, 0), origin)

    @property
    def _compares_with_start(self) -> bool:
        if self.held_out is not None:
            return self.held_out.compares_with_start
        return self.protocol is not None and self.protocol.learners != (1, 1)

    async def _keep_responses(self, problems: list[Problem]) -> None:
        """Save the learner's single replies to `problems`."""
        self.display.stage("the start's responses", len(problems))
        with self._journal("start") as journal:
            answers = SingleReply(getattr(self.recipe.phases[0].method, "max_tokens", SingleReply.max_tokens))

            async def respond(problem: Problem) -> str | None:
                with suppress(ConversationError):
                    return (await self._participant(problem, answers, journal).answer(problem.chat)).response
                return None

            responses = await bounded_gather(respond, problems, self.recipe.run.at_once)
            write_json(self.start, {p.id: response for p, response in zip(problems, responses, strict=True)})
            journal.close(keep=False)

    def use(self, ledger: Ledger | None) -> None:
        """Send the calls of the judge, if there is one, through `ledger`."""
        if self.protocol is not None and ledger is not None:
            self.protocol = on_ledger(self.protocol, ledger)

    def usage(self, method: Method, origin: Origin) -> Usage:
        """Return how to use the learner that `method` trained up to `origin`."""
        source = self.recipe.learner
        settings = plain(method, without=tuple(role_fields(type(method))))
        layout, kwargs = self.recipe.task.layout.name, dict(source.chat_template_kwargs)
        return Usage(name_of(method), settings, layout, source.thinking, kwargs, source.quantization, origin)

    # ── development ─────────────────────────────────────────────────────────────────────────────────────────

    async def develop(self, method: Method, position: tuple[int, int, int], origin: Origin) -> None:
        """Evaluate on the development problems and save the learner if it is the best so far.

        `position` is (phase, round, step) of the line in the metrics; step 0 is the end of the round.
        """
        problems = self._problems("development", self.recipe.run.evaluate_problems)
        if not problems:
            return
        key: Key = ("development", *position)
        figures = self.metrics.get(key)
        if figures is None:
            with self._journal("-".join(map(str, position))) as journal:
                evaluation = await self._evaluate(method, problems, journal)
                journal.close(keep=False)
            figures = {"at": origin.problems, **evaluation.plain()}
        earlier = [score(other) for other in self._development_lines() if other["at"] < figures["at"]]
        # Before the line is recorded: a run that stops in between has no line without its learner.
        if all(score(figures) > other for other in earlier):
            checkpoint.save(self.best, self.learner, self.usage(method, origin))
        self.display.evaluated(self.metrics.record(key, figures))

    def has_evaluated(self, origin: Origin) -> bool:
        """Tell whether the learner of `origin` was evaluated; no two learners of a run saw equally many problems."""
        return any(line["at"] == origin.problems for line in self._development_lines())

    def check(self, problems: float) -> None:
        """Raise Damaged if the best learner of the first `problems` problems cannot be read."""
        if self.best.exists() or any(line["at"] <= problems for line in self._development_lines()):
            checkpoint.check_readable(self.best)

    def _development_lines(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line["kind"] == "development"]

    def progress(self) -> Iterator[Progress]:
        """Yield the progress of each phase whose start was evaluated."""
        lines = self._development_lines()
        for number, phase in enumerate(self.recipe.phases, start=1):
            before = [score(line) for line in lines if line["phase"] < number or line["at"] == 0]
            since = [score(line) for line in lines if line["phase"] == number and line["at"] > 0]
            if before and since:
                yield Progress(number, name_of(phase.method), lines[0]["primary"], before[-1], max(since))

    # ── test ────────────────────────────────────────────────────────────────────────────────────────────────

    async def test(self, final: Usage) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Test the best learner and the final one, which is in memory and answers as `final` says.

        Return the results of both, or None if there are no test problems or nothing can measure a learner.
        """
        problems = self._problems("test", self.recipe.run.test_problems)
        if not problems:
            return None
        best = checkpoint.read_usage(self.best)
        if best is None or best.origin is None or final.origin is None:
            raise ConfigError(f"{self.best / USAGE} does not name the origin of its learner; {checkpoint.START_OVER}")
        results = self._saved_results(best.origin, final.origin)
        if results is None:
            results = await self._test_both(problems, best, final)
        kinds = {"test": results, "test_final": results["final"]}
        lines = []
        for kind, figures in kinds.items():
            values = {
                name: value for name, value in figures.items() if name not in ("outcomes", "final", "development")
            }
            lines.append(self.metrics.record((kind, len(self.recipe.phases), 0, 0), values))
        return lines[0], lines[1]

    async def _test_both(self, problems: list[Problem], best: Usage, final: Usage) -> dict[str, Any]:
        """Test both learners and write the results to `evaluation.json`."""
        assert best.origin is not None
        assert final.origin is not None
        with self._journal("test-final") as final_journal, self._journal("test") as best_journal:
            of_final = await self._evaluate(_answerer(final), problems, final_journal)
            of_best = of_final
            if not _same(best, final):
                self.learner.restore(self.best, best.origin.weights)
                of_best = await self._evaluate(_answerer(best), problems, best_journal)
            results = {
                "origin": best.origin.plain(),
                "protocol": self._measured_by(),
                **_figures(of_best),
                "final": {"origin": final.origin.plain(), **_figures(of_final)},
                "development": [{**asdict(phase), "beat_its_start": phase.beat_its_start} for phase in self.progress()],
            }
            write_json(self.folder / "evaluation.json", results)
            for journal in (final_journal, best_journal):
                journal.close(keep=False)
        return results

    def _measured_by(self) -> dict[str, Any]:
        """Return what figures must share to be compared: the protocol with its judge and baseline, or the objective."""
        protocol = protocol_of(self.recipe)  # its judge without the ledger
        if protocol is None:
            assert self.held_out is not None
            objective = self.held_out.method.objective
            return {"kind": "held_out_loss", "objective": {"kind": type(objective).__name__, **vars(objective)}}
        roles = {role: partner_table(getattr(protocol, role)) for role in role_fields(type(protocol))}
        start = {"baseline": digest(self.start.read_text(encoding="utf-8"))} if self._compares_with_start else {}
        return {"kind": name_of(protocol), **roles, **start}

    def _saved_results(self, best: Origin, final: Origin) -> dict[str, Any] | None:
        """Load the results of these two learners from `evaluation.json`; None if they are missing or damaged."""
        try:
            results: dict[str, Any] = read_json(self.folder / "evaluation.json")
            is_complete = {"measures", "outcomes"} <= results.keys() & results["final"].keys()
            is_same = (results["origin"], results["final"]["origin"]) == (best.plain(), final.plain())
        except (OSError, ConfigError, KeyError, TypeError, AttributeError):
            return None
        return results if is_complete and is_same else None

    # ── evaluating ──────────────────────────────────────────────────────────────────────────────────────────

    def _problems(self, split: Split, count: int | None) -> list[Problem]:
        """Return the first `count` problems of `split`; none if nothing can measure a learner."""
        is_measured = self.protocol is not None or self.held_out is not None
        return list(self.recipe.task.problems(split)[:count]) if is_measured else []

    def _journal(self, name: str) -> Journal:
        return Journal(self.folder / f"evaluation-{name}.journal.jsonl")

    async def _evaluate(self, answerer: Answers, problems: list[Problem], journal: Journal) -> Evaluation:
        """Evaluate the learner in memory on `problems`; RunStopped if the judge fails too often."""
        self.display.stage("evaluating", len(problems))
        if self.held_out is not None:
            return await self.held_out.evaluate(problems)
        assert self.protocol is not None
        is_compared = self.protocol.learners != (1, 1)
        start = read_start(self.start, [problem.id for problem in problems]) if is_compared else {}

        def show_progress(outcome: Outcome) -> None:
            self.display.advance()

        def participants(problem: Problem) -> list[Participant]:
            learner = self._participant(problem, answerer, journal)
            if problem.id not in start:
                return [learner]
            return [learner, replace(learner, name="start", answers=start[problem.id])]

        evaluation = await measure_problems(
            self.protocol,
            self.recipe.task,
            problems,
            participants,
            seed=self.recipe.run.seed,
            at_once=self.recipe.run.at_once,
            on_outcome=show_progress,
        )
        check_judge(evaluation, self.recipe.run.max_partner_failures)
        return evaluation

    def _participant(self, problem: Problem, answerer: Answers, journal: Journal) -> Participant:
        speaker = self.learner.speaker(self.recipe.run.seed, "evaluate", problem.id, journal=journal)
        return Participant("learner", speaker, answerer, self.recipe.task.layout)


def check_judge(evaluation: Evaluation, bound: float) -> None:
    """Raise RunStopped if a partner failed on more than the share `bound` of the problems."""
    failed = [o for o in evaluation.outcomes if any(f.who != LEARNER and f.counts for f in o.failures)]
    if len(failed) > bound * len(evaluation.outcomes):
        failures = (f for o in failed for f in o.failures if f.who != LEARNER and f.counts)
        raise RunStopped(
            f"the evaluation's judge failed on {len(failed)} of {len(evaluation.outcomes)} problems "
            f"(bound {bound:.0%}, max_partner_failures under [run]): {next(failures).reason[:200]}"
        )


def _answerer(usage: Usage) -> Answers:
    """Return the method by which a learner answers."""
    return for_use(usage.method, usage.settings)


def _same(one: Usage, other: Usage) -> bool:
    """Tell whether both have the same weights and the same settings."""
    weights = [usage.origin and usage.origin.weights for usage in (one, other)]
    return weights[0] == weights[1] and asdict(replace(one, origin=None)) == asdict(replace(other, origin=None))


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    outcomes = [outcome.plain() for outcome in evaluation.outcomes]
    return {**evaluation.plain(), "outcomes": [{**o, "transcripts": []} for o in outcomes]}
