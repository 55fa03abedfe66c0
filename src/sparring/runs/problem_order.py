"""Determines which problems each round uses.

All rounds draw from one sequence: the training split again and again, shuffled in each pass, or an endless stream of
new problems. So a round's problems depend only on the recipe, the seed and the number of problems drawn before its
phase, and a resumed run gets the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from sparring.common.errors import ConfigError
from sparring.common.seeds import named_rng
from sparring.config.recipe import Phase, Recipe
from sparring.core.task import Endless, Problem


class ProblemOrder:
    """The problems of all rounds of a recipe, in order."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._train = recipe.task.problems("train")
        if not self._train:
            raise ConfigError("the task has no training problems; choose a data set that has some")
        self._fresh: list[Problem] = []
        self._endless: Iterator[Problem] | None = None
        if recipe.problems == "fresh" and isinstance(recipe.task, Endless):
            self._endless = recipe.task.endless()
            if not any(phase.has_budget for phase in recipe.phases):
                self._generate(self.total())  # now, so that a range with too few is reported before anything else

    def count(self, phase: Phase) -> int:
        """Return the number of problems in a round of `phase`."""
        return phase.problems or len(self._train)

    def total(self, phases: int | None = None) -> int:
        """Return the number of problems in the first `phases` phases, by default in all.

        A phase without a limit of rounds counts with one round.
        """
        return sum(self.count(phase) * (phase.rounds or 1) for phase in self.recipe.phases[:phases])

    @property
    def is_limited(self) -> bool:
        """Tell whether every phase has a limit of rounds."""
        return all(phase.rounds for phase in self.recipe.phases)

    def _generate(self, count: int) -> None:
        """Generate new problems until there are `count`."""
        if self._endless is not None:
            self._fresh += islice(self._endless, max(0, count - len(self._fresh)))

    def round(self, phase: Phase, first: int, round_: int) -> list[Problem]:
        """Return the problems of round `round_` (from 0) of `phase`, before which `first` problems were drawn."""
        start = first + round_ * self.count(phase)
        stop = start + self.count(phase)
        if self._endless is not None:
            self._generate(stop)
            return self._fresh[start:stop]
        size = len(self._train)
        orders: dict[int, list[int]] = {}  # for each pass over the split, the shuffled indices of its problems
        for pass_ in range(start // size, (stop - 1) // size + 1):
            orders[pass_] = list(range(size))
            named_rng(self.recipe.run.seed, "pass", pass_).shuffle(orders[pass_])
        return [replace(self._train[orders[i // size][i % size]], visit=i // size) for i in range(start, stop)]

    def consulted(self, phase: Phase, number: int, round_: int) -> list[Problem]:
        """Return the development problems on which the method chooses its own settings in that round."""
        development = self.recipe.task.problems("development")
        count = min(len(development), phase.method.consults)
        return named_rng(self.recipe.run.seed, number, round_, "consulted").sample(development, count)
