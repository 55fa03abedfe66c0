"""Plays one round and stores its episodes, experience and reference in its folder, each before the next stage starts.

Each stage loads what was saved and computes what is missing. Once the round has taken training steps, its learner is no
longer the one that played it. Then a missing file is an error, since other weights would compute something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparring.common.errors import ConfigError, RunStopped
from sparring.common.files import adapter, read_json, read_jsonl, write_json, write_jsonl
from sparring.common.seeds import named_rng
from sparring.config.factory import name_of
from sparring.config.recipe import Phase, Recipe
from sparring.core.attempts import Serving
from sparring.core.episode import Episode
from sparring.core.experience import Experience
from sparring.core.rollout import check_failures, commonest_failures, play, summarize
from sparring.core.task import Problem
from sparring.inference.journal import Journal
from sparring.runs.display import Display
from sparring.runs.folder import round_folder
from sparring.runs.problem_order import ProblemOrder
from sparring.training.checkpoint import START_OVER, Position
from sparring.training.learner import Learner
from sparring.training.trainer import Reference, Trainer, TrainingSet, needs_reference

FAILED = "failed_episodes.jsonl"  # of a round in which too many failed


@dataclass(frozen=True)
class Round:
    """Round `round_` of phase `number`, both counted from 0, at `position`."""

    recipe: Recipe
    run: Path
    phase: Phase
    number: int
    round_: int
    position: Position
    learner: Learner
    order: ProblemOrder
    display: Display
    on_episode: Callable[[Episode], None]

    @property
    def steps(self) -> int:
        """The number of training steps that the round has taken."""
        return self.position.step

    @property
    def problems(self) -> list[Problem]:
        """The problems of the round."""
        return self.order.round(self.phase, self.position.first, self.round_)

    @property
    def folder(self) -> Path:
        """The folder of the round's files."""
        return round_folder(self.run, self.number + 1, name_of(self.phase.method), self.round_ + 1)

    @property
    def name(self) -> str:
        """The name of the round in messages."""
        return f"phase {self.number + 1} ({name_of(self.phase.method)}), round {self.round_ + 1}"

    @property
    def scope(self) -> tuple[int, int, int]:
        """The seed, phase and round, which name the round's random streams."""
        return self.recipe.run.seed, self.number, self.round_

    async def experience(self) -> tuple[list[Experience], dict[str, float], str]:
        """Return the round's training examples, the mean of each measure over its episodes, and their failures."""
        with Journal(self.folder / "journal.jsonl") as journal:
            episodes = self._saved_episodes()
            experience: list[Experience] = []
            if episodes is None:
                episodes = await self._episodes(journal)
            else:
                experience = self._saved_experience()
            if not experience:
                experience = await self._harvest(episodes, journal)
            journal.close(keep=False)
        return experience, summarize(episodes), commonest_failures(episodes)

    def _saved_episodes(self) -> list[Episode] | None:
        """Load the episodes; None if they have to be played."""
        path = self.folder / "episodes.jsonl"
        if not path.exists():
            if self.steps:
                raise _unusable(path, "it is missing")
            return None
        episodes: list[Episode] = _read(path, Episode)
        if [episode.problem.id for episode in episodes] != [problem.id for problem in self.problems]:
            raise _unusable(path, f"its {len(episodes)} episodes are not those of the round")
        return episodes

    async def _episodes(self, journal: Journal) -> list[Episode]:
        """Play the episodes and save them; if too many fail, save those that failed, and raise RunStopped."""
        settings, failed = self.recipe.run, self.folder / FAILED
        episodes = await self._play(self.problems, (*self.scope, "train"), journal, self.name, self.on_episode)
        try:
            check_failures(episodes, settings.max_partner_failures, settings.max_learner_failures)
        except RunStopped as error:
            write_jsonl(failed, [episode for episode in episodes if episode.failures], Episode)
            raise RunStopped(f"{error}; the conversations are in {failed}") from None
        failed.unlink(missing_ok=True)
        write_jsonl(self.folder / "episodes.jsonl", episodes, Episode)
        return episodes

    def _saved_experience(self) -> list[Experience]:
        """Load the experience; an empty list means that it has to be harvested (again)."""
        path = self.folder / "experience.jsonl"
        experience = _read(path, Experience) if path.exists() else []
        if not experience and self.steps and self.phase.method.consults:
            raise _unusable(path, "it is missing or empty")
        return experience

    async def _harvest(self, episodes: Sequence[Episode], journal: Journal) -> list[Experience]:
        """Harvest the experience from the episodes and save it."""
        problems = self.order.consulted(self.phase, self.number, self.round_)
        consulted = await self._play(problems, (*self.scope, "development"), journal, f"{self.name}, consulting")
        experience = list(
            self.phase.method.harvest(episodes, consulted, self.recipe.task.layout, named_rng(*self.scope, "harvest"))
        )
        write_jsonl(self.folder / "experience.jsonl", experience, Experience)
        return experience

    async def _play(
        self,
        problems: list[Problem],
        scope: tuple[int, int, int, str],
        journal: Journal,
        name: str,
        on_episode: Callable[[Episode], None] = lambda episode: None,
    ) -> list[Episode]:
        """Play an episode on each of `problems`; `name` is shown beside the progress."""
        self.display.stage(f"{name}: episodes", len(problems))
        tokens_before, start_time = self.learner.model.tokens_sampled, time.monotonic()
        keep_logprobs = needs_reference(self.phase.method.objective)

        def show_progress(episode: Episode) -> None:
            tokens = self.learner.model.tokens_sampled - tokens_before
            self.display.advance(f"{tokens / max(1e-9, time.monotonic() - start_time):.0f} tokens/s")
            on_episode(episode)

        return await play(
            self.phase.method,
            self.recipe.task,
            problems,
            lambda name: self.learner.speaker(*name, journal=journal, logprobs=keep_logprobs),
            scope,
            at_once=self.recipe.run.at_once,
            serving=Serving(f"{self.number + 1}-{name_of(self.phase.method)}", self.round_ + 1),
            on_episode=show_progress,
        )

    def reference(self, trainer: Trainer, training_set: TrainingSet) -> Reference | None:
        """Return the reference's log-probabilities, computed before the first step and saved for a resumed run."""
        path = self.folder / "reference.json"
        saved = _saved_reference(path, len(training_set.pieces))
        if saved is not None:
            return saved
        if self.steps and training_set.loss.needs_reference:
            raise _unusable(path, "it is missing or damaged")
        reference = trainer.reference(training_set)
        if reference is not None:
            write_json(path, asdict(reference))
            if reference.gap is not None:
                source = f"the sampler's for {reference.sampled:.0%}" if reference.sampled else "recomputed for all"
                self.display.say(
                    f"{self.name}: reference log-probabilities: {source} (in a probe the two differ by "
                    f"{reference.gap:.1g} nats)"
                )
        return reference


def _read(path: Path, kind: object) -> list[Any]:
    try:
        return read_jsonl(path, kind)
    except ConfigError as error:
        raise _unusable(path, str(error)) from error


def _saved_reference(path: Path, pieces: int) -> Reference | None:
    """Load the reference at `path`; None if it is missing, damaged or not for so many pieces."""
    try:
        reference: Reference = adapter(Reference).validate_python(read_json(path))
    except (OSError, ConfigError, ValidationError):
        return None
    return reference if len(reference.sums) == pieces else None


def _unusable(path: Path, reason: str) -> ConfigError:
    """Make the error for a file that the round needs and cannot compute again."""
    remedy = START_OVER.removeprefix("remove ")
    return ConfigError(f"{path} cannot be used: {reason}; restore it, or remove it and {remedy}")
