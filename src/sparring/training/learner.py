"""The learner: the model that a run trains, with its speaker, its log-probabilities, saving and restoring.

`weights` names the weights by their history: a digest of the source and of everything trained on since. Equal names
mean equal histories, so gigabytes of weights never have to be hashed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint

from sparring.common.errors import ConfigError
from sparring.common.seeds import Name, digest
from sparring.core.chat import LEARNER
from sparring.inference.journal import Journal
from sparring.inference.model import LanguageModel, load_model
from sparring.inference.model_speaker import ModelSpeaker
from sparring.models.introspection import inner
from sparring.models.offload import Resident
from sparring.models.saving import save_model
from sparring.models.source import ModelSource
from sparring.training import adapters
from sparring.training.logprobs import TokenLogProbs


class Learner:
    """A language model that can be trained."""

    def __init__(self, model: LanguageModel, seed: int = 0) -> None:
        self.model = model
        self.weights = digest(repr(model.source), seed)
        if model.source.lora is not None:
            adapters.hasten(model.network)
        self.log_probs = TokenLogProbs(model.network)
        if model.dtype is torch.bfloat16:  # trains float32 weights or adapters, computes in bfloat16
            mixed = torch.autocast(model.device.type, torch.bfloat16)
            vars(self.log_probs)["forward"] = mixed(self.log_probs.forward)

    @classmethod
    def load(cls, source: ModelSource, seed: int = 0) -> Learner:
        """Load the learner that `source` names."""
        return cls(load_model(source, seed, trained=True), seed)

    def speaker(self, *scope: Name, journal: Journal | None = None, logprobs: bool = False) -> ModelSpeaker:
        """Return the learner as a Speaker; `scope` names its random streams (for the rest see `ModelSpeaker`)."""
        return ModelSpeaker(self.model, LEARNER, scope, self.weights, journal, logprobs)

    def to_device(self, *more: Resident) -> None:
        """Move the weights and `more` to the device for training; free what only sampling needs."""
        self.model.forget_copy()
        self.model.turns.bring(self.model.resident, *more)

    def recompute(self, activations: bool) -> None:
        """Switch gradient checkpointing on or off: the backward pass recomputes `activations` instead of keeping them.

        It takes about a third more time, for the memory of one layer instead of all.
        """
        network = inner(self.model.network)
        if activations and not network.supports_gradient_checkpointing:
            raise ConfigError(f"{type(network).__name__} does not support gradient_checkpointing; remove it")
        # Not the public method: it also makes embeddings require gradients, which only reentrant checkpointing needs.
        network._set_gradient_checkpointing(activations, partial(checkpoint, use_reentrant=False))

    def record_update(self, name: Name) -> None:
        """Update the weights' name after a training step called `name`."""
        self.weights = digest(self.weights, name)

    def restore(self, folder: Path, weights: str) -> None:
        """Load the weights saved in `folder`, which are named `weights`; ConfigError if some are missing."""
        network = self.model.network
        self.model.forget_copy()
        if (folder / "adapter_config.json").exists():
            from peft import load_peft_weights, set_peft_model_state_dict  # noqa: PLC0415 - only with adapters

            set_peft_model_state_dict(network, load_peft_weights(str(folder), device="cpu"))
        else:
            saved, report = type(network).from_pretrained(
                folder, config=network.config, dtype=network.dtype, output_loading_info=True
            )
            if report["missing_keys"]:
                raise ConfigError(f"{folder} lacks the weights {', '.join(sorted(report['missing_keys'])[:3])}")
            network.load_state_dict(saved.state_dict())
        self.weights = weights

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer to `folder` in the Hugging Face format."""
        save_model(self.model.network, self.model.renderer.tokenizer, folder)
