"""The one loop that moves weights.

A step takes `batch` pieces of experience, in micro-batches of rows of like length, and divides the loss by the step's
trained weight (or its pairs), so that how a step is split changes nothing. The schedule is counted in problems. The
reference of a preference loss is the round's starting policy: its log-probabilities are taken before the first step.

Not here: where experience comes from, when to save and evaluate (`run`), and what a loss is (`losses/`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator

from sparring.common.errors import RunStopped
from sparring.common.registry import Catalogue
from sparring.common.seeds import Name, digest, named_rng, stream
from sparring.core.experience import Experience
from sparring.core.objective import Objective
from sparring.models import quantization
from sparring.models.introspection import forkable
from sparring.models.offload import Resident
from sparring.models.renderer import TrainingRow
from sparring.training.allocator import keep_freed
from sparring.training.collate import bucketed, pad
from sparring.training.learner import Learner
from sparring.training.prefix_sharing import shared
from sparring.training.settings import TrainerSettings

LOSSES = Catalogue("sparring.training.losses", "loss")

PROBE = 16  # pieces of which both the sampler's log-probabilities and the trainer's are known
TOLERANCE = 1e-3  # nats a row that they may lie apart for the sampler's to be believed


@dataclass(frozen=True)
class Reference:
    """The reference's log-probability of each row of each piece. `sampled` is the share of pieces for which those of
    the sampler were taken, `gap` how far these lay from the trainer's in the probe (nats a row; None: none to
    compare)."""

    sums: tuple[tuple[float, ...], ...]
    sampled: float = 0.0
    gap: float | None = None


@dataclass(frozen=True)
class TrainingSet:
    """A round's experience as rows, `batch` pieces a step, and the reference's log-probability of each row where the
    loss needs it."""

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
        """How many steps it takes."""
        return self.epochs * math.ceil(len(self.pieces) / self.batch)


class StepResult(NamedTuple):
    """What one step did: its number (from 1), the problems it stands for, loss, other measures, tokens taken in."""

    number: int
    problems: float
    loss: float
    measures: dict[str, float]
    tokens: int


def needs_reference(objective: Objective) -> bool:
    """Whether the loss of `objective` compares the learner with its reference."""
    loss: Any = LOSSES[objective.loss]
    return bool(loss.needs_reference)


class Trainer:
    """Moves a learner's weights, a lesson at a time."""

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
        """A new optimiser and a new schedule, over `horizon` problems."""
        self.settings = settings
        self.horizon = horizon
        self.seen = 0.0
        self.optimizer = self.accelerator.prepare(_optimizer(self.learner.log_probs, settings))
        self.moments = self.learner.model.turns.join(Resident(self._moments, self.learner.model.device))
        self.learner.recompute(settings.gradient_checkpointing)

    def _moments(self) -> Iterator[torch.Tensor]:
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, torch.Tensor))

    def learning_rate(self) -> float:
        """The rate after `seen` problems."""
        s = self.settings
        if self.seen < s.warm_up:
            return s.learning_rate * (self.seen + 1) / (s.warm_up + 1)
        done = min(1.0, (self.seen - s.warm_up) / max(1e-9, self.horizon - s.warm_up))
        factors = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return s.learning_rate * factors[s.schedule]

    def state(self) -> dict[str, Any]:
        """Optimiser and place in the schedule."""
        return {"optimizer": self.optimizer.state_dict(), "horizon": self.horizon, "seen": self.seen}

    def restore(self, state: dict[str, Any], settings: TrainerSettings) -> None:
        """Goes on from what `state` gave."""
        self.begin(state["horizon"], settings)
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen = state["seen"]

    # ── lessons ─────────────────────────────────────────────────────────────────────────────────────────────

    def lesson(
        self,
        experience: Sequence[Experience],
        objective: Objective,
        problems: float,
        epochs: int,
        seed: tuple[Name, ...],
        *,
        updates: int | Literal["batch"] = "batch",
    ) -> TrainingSet:
        """`experience` as rows, to be learnt in so many `updates`, or in batches of the settings. What is longer than
        the model or has nothing to train is left out and counted, never cut; RunStopped if that is too much."""
        loss = LOSSES[objective.loss](objective)
        longest = self.learner.model.max_length
        pieces = []
        for piece in experience:
            rows = tuple(loss.rows(piece, self.learner.model.dialect))
            if rows and all(any(row.weights) and len(row.ids) <= longest for row in rows):
                pieces.append(rows)
        dropped = len(experience) - len(pieces)
        if experience and dropped > self.settings.max_dropped * len(experience):
            raise RunStopped(
                f"{dropped} of {len(experience)} pieces of experience cannot be trained on: longer than the model's "
                f"{longest} tokens, or with nothing to train; shorten them, or raise max_dropped under [trainer] "
                f"(now {self.settings.max_dropped:g})"
            )
        name = digest(*(digest(row.ids) for rows in pieces for row in rows))
        batch = self.settings.batch if updates == "batch" else max(1, math.ceil(len(pieces) * epochs / updates))
        return TrainingSet(name, tuple(pieces), problems, epochs, batch, seed, loss, dropped)

    def reference(self, lesson: TrainingSet) -> Reference | None:
        """The log-probability of each row under the weights as they are now; None where no loss asks.

        A row that these weights sampled, and that carries what they gave it, needs no pass of its own, if a probe finds
        that the sampler and the trainer agree.
        """
        if not lesson.loss.needs_reference:
            return None
        sampled = {
            place: tuple(row.sampled for row in rows if row.sampled is not None)
            for place, rows in enumerate(lesson.pieces)
            if all(row.sampled is not None for row in rows)
        }
        sums = self._log_probabilities(lesson, list(sampled)[:: math.ceil(len(sampled) / PROBE) or 1])
        gaps = [abs(a - b) for place in sums for a, b in zip(sums[place], sampled[place], strict=True)]
        gap = max(gaps, default=None)
        believed = sampled if gap is not None and gap <= TOLERANCE else {}
        unknown = [place for place in range(len(lesson.pieces)) if place not in sums and place not in believed]
        sums = {**believed, **sums, **self._log_probabilities(lesson, unknown)}
        share = len(believed) / max(1, len(lesson.pieces))
        return Reference(tuple(sums[place] for place in range(len(lesson.pieces))), share, gap)

    def _log_probabilities(self, lesson: TrainingSet, places: Sequence[int]) -> dict[int, tuple[float, ...]]:
        """The weighted sum for each row of the pieces at `places`."""
        self.learner.to_device()
        self.module.eval()
        sums = {}
        with torch.no_grad():
            for group in self._micro_batches(lesson, places):
                logprob_BT, weight_BT = self._forward(lesson, group)
                found = iter((logprob_BT * weight_BT).sum(dim=1).tolist())
                for place in group:
                    sums[place] = tuple(next(found) for _ in lesson.pieces[place])
        return sums

    def _forward(self, lesson: TrainingSet, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The log-probabilities of the rows of the pieces at `places`, and their weights, both [B, T]."""
        rows = [row for place in places for row in lesson.pieces[place]]
        batch = pad(rows, self.learner.model.device)
        expected_BT = batch.weight_BT if lesson.loss.is_linear else None
        common = shared(rows) if lesson.loss.in_pairs and self._forkable else None
        shared_P = None if common is None else torch.tensor(common, device=batch.ids_BT.device)
        trained_BT = batch.weight_BT != 0
        logprob_BT = self.module(batch.ids_BT, batch.attention_BT, trained_BT, expected_BT, shared_P)
        return logprob_BT, batch.weight_BT

    def learn(self, lesson: TrainingSet, done: int = 0) -> Iterator[StepResult]:
        """Takes the lesson's steps after the first `done`, one an iteration."""
        a_step = lesson.problems / max(1, lesson.steps)
        number = 0
        for epoch in range(lesson.epochs):
            order = list(range(len(lesson.pieces)))
            named_rng(*lesson.seed, "order", epoch).shuffle(order)
            for start in range(0, len(order), lesson.batch):
                number += 1
                if number > done:
                    yield self._step(lesson, order[start : start + lesson.batch], number, a_step)

    def _step(self, lesson: TrainingSet, places: Sequence[int], number: int, problems: float) -> StepResult:
        self.learner.to_device(self.moments)
        torch.manual_seed(stream(*lesson.seed, "dropout", number))
        size = sum(lesson.loss.size(lesson.pieces[place]) for place in places)
        self.module.train()
        total, tokens = torch.zeros((), device=self.learner.model.device), 0
        measures: dict[str, torch.Tensor] = {}
        for group in self._micro_batches(lesson, places):
            logprob_BT, weight_BT = self._forward(lesson, group)
            loss, found = lesson.loss(logprob_BT, weight_BT, self._reference_of(lesson, group))
            self.accelerator.backward(loss / size)
            total += loss.detach() / size
            tokens += sum(len(row.ids) for place in group for row in lesson.pieces[place])
            for name, value in found.items():
                measures[name] = measures.get(name, torch.zeros_like(value)) + value / size
        loss_of_step = float(total)
        self._check("loss", loss_of_step, number, places)
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.settings.max_grad_norm)
        self._check("gradient's norm", float(norm), number, places)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seen += problems
        self.learner.moved(f"{lesson.name} {number}")
        return StepResult(
            number, problems, loss_of_step, {name: float(value) for name, value in measures.items()}, tokens
        )

    @staticmethod
    def _check(what: str, value: float, number: int, places: Sequence[int]) -> None:
        if not math.isfinite(value):
            rows = ", ".join(str(place) for place in list(places)[:8])
            raise RunStopped(
                f"the {what} is {value} in step {number}, rows {rows}; lower the learning rate in a new run"
            )

    def finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(p).all()) for p in self.module.parameters() if p.requires_grad)

    def _reference_of(self, lesson: TrainingSet, places: Sequence[int]) -> torch.Tensor | None:
        if lesson.reference is None:
            return None
        sums = [found for place in places for found in lesson.reference.sums[place]]
        return torch.tensor(sums, device=self.learner.model.device)

    def _micro_batches(self, lesson: TrainingSet, places: Sequence[int]) -> Iterator[list[int]]:
        lengths = [max(len(row.ids) for row in lesson.pieces[place]) for place in places]
        rows = [len(lesson.pieces[place]) for place in places]
        budget = self.settings.batch_tokens or (1_024 if self.learner.model.device.type == "cpu" else 16_384)
        for group in bucketed(lengths, rows, budget):
            yield [places[at] for at in group]


def _optimizer(module: torch.nn.Module, settings: TrainerSettings) -> torch.optim.Optimizer:
    how: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.adam_betas,
        "weight_decay": settings.weight_decay,
    }
    if settings.optimizer == "adamw_8bit":
        return quantization.adamw_8bit(module, **how)
    return torch.optim.AdamW([weight for weight in module.parameters() if weight.requires_grad], **how)
