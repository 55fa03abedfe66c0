"""A task of one's own: words to be written backwards, made by a generator.

python examples/own_task.py
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import sparring
from sparring import LINES, Problem, Split, StepFormat


@dataclass(frozen=True)
class Backwards:
    """Asks for a word backwards."""

    name: ClassVar[str] = "backwards"
    layout: ClassVar[StepFormat] = LINES

    letters: int = 3  # fields are the keys of a recipe
    train: int = 300
    development: int = 30
    test: int = 60
    seed: int = 0

    def problems(self, split: Split) -> Sequence[Problem]:
        """The problems of a split: the same each time, and none in two splits."""
        return self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        """New training problems without end, for `problems = "fresh"` in a recipe."""
        return self._pool.endless()

    def is_right(self, problem: Problem, response: str) -> bool:
        """Whether the response is the word backwards."""
        return response.strip() == problem.gold

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """A supportive remark. With `false_claim`, a program can stand in for the discussant of SAIE."""
        return f"It begins with {(problem.gold or '')[0]}."

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """An adversarial remark."""
        return f"It begins with {rng.choice([letter for letter in 'abcdef' if letter != (problem.gold or '')[0]])}."

    @cached_property
    def _pool(self) -> sparring.Pool:
        return sparring.Pool(self._make, self.seed, self.train, self.development, self.test)

    def _make(self, rng: random.Random, split: Split) -> Problem:
        word = "".join(rng.choice("abcdef") for _ in range(self.letters))
        return Problem(word, sparring.question(f"backwards: {word}"), gold=word[::-1])


if __name__ == "__main__":
    recipe = sparring.Recipe.of(
        {
            "task": {"kind": "__main__.Backwards", "letters": 4},
            "phase": [
                {"method": "sft", "epochs": 4, "max_tokens": 8},
                {"method": "saie", "rounds": 4, "max_tokens": 8, "discussant": {"by": "task"}},
            ],
            "trainer": {"learning_rate": 2e-3, "batch_size": 16},
            "run": {"max_learner_failures": 1.0},
        }
    )
    sparring.train(recipe, run="runs/own-task")  # shows its rounds, and how many test problems are right
