"""What is to be lowered, as plain data. How it is computed on log-probabilities is `losses/`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Likelihood:
    """Weighted negative log-likelihood of demonstrations, divided by the trained weight of the step."""

    loss: ClassVar[str] = "likelihood"


@dataclass(frozen=True)
class DPO:
    """Direct preference optimisation (Rafailov et al., arXiv 2305.18290) of preferences.

    `beta` is the strength of the pull towards the reference, which is the policy that the round started from;
    `nll_weight` adds that much of the chosen side's likelihood per token (IRPO, arXiv 2404.19733).
    """

    loss: ClassVar[str] = "dpo"

    beta: float = 0.1
    nll_weight: float = 0.0


Objective = Likelihood | DPO
