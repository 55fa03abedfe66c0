"""One round in its folder: episodes, experience and reference, each written down before the next begins.

What was saved is read; what was not is played, harvested or computed. Where steps of the round have been taken already,
its learner is no longer the one that played it: what is missing then is refused, never made by other weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparring.config.factory import name_of
from sparring.core.attempts import Serving
from sparring.training.checkpoint import START_OVER
from sparring.runs.problem_order import Choice
from sparring.runs.display import Display
from sparring.common.errors import ConfigError
from sparring.core.experience import Experience
from sparring.common.files import adapter, read_json, read_jsonl, write_json, write_jsonl
from sparring.core.episode import Episode
from sparring.inference.journal import Journal
from sparring.training.learner import Learner
from sparring.core.rollout import check_failures, play, summarize
from sparring.config.recipe import Phase, Recipe
from sparring.common.seeds import named_rng
from sparring.core.task import Problem
from sparring.training.trainer import TrainingSet, Reference, Trainer, needs_reference


@dataclass(frozen=True)
class Round:
    """Round `round_` of phase `number`, both counted from 0, of which `steps` were taken before."""

    recipe: Recipe
    run: Path
    phase: Phase
    number: int
    round_: int
    steps: int
    learner: Learner
    choice: Choice
    display: Display

    @property
    def folder(self) -> Path:
        """Where it is saved."""
        return self.run / "rounds" / f"{self.number + 1}-{name_of(self.phase.method)}" / f"{self.round_ + 1:04d}"

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"phase {self.number + 1} ({name_of(self.phase.method)}), round {self.round_ + 1}"

    @property
    def scope(self) -> tuple[int, int, int]:
        """What names its random streams."""
        return self.recipe.run.seed, self.number, self.round_

    async def experience(self) -> tuple[list[Experience], dict[str, float]]:
        """What it teaches, and the means of what was noted in its episodes."""
        journal = Journal(self.folder / "journal.jsonl")
        episodes = self._saved_episodes()
        harvested: list[Experience] = []
        if episodes is None:
            episodes = await self._episodes(journal)
        else:
            harvested = self._saved_experience()
        if not harvested:
            harvested = await self._harvest(episodes, journal)
        journal.close(keep=False)
        return harvested, summarize(episodes)

    def _saved_episodes(self) -> list[Episode] | None:
        path = self.folder / "episodes.jsonl"
        if not path.exists():
            if self.steps:
                raise _lost(path, "it is missing")
            return None
        episodes: list[Episode] = _read(path, Episode)
        asked = self.choice.round(self.phase, self.number, self.round_)
        if [episode.problem.id for episode in episodes] != [problem.id for problem in asked]:
            raise _lost(path, f"it holds {len(episodes)} episodes, which are not those of the round")
        return episodes

    async def _episodes(self, journal: Journal) -> list[Episode]:
        settings = self.recipe.run
        episodes = await self._play(
            self.choice.round(self.phase, self.number, self.round_), (*self.scope, "train"), journal, self.name
        )
        check_failures(episodes, settings.max_partner_failures, settings.max_learner_failures)
        write_jsonl(self.folder / "episodes.jsonl", episodes, Episode)
        return episodes

    def _saved_experience(self) -> list[Experience]:
        """Nothing where it is to be harvested (again); a harvest of nothing is cheap to repeat."""
        path = self.folder / "experience.jsonl"
        found = _read(path, Experience) if path.exists() else []
        if not found and self.steps and self.phase.method.consults:
            raise _lost(path, "it is missing or empty")
        return found

    async def _harvest(self, episodes: Sequence[Episode], journal: Journal) -> list[Experience]:
        problems = self.choice.consulted(self.phase, self.number, self.round_)
        consulted = await self._play(problems, (*self.scope, "development"), journal, f"{self.name}, consulting")
        harvested = list(
            self.phase.method.harvest(episodes, consulted, self.recipe.task.layout, named_rng(*self.scope, "harvest"))
        )
        write_jsonl(self.folder / "experience.jsonl", harvested, Experience)
        return harvested

    async def _play(
        self, problems: list[Problem], scope: tuple[int, int, int, str], journal: Journal, name: str
    ) -> list[Episode]:
        self.display.stage(f"{name}: episodes", len(problems))
        sampled, begun = self.learner.model.tokens_sampled, time.monotonic()
        kept = needs_reference(self.phase.method.objective)

        def told(episode: Episode) -> None:
            rate = (self.learner.model.tokens_sampled - sampled) / max(1e-9, time.monotonic() - begun)
            self.display.advance(f"{rate:.0f} tokens/s")

        return await play(
            self.phase.method,
            self.recipe.task,
            problems,
            lambda problem: self.learner.voice(*scope, problem.id, journal=journal, logprobs=kept),
            scope,
            at_once=self.recipe.run.at_once,
            serving=Serving(f"{self.number + 1}-{name_of(self.phase.method)}", self.round_ + 1),
            on_episode=told,
        )

    def reference(self, trainer: Trainer, lesson: TrainingSet) -> Reference | None:
        """The reference's log-probabilities, taken before the first step and kept for who resumes after it."""
        path = self.folder / "reference.json"
        known = _known(path, len(lesson.pieces))
        if known is not None:
            return known
        if self.steps and lesson.loss.needs_reference:
            raise _lost(path, "it is missing or damaged")
        reference = trainer.reference(lesson)
        if reference is not None:
            write_json(path, asdict(reference))
            if reference.gap is not None:
                whose = f"the sampler's for {reference.sampled:.0%}" if reference.sampled else "computed for all"
                self.display.say(
                    f"{self.name}: reference: {whose} (in the probe they lie {reference.gap:.1g} nats apart)"
                )
        return reference


def _read(path: Path, kind: object) -> list[Any]:
    try:
        return read_jsonl(path, kind)
    except ConfigError as error:
        raise _lost(path, str(error)) from error


def _known(path: Path, pieces: int) -> Reference | None:
    """The reference in `path`; None where there is none that fits so many pieces."""
    try:
        found: Reference = adapter(Reference).validate_python(read_json(path))
    except (OSError, ConfigError, ValidationError):
        return None
    return found if len(found.sums) == pieces else None


def _lost(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path} cannot be used: {what}; put it back, or remove it and {START_OVER.removeprefix('remove ')}")
