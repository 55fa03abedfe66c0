"""The training loop.

A step takes `batch_size` pieces of experience, in micro-batches of rows of similar length. It divides the loss by the
step's trained weight (or its number of pairs), so that the split into micro-batches makes no difference. The schedule
counts problems. The reference of a preference loss is the policy at the start of the round: its log-probabilities are
computed before the first step.

Not here: where experience comes from, when to save and evaluate (`runs.run`), and the losses (`losses/`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator

from sparring.common.errors import RunStopped
from sparring.common.seeds import Name, digest, named_rng, stream
from sparring.core.experience import Experience
from sparring.core.objective import DPO, Likelihood, Objective
from sparring.models import quantization
from sparring.models.introspection import forkable, switch_off_dropout
from sparring.models.offload import Resident
from sparring.models.renderer import TrainingRow
from sparring.training.allocator import keep_freed
from sparring.training.collate import bucketed, pad
from sparring.training.learner import Learner
from sparring.training.losses.dpo import DPOLoss
from sparring.training.losses.likelihood import LikelihoodLoss
from sparring.training.prefix_sharing import shared_prefixes
from sparring.training.settings import TrainerSettings

LOSSES: dict[type, Any] = {Likelihood: LikelihoodLoss, DPO: DPOLoss}

PROBE = 16  # pieces for which the engine's log-probabilities are compared with the trainer's
# Nats per row by which they may differ if the engine's are to be used. A pretrained model of 135 M parameters differs
# by 1e-3 in a hundred tokens in float32, and by far more in bfloat16.
TOLERANCE = 5e-3
LogProbabilities = tuple[float, ...]  # of the rows of one piece: one, or those of a chosen and a rejected reply
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1_024, 16_384  # padded tokens of a micro-batch, unless set


@dataclass(frozen=True)
class Reference:
    """The reference's log-probability of each row of each piece, `sums`.

    `sampled`: the share of pieces for which the engine's log-probabilities are used. `gap`: the largest difference from
    the trainer's in the probe, in nats per row (None: nothing to compare).
    """

    sums: tuple[LogProbabilities, ...]
    sampled: float = 0.0
    gap: float | None = None


@dataclass(frozen=True)
class TrainingSet:
    """A round's experience as rows, `batch_size` pieces per step, with the reference that its loss may need.

    `name`: a digest of all rows. `problems`: how many problems it stands for. `dropped`: pieces that cannot be trained.
    """

    name: str
    pieces: tuple[tuple[TrainingRow, ...], ...]
    problems: float
    epochs: int
    batch: int
    seed: tuple[Name, ...]
    loss: Any
    dropped: int = 0
    reference: Reference | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        """The number of steps in all epochs."""
        return self.epochs * math.ceil(len(self.pieces) / self.batch)


class StepResult(NamedTuple):
    """The result of one step: its number (from 1), the problems it stands for, loss, other measures, tokens read.

    `gradient_tokens` counts the tokens with a weight in the loss: those of both sides of a pair. `gradient_norm` is the
    norm before it was clipped. `seconds` are those of the step.
    """

    number: int
    problems: float
    loss: float
    measures: dict[str, float]
    tokens: int
    gradient_tokens: int
    learning_rate: float
    gradient_norm: float
    seconds: float


def needs_reference(objective: Objective) -> bool:
    """Whether the loss of `objective` compares the learner with a reference."""
    loss: Any = LOSSES[type(objective)]
    return bool(loss.needs_reference)


class Trainer:
    """Trains a learner on one training set after another."""

    def __init__(self, learner: Learner, settings: TrainerSettings) -> None:
        self.learner = learner
        self.settings = settings
        if learner.model.device.type == "cpu":
            keep_freed()
        self.accelerator = Accelerator(mixed_precision="no", cpu=learner.model.device.type == "cpu")
        self.module = self.accelerator.prepare(learner.log_probs)
        self._forkable = forkable(learner.model.network)
        self.begin(1.0, settings)

    # ── optimiser and schedule ──────────────────────────────────────────────────────────────────────────────

    def begin(self, horizon: float, settings: TrainerSettings) -> None:
        """Create a new optimiser and a new schedule over `horizon` problems (inf: until its budget is spent).

        Whoever has a budget sets `spent`, the share of it that is spent, before each step.
        """
        self.settings = settings
        self.horizon = horizon
        self.seen = 0.0
        self.spent = 0.0
        self.optimizer = self.accelerator.prepare(_optimizer(self.learner.log_probs, settings))
        self.moments = self.learner.model.turns.join(Resident(self._moments, self.learner.model.device))
        self.learner.recompute(settings.gradient_checkpointing)

    def _moments(self) -> Iterator[torch.Tensor]:
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, torch.Tensor))

    def learning_rate(self) -> float:
        """Return the learning rate after `seen` problems and the share `spent` of a budget."""
        settings = self.settings
        if self.seen < settings.warmup:
            return settings.learning_rate * (self.seen + 1) / (settings.warmup + 1)
        progress = (self.seen - settings.warmup) / max(1e-9, self.horizon - settings.warmup)
        progress = min(1.0, max(progress, self.spent))
        factors = {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
        return settings.learning_rate * factors[settings.lr_schedule]

    def state(self) -> dict[str, Any]:
        """Return the state of the optimiser and the position in the schedule."""
        return {"optimizer": self.optimizer.state_dict(), "horizon": self.horizon, "seen": self.seen}

    def restore(self, state: dict[str, Any], settings: TrainerSettings) -> None:
        """Resume from a `state`."""
        self.begin(state["horizon"], settings)
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen = state["seen"]

    # ── training sets ───────────────────────────────────────────────────────────────────────────────────────

    def training_set(
        self,
        experience: Sequence[Experience],
        objective: Objective,
        problems: float,
        epochs: int,
        seed: tuple[Name, ...],
        *,
        updates: int | Literal["batch"] = "batch",
    ) -> TrainingSet:
        """Render `experience` as a training set for `updates` steps, or for steps of the batch size of the settings.

        A piece that is longer than the model, or has nothing to train, is dropped and counted, never truncated.
        RunStopped if more than `max_dropped` of the pieces are dropped.
        """
        loss = LOSSES[type(objective)](objective)
        pieces = [rows for _, rows in self._trainable(experience, loss)]
        dropped = len(experience) - len(pieces)
        if experience and dropped > self.settings.max_dropped * len(experience):
            longest = self.learner.model.max_length
            raise RunStopped(
                f"{dropped} of {len(experience)} pieces of experience cannot be trained on: they are longer than the "
                f"model's {longest} tokens or have nothing to train; shorten them, or raise max_dropped under "
                f"[trainer] (now {self.settings.max_dropped:g})"
            )
        name = digest(*(digest(row.ids) for rows in pieces for row in rows))
        batch = self.settings.batch_size if updates == "batch" else max(1, math.ceil(len(pieces) * epochs / updates))
        return TrainingSet(name, tuple(pieces), problems, epochs, batch, seed, loss, dropped)

    def _trainable(self, experience: Sequence[Experience], loss: Any) -> Iterator[tuple[str, tuple[TrainingRow, ...]]]:
        """Yield the problem and the rows of each piece that fits the model and has something to train."""
        longest = self.learner.model.max_length
        for piece in experience:
            rows = tuple(loss.rows(piece, self.learner.model.renderer))
            if rows and all(any(row.weights) and len(row.ids) <= longest for row in rows):
                yield piece.problem, rows

    def reference(self, training_set: TrainingSet) -> Reference | None:
        """Compute the log-probability of each row under the present weights; None if the loss needs no reference.

        Rows that these weights sampled carry the engine's log-probabilities. They are used without another pass if they
        agree with the trainer's on a probe of pieces.
        """
        if not training_set.loss.needs_reference:
            return None
        pieces = training_set.pieces
        sampled = {
            index: tuple(row.sampled for row in rows if row.sampled is not None)
            for index, rows in enumerate(pieces)
            if all(row.sampled is not None for row in rows)
        }
        probe = list(sampled)[:: math.ceil(len(sampled) / PROBE) or 1]
        computed = self._log_probabilities(training_set, probe)
        gap = max(
            (abs(a - b) for index in computed for a, b in zip(computed[index], sampled[index], strict=True)),
            default=None,
        )
        trusted = sampled if gap is not None and gap <= TOLERANCE else {}
        unknown = [index for index in range(len(pieces)) if index not in computed and index not in trusted]
        sums = {**trusted, **computed, **self._log_probabilities(training_set, unknown)}
        share = len(trusted) / max(1, len(pieces))
        return Reference(tuple(sums[index] for index in range(len(pieces))), share, gap)

    def _log_probabilities(self, training_set: TrainingSet, indices: Sequence[int]) -> dict[int, tuple[float, ...]]:
        """The weighted log-probability of each row of the pieces at `indices`."""
        self.learner.to_device()
        self.module.eval()
        sums = {}
        with torch.no_grad():
            for group in self._micro_batches(training_set, indices):
                logprob_BT, weight_BT = self._forward(training_set, group)
                row_sums = iter((logprob_BT * weight_BT).sum(dim=1).tolist())
                for index in group:
                    sums[index] = tuple(next(row_sums) for _ in training_set.pieces[index])
        return sums

    def _forward(self, training_set: TrainingSet, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The log-probabilities of the rows of the pieces at `indices`, and their weights, both [B, T]."""
        rows = [row for index in indices for row in training_set.pieces[index]]
        batch = pad(rows, self.learner.model.device)
        # The gradient of a linear loss by the log-probabilities is the weights, up to a factor.
        expected_BT = batch.weight_BT if training_set.loss.is_linear else None
        shared = shared_prefixes(rows) if training_set.loss.in_pairs and self._forkable else None
        shared_P = None if shared is None else torch.tensor(shared, device=batch.ids_BT.device)
        trained_BT = batch.weight_BT != 0
        logprob_BT = self.module(batch.ids_BT, batch.attention_BT, trained_BT, expected_BT, shared_P)
        return logprob_BT, batch.weight_BT

    # ── held-out experience ─────────────────────────────────────────────────────────────────────────────────

    def log_probabilities(self, experience: Sequence[Experience], objective: Objective) -> dict[str, LogProbabilities]:
        """Return the log-probability of each row under the present weights, by problem; too long pieces have none."""
        problems, held_out = self._held_out(experience, objective)
        sums = self._log_probabilities(held_out, range(len(problems)))
        return {problem: sums[index] for index, problem in enumerate(problems)}

    def losses(
        self,
        experience: Sequence[Experience],
        objective: Objective,
        reference: Mapping[str, LogProbabilities] | None = None,
    ) -> dict[str, tuple[float, dict[str, float]]]:
        """Return the loss and its other measures on each piece, per trained token or pair, without learning from it.

        Both are by problem. A piece that is too long, or has no `reference` where the loss needs one, has none.
        """
        known = [piece for piece in experience if reference is None or piece.problem in reference]
        problems, held_out = self._held_out(known, objective)
        if reference is not None:
            held_out = replace(held_out, reference=Reference(tuple(reference[problem] for problem in problems)))
        measured = {
            problems[index]: result
            for group in self._micro_batches(held_out, range(len(problems)))
            for index, result in self._losses_of(held_out, group)
        }
        return {problem: measured[problem] for problem in problems}

    def _held_out(self, experience: Sequence[Experience], objective: Objective) -> tuple[list[str], TrainingSet]:
        """Return the pieces of `experience` that fit the model, and the problem of each."""
        loss = LOSSES[type(objective)](objective)
        fitting = dict(self._trainable(experience, loss))
        return list(fitting), TrainingSet("", tuple(fitting.values()), 0, 1, 1, (), loss)

    def _losses_of(
        self, held_out: TrainingSet, indices: Sequence[int]
    ) -> Iterator[tuple[int, tuple[float, dict[str, float]]]]:
        """Yield each of `indices` with the loss of its piece and its other measures."""
        self.learner.to_device()
        self.module.eval()
        with torch.no_grad():
            logprob_BT, weight_BT = self._forward(held_out, indices)
        begin = 0
        for index in indices:
            rows = held_out.pieces[index]
            own = slice(begin, begin + len(rows))
            begin += len(rows)
            loss, measures = held_out.loss(logprob_BT[own], weight_BT[own], self._reference_of(held_out, [index]))
            size = held_out.loss.size(rows)
            yield index, (float(loss) / size, {name: float(value) / size for name, value in measures.items()})

    # ── learning ────────────────────────────────────────────────────────────────────────────────────────────

    def learn(self, training_set: TrainingSet, done: int = 0) -> Iterator[StepResult]:
        """Take the steps after the first `done`, one per iteration."""
        problems_per_step = training_set.problems / max(1, training_set.steps)
        number = 0
        for epoch in range(training_set.epochs):
            order = list(range(len(training_set.pieces)))
            named_rng(*training_set.seed, "order", epoch).shuffle(order)
            for start in range(0, len(order), training_set.batch):
                number += 1
                if number > done:
                    indices = order[start : start + training_set.batch]
                    yield self._step(training_set, indices, number, problems_per_step)

    def _step(self, training_set: TrainingSet, indices: Sequence[int], number: int, problems: float) -> StepResult:
        start, learning_rate = time.monotonic(), self.learning_rate()
        self.learner.to_device(self.moments)
        torch.manual_seed(stream(*training_set.seed, "dropout", number))
        loss, measures, tokens = self._accumulate_gradient(training_set, indices)
        self._check("loss", loss, number, indices)
        norm = float(self.accelerator.clip_grad_norm_(self.module.parameters(), self.settings.max_grad_norm))
        self._check("gradient norm", norm, number, indices)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seen += problems
        self.learner.record_update(f"{training_set.name} {number}")
        rows = [row for index in indices for row in training_set.pieces[index]]
        trained = sum(weight != 0 for row in rows for weight in row.weights)
        values = {name: float(value) for name, value in measures.items()}
        seconds = time.monotonic() - start
        return StepResult(number, problems, loss, values, tokens, trained, learning_rate, norm, seconds)

    def _accumulate_gradient(
        self, training_set: TrainingSet, indices: Sequence[int]
    ) -> tuple[float, dict[str, torch.Tensor], int]:
        """Add up the gradient of a step; return its loss, its other measures and the number of tokens read."""
        divisor = sum(training_set.loss.size(training_set.pieces[index]) for index in indices)
        self.module.train()
        if training_set.loss.needs_reference:  # which was computed without dropout
            switch_off_dropout(self.module)
        total, tokens = torch.zeros((), device=self.learner.model.device), 0
        measures: dict[str, torch.Tensor] = {}
        for group in self._micro_batches(training_set, indices):
            logprob_BT, weight_BT = self._forward(training_set, group)
            loss, group_measures = training_set.loss(logprob_BT, weight_BT, self._reference_of(training_set, group))
            self.accelerator.backward(loss / divisor)
            total += loss.detach() / divisor
            tokens += sum(len(row.ids) for index in group for row in training_set.pieces[index])
            for name, value in group_measures.items():
                measures[name] = measures.get(name, torch.zeros_like(value)) + value / divisor
        return float(total), measures, tokens

    @staticmethod
    def _check(quantity: str, value: float, number: int, indices: Sequence[int]) -> None:
        if not math.isfinite(value):
            rows = ", ".join(str(index) for index in list(indices)[:8])
            raise RunStopped(
                f"the {quantity} is {value} in step {number}, rows {rows}; lower the learning rate in a new run"
            )

    def finite(self) -> bool:
        """Whether all trained weights are finite."""
        return all(bool(torch.isfinite(p).all()) for p in self.module.parameters() if p.requires_grad)

    def _reference_of(self, training_set: TrainingSet, indices: Sequence[int]) -> torch.Tensor | None:
        if training_set.reference is None:
            return None
        sums = [row_sum for index in indices for row_sum in training_set.reference.sums[index]]
        return torch.tensor(sums, device=self.learner.model.device)

    def _micro_batches(self, training_set: TrainingSet, indices: Sequence[int]) -> Iterator[list[int]]:
        """Divide the pieces at `indices` into groups that fit in one forward pass."""
        pieces = [training_set.pieces[index] for index in indices]
        lengths = [max(len(row.ids) for row in rows) for rows in pieces]
        rows_each = [len(rows) for rows in pieces]
        default = CPU_BATCH_TOKENS if self.learner.model.device.type == "cpu" else GPU_BATCH_TOKENS
        for group in bucketed(lengths, rows_each, self.settings.batch_tokens or default):
            yield [indices[i] for i in group]


def _optimizer(module: torch.nn.Module, settings: TrainerSettings) -> torch.optim.Optimizer:
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.adam_betas,
        "weight_decay": settings.weight_decay,
    }
    if settings.optimizer == "adamw_8bit":
        return quantization.adamw_8bit(module, **options)
    return torch.optim.AdamW([weight for weight in module.parameters() if weight.requires_grad], **options)
