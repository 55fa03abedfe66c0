"""A round of on-line preference training beside TRL's `OnlineDPOTrainer`: two replies to each prompt are sampled, a
program prefers one, a DPO epoch follows.

A vocabulary of 64 of which one token ends a reply, so that replies of untrained weights have exponential lengths, 64 on
average. TRL samples for each step of 16 pairs, or for 4 of them at a time; ours for the whole round. The rate is of
pairs that were trained on: those of which a reply is cut at its limit ours leaves out (one in a hundred is).

    python -m benchmarks.online
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, Go, Watch, known, main_by_workload, race, say, write
from benchmarks.models import llama, tokenizer, words
from sparring.common.seeds import digest
from sparring.core.attempts import Serving
from sparring.core.chat import question
from sparring.core.partner import Scores
from sparring.core.rollout import play
from sparring.core.task import Problem
from sparring.inference.journal import Journal
from sparring.inference.model import LanguageModel
from sparring.methods.thought_preference import ResponsePreference
from sparring.models.source import ModelSource
from sparring.parsing.steps import COMPACT
from sparring.parsing.thought import Answer
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer

VOCABULARY, LIMIT, BATCH = 64, 320, 16


@dataclass(frozen=True)
class Workload:
    """A round of so many prompts for a model of this size."""

    name: str
    hidden: int
    layers: int
    prompts: int = 64
    seed: int = 1

    def texts(self) -> list[str]:
        """The prompts, of 20 to 120 tokens."""
        rng = random.Random(self.seed)
        return [words(rng, rng.randint(20, 120), VOCABULARY) for _ in range(self.prompts)]


WORKLOADS = (Workload("on-line preference, 128 x 2", 128, 2), Workload("on-line preference, 256 x 4", 256, 4))


def liking(text: str) -> float:
    """How much the program likes `text`, from 0 to 1: any two texts differ."""
    return int(digest(text), 16) / 16**32


class Program:
    """A judge that is a program."""

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """See `partner.Judge`."""
        return Scores(tuple(liking(answer.text) for answer in answers))


def ours(workload: Workload) -> Callable[[int, Watch], Go]:
    """A round of `response_preference`, with the journal that a run keeps."""
    problems = [Problem(str(number), question(text)) for number, text in enumerate(workload.texts())]
    method = ResponsePreference(Program(), 2, temperature=1.0, top_p=1.0, max_tokens=LIMIT, unreadable_share=0.0)

    def ready(turn: int, watch: Watch) -> Go:
        network = llama(workload.hidden, workload.layers, VOCABULARY, turn)
        learner = Learner(LanguageModel(network, tokenizer(VOCABULARY), ModelSource("llama", device="cpu")))
        trainer = Trainer(learner, TrainerSettings(batch_size=BATCH))
        journal = Journal(Path(tempfile.mkdtemp()) / "journal.jsonl")

        def go() -> float:
            episodes = asyncio.run(
                play(
                    method,
                    MultistepArithmetic(),
                    problems,
                    lambda name: learner.speaker(*name, journal=journal, logprobs=True),
                    (turn,),
                    at_once=len(problems),
                    serving=Serving(),
                )
            )
            pairs = method.harvest(episodes, [], COMPACT, random.Random(turn))
            training_set = trainer.training_set(pairs, method.objective, len(problems), 1, (turn,))
            for _ in trainer.learn(replace(training_set, reference=trainer.reference(training_set))):
                pass
            return float(len(pairs))

        return go

    return ready


def trl(workload: Workload, micro_batch: int = BATCH) -> Callable[[int, Watch], Go]:
    """TRL's trainer, a new one each turn; `micro_batch` prompts are sampled for at once."""
    os.environ.update(
        TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", WANDB_DISABLED="true", TRL_EXPERIMENTAL_SILENCE="1"
    )
    from datasets import Dataset  # noqa: PLC0415 - only in this contender's process
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer  # noqa: PLC0415

    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in workload.texts()])

    def rewards(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
        return [liking(completion[0]["content"]) for completion in completions]

    def ready(turn: int, watch: Watch) -> Go:
        config = OnlineDPOConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=BATCH // micro_batch,
            num_train_epochs=1,
            max_new_tokens=LIMIT,
            temperature=1.0,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            seed=turn,
        )
        network = llama(workload.hidden, workload.layers, VOCABULARY, turn)
        known = {"args": config, "train_dataset": rows, "processing_class": tokenizer(VOCABULARY)}
        trainer: Any = OnlineDPOTrainer(network, reward_funcs=rewards, **known)

        def go() -> float:
            trainer.train()
            return float(workload.prompts)

        return go

    return ready


def run(turns: int, threads: int, only: str) -> None:
    """Races the workloads whose names have `only` in them, and writes `results/online.json`."""
    figures = known("online") if only else {}
    for workload in (workload for workload in WORKLOADS if only in workload.name):
        say(workload.name)
        contenders = [
            Contender("sparring", ours, {"workload": workload}),
            Contender(f"TRL, {BATCH} prompts at once", trl, {"workload": workload}),
            Contender("TRL, 4 prompts at once", trl, {"workload": workload, "micro_batch": 4}),
        ]
        raced = race(contenders, turns, threads)
        figures[workload.name] = {"of": "pairs", "goal": None, "memory_goal": None, "contenders": raced}
        write("online", threads, figures)


if __name__ == "__main__":
    main_by_workload(run, __doc__)
