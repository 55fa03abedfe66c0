"""The model whose weights can be moved: its voice, its log-probabilities, saving it.

`weights` names the weights by what they came from: the source, then everything trained on since. Two learners of one
name had one history; no digest of gigabytes is ever taken.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint

from sparring.common.errors import ConfigError
from sparring.common.files import writing
from sparring.common.seeds import Name, digest
from sparring.core.chat import LEARNER
from sparring.inference.journal import Journal
from sparring.inference.model import LanguageModel, load_model
from sparring.inference.model_speaker import ModelSpeaker
from sparring.models.introspection import inner
from sparring.models.offload import Resident
from sparring.models.source import ModelSource
from sparring.training.logprobs import TokenLogProbs


class Learner:
    """A language model in training."""

    def __init__(self, model: LanguageModel, seed: int = 0) -> None:
        self.model = model
        self.weights = digest(repr(model.source), seed)
        self.log_probs = TokenLogProbs(model.network)
        if model.dtype is torch.bfloat16:  # weights or adapters in float32, computed with in bfloat16
            mixed = torch.autocast(model.device.type, torch.bfloat16)
            vars(self.log_probs)["forward"] = mixed(self.log_probs.forward)

    @classmethod
    def load(cls, source: ModelSource, seed: int = 0) -> Learner:
        """The learner that `source` names."""
        return cls(load_model(source, seed, trained=True), seed)

    def voice(self, *scope: Name, journal: Journal | None = None, logprobs: bool = False) -> ModelSpeaker:
        """The learner as a Speaker whose random streams are named by `scope`; `logprobs`: its words carry theirs."""
        return ModelSpeaker(self.model, LEARNER, scope, self.weights, journal, logprobs)

    def to_device(self, *more: Resident) -> None:
        """What it takes to train is on the device, `more` with it; what only sampling takes is not."""
        self.model.forget_copy()
        self.model.turns.bring(self.model.resident, *more)

    def recompute(self, activations: bool) -> None:
        """Whether the backward pass computes the activations of each layer again instead of keeping them (gradient
        checkpointing): about a third more time for the memory of one layer instead of all."""
        network = inner(self.model.network)
        if activations and not network.supports_gradient_checkpointing:
            raise ConfigError(f"gradient_checkpointing: {type(network).__name__} knows none; leave it out")
        # Not by its public name, which has embeddings require gradients too: only reentrant checkpointing needs that.
        network._set_gradient_checkpointing(activations, partial(checkpoint, use_reentrant=False))

    def moved(self, by: Name) -> None:
        """Notes that its weights were moved by what is called `by`."""
        self.weights = digest(self.weights, by)

    def restore(self, folder: Path, weights: str) -> None:
        """The weights saved in `folder`, whose name is `weights`."""
        network = self.model.network
        self.model.forget_copy()
        if (folder / "adapter_config.json").exists():
            from peft import load_peft_weights, set_peft_model_state_dict  # noqa: PLC0415 - only with adapters

            set_peft_model_state_dict(network, load_peft_weights(str(folder), device="cpu"))
        else:
            saved, found = type(network).from_pretrained(
                folder, config=network.config, dtype=network.dtype, output_loading_info=True
            )
            if found["missing_keys"]:
                raise ConfigError(f"{folder} lacks the weights {', '.join(sorted(found['missing_keys'])[:3])}")
            network.load_state_dict(saved.state_dict())
        self.weights = weights

    def save(self, folder: Path) -> None:
        """Weights (safetensors), configuration and tokenizer in the Hugging Face format."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.model.network.save_pretrained(folder)
            self.model.dialect.tokenizer.save_pretrained(folder)
