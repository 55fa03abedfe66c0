"""Direct preference optimisation (arXiv 2305.18290), with an optional likelihood term for the chosen side.

Axes: `B` row (chosen and rejected in turn), `T` token, `P` pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from sparring.core.chat import LEARNER
from sparring.core.experience import Preference
from sparring.core.objective import DPO
from sparring.models.renderer import Renderer, TrainingRow


class DPOLoss:
    """The mean over pairs of −log σ(β · (margin of the learner − margin of the reference))."""

    needs_reference: ClassVar[bool] = True
    in_pairs: ClassVar[bool] = True
    is_linear: ClassVar[bool] = False

    def __init__(self, objective: DPO) -> None:
        self.beta = objective.beta
        self.nll_weight = objective.nll_weight

    def rows(self, item: Preference, renderer: Renderer) -> list[TrainingRow]:
        """Return the chosen and the rejected row; no rows if either side has nothing to train."""
        rows = [
            row
            for side in (item.chosen, item.rejected)
            for row in renderer.rows(item.prompt.then(side.with_weight(1.0)), LEARNER)
        ]
        return rows if len(rows) == 2 else []

    def size(self, rows: Sequence[TrainingRow]) -> float:
        """Return what these rows add to the divisor of their step: the number of pairs."""
        return len(rows) / 2

    def __call__(
        self, logprob_BT: torch.Tensor, weight_BT: torch.Tensor, reference_B: torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss, the number of pairs ranked correctly and the margin, all summed over pairs."""
        assert reference_B is not None
        policy_B = (logprob_BT * weight_BT).sum(dim=1)
        log_ratio_B = policy_B - reference_B
        margin_P = self.beta * (log_ratio_B[0::2] - log_ratio_B[1::2])
        loss = -logsigmoid(margin_P).sum()
        if self.nll_weight:
            tokens_P = weight_BT[0::2].sum(dim=1)
            loss = loss - self.nll_weight * (policy_B[0::2] / tokens_P).sum()
        measures = {"ranked": (margin_P > 0).sum(), "margin": margin_P.detach().sum()}
        return loss, measures
