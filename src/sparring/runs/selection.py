"""Which learner of a run is the best: the first with the highest accuracy on development problems.

The best learner and the final one are asked the test problems at the end, once if they are the same. What came of it
names the phase, round and step that each is from; and a phase that never beat its start is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sparring.training import checkpoint
from sparring.config.factory import for_use, name_of, role_fields
from sparring.training.checkpoint import Origin, Usage
from sparring.runs.display import Display
from sparring.common.errors import ConfigError
from sparring.core.evaluation import Answers, Evaluation, Outcome, evaluate
from sparring.common.files import read_json, write_json
from sparring.inference.journal import Journal
from sparring.training.learner import Learner
from sparring.core.method import Method
from sparring.runs.metrics import Key, Metrics
from sparring.models.source import USAGE
from sparring.config.recipe import Recipe
from sparring.common.schema import keys, plain
from sparring.core.task import Problem, Split, offers


@dataclass(frozen=True)
class Progress:
    """What a phase came to on the development problems: the accuracy at its start, and the highest since."""

    phase: int
    method: str
    start: float
    highest: float

    @property
    def beat_its_start(self) -> bool:
        """Whether any learner of the phase did better than the one it began with."""
        return self.highest > self.start

    def told(self) -> str:
        """In a line."""
        return (
            f"phase {self.phase} ({self.method}) never beat its start on the development problems: "
            f"{self.start:.1%} at its start, {self.highest:.1%} at most since"
        )


def behind(evaluation: Mapping[str, Any]) -> list[Progress]:
    """The phases that never beat their start, of what evaluation.json holds."""
    phases = [Progress(**{name: told[name] for name in keys(Progress)}) for told in evaluation["development"]]
    return [phase for phase in phases if not phase.beat_its_start]


class Selection:
    """Evaluates a run's learner, and keeps the best one."""

    def __init__(self, recipe: Recipe, folder: Path, learner: Learner, metrics: Metrics, display: Display) -> None:
        self.recipe, self.folder, self.learner = recipe, folder, learner
        self.metrics, self.display = metrics, display
        self.best = folder / "checkpoints" / "best"

    def usage(self, method: Method, origin: Origin) -> Usage:
        """How the learner is to be used that `method` trained up to `origin`."""
        source = self.recipe.learner
        settings = plain(method, without=tuple(role_fields(type(method))))
        layout, kwargs = self.recipe.task.layout.name, dict(source.chat_template_kwargs)
        return Usage(name_of(method), settings, layout, source.thinking, kwargs, source.quantization, origin)

    # ── development ─────────────────────────────────────────────────────────────────────────────────────────

    async def develop(self, method: Method, place: tuple[int, int, int], origin: Origin) -> None:
        """Asks the development problems, under `place` (phase, round, step; step 0: the end of the round)."""
        problems = self._problems("development", self.recipe.run.evaluate_problems)
        if not problems:
            return
        key: Key = ("development", *place)
        if (line := self.metrics.get(key)) is None:
            evaluation = await self._asked(method, problems, "-".join(map(str, place)))
            line = self.metrics.record(key, {"at": origin.problems, **evaluation.plain()})
        self.display.evaluated(line)
        earlier = [other["accuracy"] for other in self._developed() if other["at"] < line["at"]]
        if all(line["accuracy"] > accuracy for accuracy in earlier):
            checkpoint.save(self.best, self.learner, self.usage(method, origin))

    def knows(self, phase: int, origin: Origin) -> bool:
        """Whether the learner of `origin` was asked the development problems in that phase."""
        return any((line["phase"], line["at"]) == (phase, origin.problems) for line in self._developed())

    def check(self, problems: float) -> None:
        """Damaged if the best learner of the first so many problems cannot be read."""
        if self.best.exists() or any(line["at"] <= problems for line in self._developed()):
            checkpoint.check_readable(self.best)

    def _developed(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line["kind"] == "development"]

    def progress(self) -> Iterator[Progress]:
        """What each phase came to whose start was measured."""
        lines = self._developed()
        for number, phase in enumerate(self.recipe.phases, start=1):
            before = [line["accuracy"] for line in lines if line["phase"] < number]
            since = [line["accuracy"] for line in lines if line["phase"] == number]
            if before and since:
                yield Progress(number, name_of(phase.method), before[-1], max(since))

    # ── test ────────────────────────────────────────────────────────────────────────────────────────────────

    async def test(self, final: Usage) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The figures of the best learner and of the final one, which stands in memory and is used as `final` says, on
        the test problems. None: nothing tells what is right, or no problem is to be asked."""
        problems = self._problems("test", self.recipe.run.test_problems)
        if not problems:
            return None
        best = checkpoint.usage(self.best)
        if best is None or best.origin is None or final.origin is None:
            raise ConfigError(f"{self.best / USAGE} does not say where its learner is from; {checkpoint.START_OVER}")
        told = self._evaluation(best.origin, final.origin)
        if told is None:
            told = await self._tested(problems, best, final)
        kinds = {"test": told, "test_final": told["final"]}
        lines = []
        for kind, figures in kinds.items():
            kept = {name: value for name, value in figures.items() if name not in ("outcomes", "final", "development")}
            lines.append(self.metrics.record((kind, len(self.recipe.phases), 0, 0), kept))
        return lines[0], lines[1]

    async def _tested(self, problems: list[Problem], best: Usage, final: Usage) -> dict[str, Any]:
        """Asks both, and writes what came of it to evaluation.json."""
        assert best.origin is not None
        assert final.origin is not None
        journals: list[Journal] = []
        of_final = await self._asked(_way(final), problems, "test-final", journals)
        of_best = of_final
        if not _same(best, final):
            self.learner.restore(self.best, best.origin.weights)
            of_best = await self._asked(_way(best), problems, "test", journals)
        told = {
            "origin": best.origin.plain(),
            **_figures(of_best),
            "final": {"origin": final.origin.plain(), **_figures(of_final)},
            "development": [{**asdict(phase), "beat_its_start": phase.beat_its_start} for phase in self.progress()],
        }
        write_json(self.folder / "evaluation.json", told)
        for journal in journals:
            journal.close(keep=False)
        return told

    def _evaluation(self, best: Origin, final: Origin) -> dict[str, Any] | None:
        """What evaluation.json holds of these two learners; None where it has to be made (again)."""
        try:
            told: dict[str, Any] = read_json(self.folder / "evaluation.json")
            whole = {"accuracy", "outcomes"} <= told.keys() & told["final"].keys()
            same = (told["origin"], told["final"]["origin"]) == (best.plain(), final.plain())
        except (OSError, ConfigError, KeyError, TypeError, AttributeError):
            return None
        return told if whole and same else None

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────

    def _problems(self, split: Split, count: int | None) -> list[Problem]:
        """The problems of `split` to be asked; none of a task that cannot tell what is right."""
        return list(self.recipe.task.problems(split))[:count] if "gold" in offers(self.recipe.task) else []

    async def _asked(
        self, way: Answers, problems: list[Problem], name: str, kept: list[Journal] | None = None
    ) -> Evaluation:
        """What came of `problems`; the journal is removed, or handed on in `kept`."""
        self.display.stage("evaluating", len(problems))
        journal = Journal(self.folder / f"evaluation-{name}.journal.jsonl")

        def told(outcome: Outcome) -> None:
            self.display.advance()

        evaluation = await evaluate(
            self.recipe.task,
            problems,
            way,
            lambda problem: self.learner.voice(self.recipe.run.seed, "evaluate", problem.id, journal=journal),
            at_once=self.recipe.run.at_once,
            on_outcome=told,
        )
        if kept is None:
            journal.close(keep=False)
        else:
            kept.append(journal)
        return evaluation


def _way(usage: Usage) -> Answers:
    return for_use(usage.method, usage.settings)


def _same(one: Usage, other: Usage) -> bool:
    """Whether both are the same weights, used in the same way."""
    weights = [usage.origin and usage.origin.weights for usage in (one, other)]
    return weights[0] == weights[1] and asdict(replace(one, origin=None)) == asdict(replace(other, origin=None))


def _figures(found: Evaluation) -> dict[str, Any]:
    return {**found.plain(), "outcomes": [asdict(outcome) for outcome in found.outcomes]}
