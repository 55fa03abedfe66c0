"""Training settings, as a recipe sets them. Not here: the training loop (`trainer`), which imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from sparring.common.extras import need_bitsandbytes
from sparring.common.schema import ADJUSTABLE


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of the optimiser and its schedule.

    `optimizer`: "adamw_8bit" keeps its state in eight bits. `gradient_checkpointing`: recompute activations rather
    than keep them. `batch_size`: pieces of experience per step. `batch_tokens`: padded tokens per forward pass (None:
    as suits the device). `warmup`: problems over which the learning rate rises. `lr_schedule`: how it falls over the
    rest of the phase or round. `max_dropped`: the run stops if more than this share of a round's experience cannot be
    trained on (longer than the model accepts, or with nothing to train).
    """

    learning_rate: Annotated[float, Gt(0)] = 1e-5
    batch_size: Annotated[int, Gt(0)] = 32
    batch_tokens: Annotated[int, Gt(0)] | None = None
    warmup: Annotated[float, Ge(0)] = 0
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Ge(0)] = 0.0
    adam_betas: tuple[float, float] = (0.9, 0.999)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    gradient_checkpointing: bool = False
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    max_dropped: Annotated[float, Interval(ge=0, le=1), ADJUSTABLE] = 0.05

    def __post_init__(self) -> None:
        if self.optimizer == "adamw_8bit":
            need_bitsandbytes(f"optimizer = {self.optimizer!r}")
