"""Learning beside TRL: a DPO round (reference pass and one epoch) and supervised fine-tuning, on the same rows.

Prompts of 80–120 tokens, replies of 20–200, 16 pieces a step. What is timed is the reference pass and the steps;
loading and tokenising are not. TRL is raced at its defaults (with `precompute_ref_log_probs` for DPO, without which a
second model is kept) and at the best settings found for it.

    python -m benchmarks.training
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.contenders import TRL, lesson
from benchmarks.measure import Contender, Go, Watch, known, main_by_workload, race, say, write
from benchmarks.models import llama, tokenizer, words
from sparring.inference.model import LanguageModel
from sparring.models.source import ModelSource
from sparring.training.learner import Learner


@dataclass(frozen=True)
class Workload:
    """So many pieces of experience for a model of this size."""

    name: str
    kind: Literal["dpo", "sft"]
    vocabulary: int
    pieces: int
    batch: int = 16
    hidden: int = 256
    layers: int = 4
    prompt: tuple[int, int] = (80, 120)
    reply: tuple[int, int] = (20, 200)
    seed: int = 1
    goal: float | None = None
    memory_goal: float | None = None

    def texts(self) -> list[tuple[str, list[str]]]:
        """Prompts, each with one reply to imitate, or with a chosen and a rejected one."""
        rng = random.Random(self.seed)
        count = 2 if self.kind == "dpo" else 1
        return [
            (
                words(rng, rng.randint(*self.prompt), self.vocabulary),
                [words(rng, rng.randint(*self.reply), self.vocabulary) for _ in range(count)],
            )
            for _ in range(self.pieces)
        ]

    def amount(self) -> float:
        """What is counted: pairs, or tokens of prompts and replies."""
        if self.kind == "dpo":
            return self.pieces
        return sum(len(prompt.split()) + len(reply.split()) for prompt, (reply,) in self.texts())


WORKLOADS = (
    Workload("DPO, vocabulary 32,000", "dpo", 32_000, 32, goal=5.0, memory_goal=0.35),
    Workload("DPO, vocabulary 128", "dpo", 128, 64, goal=1.4),
    Workload("DPO, vocabulary 128,000, batch 4", "dpo", 128_000, 4, batch=4),
    Workload("likelihood, vocabulary 32,000", "sft", 32_000, 32, goal=5.0, memory_goal=0.35),
    Workload("likelihood, vocabulary 128", "sft", 128, 128, goal=1.4),
    Workload("likelihood, vocabulary 128,000, batch 4", "sft", 128_000, 8, batch=4),
    Workload("likelihood, long prompts, vocabulary 32,000", "sft", 32_000, 8, prompt=(800, 1200)),
)


def ours(workload: Workload) -> Callable[[int, Watch], Go]:
    """The product's own trainer."""

    def ready(turn: int, watch: Watch) -> Go:
        network = llama(workload.hidden, workload.layers, workload.vocabulary, turn)
        learner = Learner(LanguageModel(network, tokenizer(workload.vocabulary), ModelSource("llama", device="cpu")))
        learn = lesson(learner, workload.texts(), workload.batch, turn)

        def go() -> float:
            learn()
            return workload.amount()

        return go

    return ready


def trl(workload: Workload, micro_batch: int | None = None, **settings: Any) -> Callable[[int, Watch], Go]:
    """TRL's trainer, a new one each turn; a step is made of micro-batches of so many pieces, or all at once."""
    settings["bf16"] = False
    theirs = TRL(workload.texts(), workload.amount(), workload.batch, micro_batch or workload.batch, settings)

    def ready(turn: int, watch: Watch) -> Go:
        network = llama(workload.hidden, workload.layers, workload.vocabulary, turn)
        return theirs.ready(turn, watch, network, tokenizer(workload.vocabulary))

    return ready


# Of those tried, the best for TRL: steps in micro-batches of four, and rows grouped by length where it can do that.
BEST: dict[str, dict[str, Any]] = {
    "dpo": {"micro_batch": 4, "precompute_ref_batch_size": 4},
    "sft": {"micro_batch": 4, "train_sampling_strategy": "group_by_length"},
}


def run(turns: int, threads: int, only: str) -> None:
    """Races the workloads whose names have `only` in them, and writes `results/training.json`."""
    figures = known("training") if only else {}
    for workload in (workload for workload in WORKLOADS if only in workload.name):
        say(workload.name)
        contenders = [
            Contender("sparring", ours, {"workload": workload}),
            Contender("TRL", trl, {"workload": workload}),
            Contender("TRL, best settings", trl, {"workload": workload, **BEST[workload.kind]}),
        ]
        figures[workload.name] = {
            "of": "pairs" if workload.kind == "dpo" else "tokens",
            "goal": workload.goal,
            "memory_goal": workload.memory_goal,
            "contenders": race(contenders, turns, threads),
        }
        write("training", threads, figures)


if __name__ == "__main__":
    main_by_workload(run, __doc__)
