"""A speaker of one's own behind a partner: here a few lines of Python; as well a client for any server or library.

python examples/own_speaker.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import sparring
from sparring import Chat, Reply, Sampling


@dataclass(frozen=True)
class Doubter:
    """Doubts the last number it was told."""

    name: ClassVar[str] = "doubter"

    words: str = "I doubt it: check {last} once more."  # fields are the keys of a recipe

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """A reply to a chat. Where there is none, raise `sparring.ConversationError`."""
        words = chat.text.split()
        return sparring.text_reply(self.words.format(last=words[-1] if words else "it"), "partner")

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """All that decides the reply. With this method, replies are recorded on the ledger and paid once."""
        return {"model": f"doubter {self.words}", "chat": chat.text, "sampling": asdict(sampling), "sample": sample}


if __name__ == "__main__":
    discussant = {"by": "model_discussant", "speaker": {"by": "__main__.Doubter"}}
    recipe = sparring.Recipe.of(
        {
            "task": {"kind": "multistep_arithmetic", "train": 400, "development": 50, "test": 100},
            "phase": [
                {"method": "sft", "epochs": 4, "max_tokens": 48},
                {
                    "method": "saie",
                    "rounds": 4,
                    "max_tokens": 48,
                    "discussant": {"by": "model_discussant", "speaker": {"by": "__main__.Doubter"}},
                },
            ],
            "trainer": {"learning_rate": 2e-3, "batch_size": 16},
            "run": {"max_learner_failures": 1.0},
        }
    )
    sparring.train(recipe, run="runs/own-speaker")  # shows its rounds, and how many test problems are right
