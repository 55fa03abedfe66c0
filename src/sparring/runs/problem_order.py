"""Which problems a round asks.

The training split over and over, shuffled pass by pass, or new problems without end: either way a place in one
sequence, so a round's problems follow from the recipe and the seed alone, and a resumed run asks what it would have
asked.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from sparring.common.errors import ConfigError
from sparring.config.recipe import Phase, Recipe
from sparring.common.seeds import named_rng
from sparring.core.task import Endless, Problem


class Choice:
    """The problems of all rounds of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._train = recipe.task.problems("train")
        if not self._train:
            raise ConfigError("the task has no training problems; give a data set that is not empty")
        self._fresh: list[Problem] = []
        if recipe.problems == "fresh" and isinstance(recipe.task, Endless):
            self._fresh = list(islice(recipe.task.endless(), self.total()))

    def count(self, phase: Phase) -> int:
        """How many problems a round of `phase` asks."""
        return phase.problems or len(self._train)

    def total(self, phases: int | None = None) -> int:
        """How many the first `phases` ask, all unless given."""
        return sum(self.count(phase) * phase.rounds for phase in self.recipe.phases[:phases])

    def round(self, phase: Phase, number: int, round_: int) -> list[Problem]:
        """The problems of one round of phase `number`, both counted from 0."""
        first = self.total(number) + round_ * self.count(phase)
        places = range(first, first + self.count(phase))
        if self._fresh:
            return self._fresh[places.start : places.stop]
        count = len(self._train)
        passes: dict[int, list[int]] = {}
        for at in range(places.start // count, (places.stop - 1) // count + 1):
            passes[at] = list(range(count))
            named_rng(self.recipe.run.seed, "pass", at).shuffle(passes[at])
        return [replace(self._train[passes[at // count][at % count]], visit=at // count) for at in places]

    def consulted(self, phase: Phase, number: int, round_: int) -> list[Problem]:
        """The development problems by which a method chooses its own settings in that round."""
        development = list(self.recipe.task.problems("development"))
        wanted = min(len(development), phase.method.consults)
        return named_rng(self.recipe.run.seed, number, round_, "consulted").sample(development, wanted)
