"""All exceptions of the package.

    SparringError
    ├── ConfigError            a mistake in the user's input: one line, exit code 2
    ├── RunStopped             a run stopped itself; its saved state is safe and can be resumed
    └── ConversationError      a conversation failed: recorded by the run, never a crash
        ├── Unreadable         a reply that cannot be parsed
        ├── CutOff             a reply truncated at its token limit: never an answer
        ├── TooLong            a chat that leaves no room for a reply, or a reply over the character limit
        └── Unavailable        no reply
            └── Skipped        a person chose not to reply: not a failure

`nearest` makes the error for an unknown name, in one place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class SparringError(Exception):
    """The parent of all exceptions that this package raises deliberately."""


class ConfigError(SparringError):
    """A mistake in a recipe, a file or an argument. The message names the value, what is allowed and the remedy."""


class RunStopped(SparringError):
    """A run stopped itself; its last good state is saved."""


class ConversationError(SparringError):
    """A conversation failed. Methods record it in the episode (`Failure.of`) and continue."""


class Unreadable(ConversationError):
    """A reply does not follow the requested form."""


class CutOff(ConversationError):
    """A reply reached its token limit before it ended. `words` are those before the cut, without thoughts."""

    def __init__(self, message: str = "", words: str = "") -> None:
        super().__init__(message)
        self.words = words


class TooLong(ConversationError):
    """A chat fills the model's longest sequence, or a reply exceeds the character limit. Neither is truncated."""


class Unavailable(ConversationError):
    """A partner gave no reply."""


class Skipped(Unavailable):
    """A person chose not to reply. The episode ends, but the partner has not failed."""


@dataclass(frozen=True)
class Failure:
    """A ConversationError as data: its class name (`Unreadable`, …), whose reply failed, and the reason."""

    kind: str
    who: str
    reason: str

    @classmethod
    def of(cls, error: ConversationError, who: str) -> Failure:
        """Create the failure for `error` in a reply of `who`."""
        return cls(type(error).__name__, who, str(error))

    @property
    def counts(self) -> bool:
        """Whether it counts as a failure of `who`."""
        return self.kind != Skipped.__name__


# What users of other tools type, and what our recipes call it: for the suggestion of an error only.
ALIASES = {
    "batch": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "lr": "learning_rate",
    "lr_scheduler_type": "lr_schedule",
    "scheduler": "lr_schedule",
    "schedule": "lr_schedule",
    "warm_up": "warmup",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "optim": "optimizer",
    "max_new_tokens": "max_tokens",
    "max_completion_length": "max_tokens",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "num_samples": "samples",
    "num_generations": "samples",
    "n": "samples",
    "model_name": "model",
    "model_name_or_path": "model",
    "peft_config": "lora",
    "r": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    "torch_dtype": "dtype",
    "load_in_4bit": "quantization",
    "eval_steps": "evaluate_every",
    "save_steps": "save_every",
}


def nearest(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Create the error for an unknown `name`: it suggests the closest of `known`, if any, and lists all."""
    names = sorted(known)
    alias = ALIASES.get(name)
    matches = [alias] if alias in names else difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" (did you mean {matches[0]!r}?)" if matches else ""
    remedy = f"choose from {', '.join(names)}" if names else "there is none to choose from"
    return ConfigError(f"unknown {kind} {name!r}{hint}; {remedy}")
