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
    """−Σ w · log p over the step, divided by its Σ w, however the step is split."""

    name: ClassVar[str] = "likelihood"
    needs_reference: ClassVar[bool] = False
    in_pairs: ClassVar[bool] = False
    is_linear: ClassVar[bool] = True

    def __init__(self, objective: Likelihood) -> None:
        """The objective has no settings."""

    def rows(self, item: Demonstration, dialect: Renderer) -> list[TrainingRow]:
        """The rows of one demonstration."""
        return dialect.rows(item.chat, item.reader)

    def size(self, rows: Sequence[TrainingRow]) -> float:
        """What these rows add to the divisor of their step: their trained weight."""
        return sum(sum(row.weights) for row in rows)

    def __call__(
        self, logprob_BT: torch.Tensor, weight_BT: torch.Tensor, reference_B: torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The undivided loss."""
        return -(logprob_BT * weight_BT).sum(), {}
