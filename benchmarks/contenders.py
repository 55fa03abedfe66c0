"""What every race of this kind runs, whatever the model: the engine, `transformers.generate`, the trainer and TRL's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measure import Go, Watch
from sparring.core.chat import LEARNER, Message, Part, question
from sparring.core.experience import Demonstration, Experience, Preference
from sparring.core.objective import DPO, Likelihood
from sparring.inference.engine import Engine
from sparring.inference.sequence import Request
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer

Texts = Sequence[tuple[str, list[str]]]  # prompts, each with a reply to imitate or with a chosen and a rejected one


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────


def drain(engine: Engine, requests: Sequence[Request]) -> float:
    """Has the engine answer all requests; returns the tokens of its replies."""
    tokens = 0
    for request in requests:
        engine.submit(request)
    while engine.busy:
        tokens += sum(len(sampled.ids) for _, sampled in engine.step())
    return float(tokens)


def generate(network: Any, requests: Sequence[Request], batch: int) -> float:
    """`transformers.generate`, `batch` rows at a time, in the order asked; a batch goes on to its longest reply's end.

    Returns the tokens that were asked for.
    """
    for start in range(0, len(requests), batch):
        rows = requests[start : start + batch]
        width, longest = max(len(row.ids) for row in rows), max(row.sampling.max_tokens for row in rows)
        ids_BT = torch.tensor([[0] * (width - len(row.ids)) + list(row.ids) for row in rows])
        mask_BT = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows])
        with torch.inference_mode():
            network.generate(
                ids_BT,
                attention_mask=mask_BT,
                do_sample=True,
                top_k=0,
                max_new_tokens=longest,
                min_new_tokens=longest,
                eos_token_id=None,
                pad_token_id=0,
            )
    return float(sum(row.sampling.max_tokens for row in requests))


# ── learning ────────────────────────────────────────────────────────────────────────────────────────────────


def lesson(learner: Learner, texts: Texts, batch: int, seed: int) -> Callable[[], None]:
    """One epoch of the product's own trainer, with its reference pass for preferences, ready to be run."""
    experience = [_piece(number, *row) for number, row in enumerate(texts)]
    objective = DPO() if isinstance(experience[0], Preference) else Likelihood()
    trainer = Trainer(learner, TrainerSettings(batch_size=batch))
    training_set = trainer.training_set(experience, objective, len(experience), 1, (seed,))

    def learn() -> None:
        for _ in trainer.learn(replace(training_set, reference=trainer.reference(training_set))):
            pass

    return learn


def _piece(number: int, prompt: str, replies: list[str]) -> Experience:
    messages = [Message(LEARNER, (Part(reply, LEARNER, weight=1.0),)) for reply in replies]
    if len(messages) == 2:
        chosen, rejected = messages
        return Preference(str(number), question(prompt), chosen, rejected)
    return Demonstration(str(number), question(prompt).then(*messages))


class TRL:
    """TRL's trainer over these texts, a new one each turn; a step of `batch` pieces is made of micro-batches.

    `settings` are fields of its configuration. Each `network` is called with the turn's number.
    """

    def __init__(self, texts: Texts, amount: float, batch: int, micro_batch: int, settings: dict[str, Any]) -> None:
        os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", WANDB_DISABLED="true")
        from datasets import Dataset  # noqa: PLC0415 - only in this contender's process

        self.rows = Dataset.from_list([_row(prompt, replies) for prompt, replies in texts])
        self.preferences = len(texts[0][1]) == 2
        self.amount = amount
        self.settings = {
            "per_device_train_batch_size": micro_batch,
            "gradient_accumulation_steps": batch // micro_batch,
            "num_train_epochs": 1,
            "max_length": None,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            **settings,
        }

    def ready(self, turn: int, watch: Watch, network: Any, tokenizer: Any, **peft: Any) -> Go:
        """Makes the turn's trainer; its reference pass, made meanwhile, counts on `watch`."""
        trainer = self._trainer(turn, watch, network, tokenizer, peft)

        def go() -> float:
            trainer.train()
            return self.amount

        return go

    def _trainer(self, turn: int, watch: Watch, network: Any, tokenizer: Any, peft: dict[str, Any]) -> Any:
        from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: PLC0415

        class Referring(DPOTrainer):  # type: ignore[misc] # TRL has no types
            """DPOTrainer makes its reference pass while it is made: its seconds count."""

            def _precompute_ref_logps(self, *args: Any) -> Any:
                with watch:
                    return super()._precompute_ref_logps(*args)

        common = dict(output_dir=tempfile.mkdtemp(), seed=turn, **self.settings)
        given = dict(train_dataset=self.rows, processing_class=tokenizer, **peft)
        if self.preferences:
            return Referring(network, args=DPOConfig(precompute_ref_log_probs=True, **common), **given)
        return SFTTrainer(network, args=SFTConfig(**common), **given)


def _row(prompt: str, replies: list[str]) -> dict[str, Any]:
    completions = [[{"role": "assistant", "content": reply}] for reply in replies]
    names = ("chosen", "rejected") if len(completions) == 2 else ("completion",)
    return {"prompt": [{"role": "user", "content": prompt}], **dict(zip(names, completions, strict=True))}
