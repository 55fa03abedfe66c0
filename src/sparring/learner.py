"""The model whose weights can be moved: its voice, its log-probabilities, saving it.

`weights` names the weights by what they came from: the source, then everything trained on since. Two learners of one
name had one history; no digest of gigabytes is ever taken.
"""

from __future__ import annotations

from pathlib import Path

from sparring.chat import LEARNER
from sparring.files import writing
from sparring.journal import Journal
from sparring.logprobs import TokenLogProbs
from sparring.model import LanguageModel, ModelSource, Voice, load
from sparring.seeds import Name, digest


class Learner:
    """A language model in training."""

    def __init__(self, model: LanguageModel, seed: int = 0) -> None:
        self.model = model
        self.weights = digest(repr(model.source), seed)
        self.log_probs = TokenLogProbs(model.network)

    @classmethod
    def load(cls, source: ModelSource, seed: int = 0) -> Learner:
        """The learner that `source` names."""
        return cls(load(source, seed), seed)

    def voice(self, *scope: Name, journal: Journal | None = None) -> Voice:
        """The learner as a Speaker whose random streams are named by `scope`."""
        return Voice(self.model, LEARNER, scope, self.weights, journal)

    def moved(self, by: Name) -> None:
        """Notes that its weights were moved by what is called `by`."""
        self.weights = digest(self.weights, by)

    def restore(self, folder: Path, weights: str) -> None:
        """The weights saved in `folder`, whose name is `weights`."""
        network = self.model.network
        if (folder / "adapter_config.json").exists():
            from peft import load_peft_weights, set_peft_model_state_dict  # noqa: PLC0415 - only with adapters

            set_peft_model_state_dict(network, load_peft_weights(str(folder), device="cpu"))
        else:
            network.load_state_dict(type(network).from_pretrained(folder, dtype=network.dtype).state_dict())
        self.weights = weights

    def save(self, folder: Path) -> None:
        """Weights (safetensors), configuration and tokenizer in the Hugging Face format."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.model.network.save_pretrained(folder)
            self.model.dialect.tokenizer.save_pretrained(folder)
