"""Training objectives as plain data; `training/losses/` computes them from log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Likelihood:
    """Weighted negative log-likelihood of demonstrations, divided by the total weight of the step's trained tokens."""


@dataclass(frozen=True)
class DPO:
    """Direct preference optimisation (Rafailov et al., arXiv 2305.18290) of preferences.

    `beta` is the strength of the regularisation towards the reference, which is the policy at the start of the round.
    `nll_weight` weighs an added negative log-likelihood per token of the chosen side (IRPO, arXiv 2404.19733).
    """

    beta: float = 0.1
    nll_weight: float = 0.0


Objective = Likelihood | DPO
