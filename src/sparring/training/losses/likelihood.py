"""Weighted negative log-likelihood.

Axes: `B` row, `T` token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from sparring.core.experience import Demonstration
from sparring.core.objective import Likelihood
from sparring.models.renderer import Renderer, TrainingRow


class LikelihoodLoss:
    """−Σ w · log p over a step, divided by its Σ w; how the step is split into micro-batches makes no difference."""

    needs_reference: ClassVar[bool] = False
    in_pairs: ClassVar[bool] = False
    is_linear: ClassVar[bool] = True

    def __init__(self, objective: Likelihood) -> None:
        """The objective has no settings."""

    def rows(self, item: Demonstration, renderer: Renderer) -> list[TrainingRow]:
        """Return the rows of one demonstration."""
        return renderer.rows(item.chat, item.reader)

    def size(self, rows: Sequence[TrainingRow]) -> float:
        """Return what these rows add to the divisor of their step: the sum of their weights."""
        return sum(sum(row.weights) for row in rows)

    def __call__(
        self, logprob_BT: torch.Tensor, weight_BT: torch.Tensor, reference_B: torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss before division."""
        return -(logprob_BT * weight_BT).sum(), {}
