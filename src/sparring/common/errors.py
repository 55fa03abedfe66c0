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

from sparring.common.aliases import advice, alias


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
    """A ConversationError as data: its class name (`Unreadable`, …), whose reply failed, and the reason.

    `words` are those of a reply that was cut, without thoughts.
    """

    kind: str
    who: str
    reason: str
    words: str = ""

    @classmethod
    def of(cls, error: ConversationError, who: str) -> Failure:
        """Create the failure for `error` in a reply of `who`."""
        return cls(type(error).__name__, who, str(error), error.words if isinstance(error, CutOff) else "")

    @property
    def counts(self) -> bool:
        """Whether it counts as a failure of `who`."""
        return self.kind != Skipped.__name__


def nearest(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Create the error for an unknown `name`: it suggests the closest of `known`, if any, and lists all.

    A word of another tool is answered by what to write instead.
    """
    names = sorted(known)
    same = alias(kind, name, names)
    if same is None and (lead := advice(kind, name)) is not None:
        return ConfigError(f"unknown {kind} {name!r}; {lead}")
    matches = [same] if same else difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" (did you mean {matches[0]!r}?)" if matches else ""
    remedy = f"choose from {', '.join(names)}" if names else "there is none to choose from"
    return ConfigError(f"unknown {kind} {name!r}{hint}; {remedy}")
