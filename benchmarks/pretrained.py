"""A real pretrained model beside `transformers.generate` and TRL: sampling, a LoRA, all weights, a DPO round.

The model is in the folder that the environment variable SPARRING_PRETRAINED names, the rows are those of GSM8K in the
folder that SPARRING_DATA names; without them nothing is measured. Both sides compute in float32 and, where a name says
so, in bfloat16. Each turn is a process of its own, so that only one model is in memory.

    python -m benchmarks.pretrained --turns 3
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.contenders import TRL, drain, generate, lesson
from benchmarks.measure import Contender, Go, Watch, known, main_by_workload, race, say, write
from sparring.core.chat import LEARNER, question
from sparring.core.speaker import Sampling
from sparring.inference.model import LanguageModel, load_model
from sparring.inference.sequence import Request
from sparring.models.source import Lora, ModelSource
from sparring.training.learner import Learner

Dtype = Literal["float32", "bfloat16"]
SUFFIXES: dict[Dtype, str] = {"float32": "", "bfloat16": ", bfloat16"}  # of a contender's name
QUESTIONS, K, MEAN, CAP = 8, 4, 48, 96  # of sampling: replies of exponential length, in tokens
BATCHES = (4, 8, 16, 32)  # of `generate`, of which the best is raced
BATCH, RANK = 8, 16  # pieces of a step; rank of the adapters


def folder() -> str:
    """The folder of the model."""
    return os.environ["SPARRING_PRETRAINED"]


def rows(count: int) -> list[dict[str, str]]:
    """The first rows of GSM8K's training split."""
    lines = (Path(os.environ["SPARRING_DATA"]) / "gsm8k" / "train_2000.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[:count]]


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────


def requests(model: LanguageModel) -> list[Request]:
    """K replies to each question, each of a length drawn beforehand."""
    rng, found = random.Random(1), []
    for number, row in enumerate(rows(QUESTIONS)):
        prompt = tuple(model.renderer.prompt(question(row["question"]), LEARNER))
        for sample in range(K):
            limit = max(1, min(CAP, round(rng.expovariate(1 / MEAN))))
            found.append(Request(prompt, Sampling(max_tokens=limit), number * 1000 + sample))
    return found


def sampling(dtype: Dtype, adapted: bool = False) -> Callable[[int, Watch], Go]:
    """The engine of this library, which makes its copy of the weights anew each turn."""
    lora = Lora(rank=RANK) if adapted else None
    model = load_model(ModelSource(folder(), dtype=dtype, device="cpu", lora=lora), trained=adapted)
    model.renderer.stop_ids = frozenset()  # each reply has the length drawn for it
    asked = requests(model)

    def go() -> float:
        model.forget_copy()
        vars(model).pop("engine", None)
        return drain(model.engine, asked)

    return lambda turn, watch: go


def generating(batch: int, dtype: Dtype) -> Callable[[int, Watch], Go]:
    """`transformers.generate`, `batch` rows at a time."""
    model = load_model(ModelSource(folder(), dtype=dtype, device="cpu"))
    asked, network = requests(model), model.network.eval()
    return lambda turn, watch: lambda: generate(network, asked, batch)


def best_batch(dtype: Dtype, threads: int) -> int:
    """The batch with which `generate` is fastest."""
    contenders = [Contender(str(batch), generating, {"batch": batch, "dtype": dtype}) for batch in BATCHES]
    rates = race(contenders, 1, threads, resident=False)
    return int(max(rates, key=lambda batch: rates[batch]["median"]))


# ── learning ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Learning:
    """So many rows of GSM8K, taught by likelihood or, beside another question's answer, as preferences."""

    name: str
    kind: Literal["dpo", "sft"]
    lora: bool
    pieces: int = 2 * BATCH
    goal: float | None = None
    memory_goal: float | None = None

    def texts(self) -> list[tuple[str, list[str]]]:
        """Questions, each with its answer and, for a preference, a wrong one."""
        answers = [row["answer"] for row in rows(self.pieces)]
        replies = [
            [answer, answers[index - 1]][: 2 if self.kind == "dpo" else 1] for index, answer in enumerate(answers)
        ]
        return [(row["question"], said) for row, said in zip(rows(self.pieces), replies, strict=True)]


LEARNING = (
    Learning("LoRA of rank 16, likelihood", "sft", True, goal=2.5, memory_goal=0.5),
    Learning("all weights, likelihood", "sft", False, goal=2.0),
    Learning("LoRA of rank 16, DPO round", "dpo", True, BATCH, goal=2.0),
)


def ours(workload: Learning, dtype: Dtype) -> Callable[[int, Watch], Go]:
    """The product's own trainer, with a new learner each turn."""

    def ready(turn: int, watch: Watch) -> Go:
        lora = Lora(rank=RANK) if workload.lora else None
        learner = Learner.load(ModelSource(folder(), dtype=dtype, device="cpu", lora=lora), turn)
        learn = lesson(learner, workload.texts(), BATCH, turn)

        def go() -> float:
            learn()
            return float(workload.pieces)

        return go

    return ready


def trl(workload: Learning, dtype: Dtype, micro_batch: int = BATCH, **settings: Any) -> Callable[[int, Watch], Go]:
    """TRL's trainer, a new one each turn; in bfloat16 by its own switch, `bf16`."""
    from peft import LoraConfig  # noqa: PLC0415 - only in this contender's process
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    settings |= {"bf16": dtype == "bfloat16", "gradient_checkpointing": False}  # with it, TRL would be slower
    theirs = TRL(workload.texts(), float(workload.pieces), BATCH, micro_batch, settings)
    tokenizer = AutoTokenizer.from_pretrained(folder())

    def ready(turn: int, watch: Watch) -> Go:
        lora = LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear") if workload.lora else None
        network = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32)
        return theirs.ready(turn, watch, network, tokenizer, peft_config=lora)

    return ready


# Of those tried, the best for TRL: steps in micro-batches of two, and rows grouped by length where it can do that.
BEST: dict[str, dict[str, Any]] = {
    "dpo": {"micro_batch": 2, "precompute_ref_batch_size": 2},
    "sft": {"micro_batch": 2, "train_sampling_strategy": "group_by_length"},
}


def run(turns: int, threads: int, only: str) -> None:
    """Races the workloads whose names have `only` in them, and writes `results/pretrained.json`."""
    if not {"SPARRING_PRETRAINED", "SPARRING_DATA"} <= set(os.environ):
        say("SPARRING_PRETRAINED or SPARRING_DATA is not set: the pretrained model is not measured")
        return
    figures = known("pretrained") if only else {}
    name = f"sampling, {QUESTIONS} questions, K = {K}"
    if only in name:
        say(name)
        raced = race(_samplers(threads), turns, threads, resident=False)
        figures[name] = {"of": "tokens", "goal": 3.0, "memory_goal": None, "contenders": raced}
        write("pretrained", threads, figures)
    for workload in (workload for workload in LEARNING if only in workload.name):
        say(workload.name)
        figures[workload.name] = {
            "of": "pairs" if workload.kind == "dpo" else "examples",
            "goal": workload.goal,
            "memory_goal": workload.memory_goal,
            "contenders": race(_trainers(workload), turns, threads, resident=False),
        }
        write("pretrained", threads, figures)


def _samplers(threads: int) -> list[Contender]:
    found = [
        Contender("sparring", sampling, {"dtype": "float32"}),
        Contender("sparring, bfloat16", sampling, {"dtype": "bfloat16"}),
        Contender("sparring, with a LoRA", sampling, {"dtype": "float32", "adapted": True}),
    ]
    for dtype, suffix in SUFFIXES.items():
        batch = best_batch(dtype, threads)
        name = f"generate, best batch ({batch}){suffix}"
        found.append(Contender(name, generating, {"batch": batch, "dtype": dtype}))
    return found


def _trainers(workload: Learning) -> list[Contender]:
    return [
        Contender(f"{who}{suffix}", make, {"workload": workload, "dtype": dtype, **settings})
        for dtype, suffix in SUFFIXES.items()
        for who, make, settings in (
            ("sparring", ours, {}),
            ("TRL", trl, {}),
            ("TRL, best settings", trl, BEST[workload.kind]),
        )
        if (who, dtype) != ("TRL", "bfloat16")  # its defaults are far behind its best settings there, too
    ]


if __name__ == "__main__":
    main_by_workload(run, __doc__)
