"""Measures a learner by the loss of its method on held-out rows, where a task has neither gold answers nor a judge.

The score is minus the loss of a row: the mean log-probability of a trained token in nats, or for preferences that of
the preference, against the policy at the run's start, whose log-probabilities are kept in `start_logprobs.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.common.errors import ConfigError, RunStopped
from sparring.common.files import read_json, write_json
from sparring.common.seeds import named_rng
from sparring.config.recipe import Recipe
from sparring.core.attempts import Serving
from sparring.core.evaluation import Evaluation, Outcome
from sparring.core.experience import Experience
from sparring.core.method import Method
from sparring.core.rollout import play
from sparring.core.task import Problem
from sparring.training.checkpoint import START_OVER
from sparring.training.trainer import LogProbabilities, Trainer, needs_reference

START_LOGPROBS = "start_logprobs.json"
PRIMARY = "log_likelihood"
SHARES = {"ranked"}  # of the loss's other measures, those that are shares; the margin is in the metrics of each step


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss of the offline method `method` on rows that it is not trained on."""

    method: Method
    recipe: Recipe
    trainer: Trainer
    folder: Path

    @property
    def _start(self) -> Path:
        return self.folder / START_LOGPROBS

    @property
    def compares_with_start(self) -> bool:
        """Whether the loss compares the learner with a reference."""
        return needs_reference(self.method.objective)

    async def keep_start(self, problems: Sequence[Problem]) -> None:
        """Save the log-probabilities of `problems` at the run's start."""
        if not self._start.exists():
            experience = await self._experience(problems)
            write_json(self._start, self.trainer.log_probabilities(experience, self.method.objective))

    async def evaluate(self, problems: Sequence[Problem]) -> Evaluation:
        """Measure the learner on `problems`; a row without a reply, or longer than the model, is left out.

        RunStopped if all are.
        """
        experience = await self._experience(problems)
        measured = self.trainer.losses(experience, self.method.objective, self._reference(problems))
        if not measured:
            raise RunStopped(
                f"none of {len(problems)} held-out rows can be measured: they have no reply, or are longer "
                f"than the model's {self.trainer.learner.model.max_length} tokens; give others, or set "
                "evaluate_problems and test_problems under [run] to 0"
            )
        outcomes = []
        for problem in (problem for problem in problems if problem.id in measured):
            loss, others = measured[problem.id]
            shares = {name: value for name, value in others.items() if name in SHARES}
            outcomes.append(Outcome(problem.id, problem.bin, {PRIMARY: -loss, **shares}))
        return Evaluation(tuple(outcomes), PRIMARY)

    async def _experience(self, problems: Sequence[Problem]) -> list[Experience]:
        """Return what the method would be trained on, were `problems` training problems."""
        seed = self.recipe.run.seed
        episodes = await play(
            self.method,
            self.recipe.task,
            problems,
            lambda name: self.trainer.learner.speaker(*name),
            (seed, "held out"),
            at_once=self.recipe.run.at_once,
            serving=Serving("evaluation-held-out"),
        )
        return list(self.method.harvest(episodes, [], self.recipe.task.layout, named_rng(seed, "held out", "harvest")))

    def _reference(self, problems: Sequence[Problem]) -> Mapping[str, LogProbabilities] | None:
        if not self.compares_with_start:
            return None
        saved = read_json(self._start) if self._start.exists() else None
        if not isinstance(saved, dict):
            raise ConfigError(f"{self._start} is missing or damaged; {START_OVER}")
        return {problem.id: tuple(saved[problem.id]) for problem in problems if problem.id in saved}


def held_out_loss(recipe: Recipe, trainer: Trainer, folder: Path) -> HeldOutLoss | None:
    """Return how a learner is measured whose last phase learns from rows alone; None if it does not."""
    method = recipe.phases[-1].method
    return HeldOutLoss(method, recipe, trainer, folder) if getattr(method, "offline", False) else None
