"""A partner of one's own: a placebo, which says the same whatever the learner said. A baseline for SAIE.

python examples/own_partner.py
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import sparring
from sparring import Chat, Problem


@dataclass(frozen=True)
class Placebo:
    """Says the same to everybody."""

    name: ClassVar[str] = "placebo"
    needs: ClassVar[frozenset[sparring.Offer]] = frozenset()

    words: str = "Please look again."  # fields are the keys of a recipe

    async def remark(self, problem: Problem, chat: Chat, stance: sparring.Stance, rng: random.Random) -> str:
        """A discussant has this method; a critic has `feedback`, an editor `improve`, a judge `score`."""
        return self.words


if __name__ == "__main__":
    recipe = sparring.Recipe.of(
        {
            "task": {"kind": "multistep_arithmetic", "train": 400, "development": 50, "test": 100},
            "phase": [
                {"method": "sft", "epochs": 4, "max_tokens": 48},
                {"method": "saie", "rounds": 4, "max_tokens": 48, "discussant": {"by": "__main__.Placebo"}},
            ],
            "trainer": {"learning_rate": 2e-3, "batch_size": 16},
            "run": {"max_learner_failures": 1.0},
        }
    )
    sparring.train(recipe, run="runs/own-partner")  # shows its rounds, and how many test problems are right
