"""What can go wrong, drawn as a tree.

    SparringError
    ├── ConfigError            a mistake in what the user gave us: one line, exit code 2
    ├── RunStopped             a run stopped itself; what it had saved is safe and can be resumed
    └── ConversationError      one conversation went wrong: data for the run, never a crash
        ├── Unreadable         a reply whose parts cannot be told apart
        ├── CutOff             a reply that ended at its length limit: never an answer
        ├── TooLong            a chat that leaves the model no room to reply; a reply too long to be read
        └── Unavailable        the other side did not reply
            └── Skipped        a person chose not to: nobody failed

`nearest` is the one place that turns an unknown name into a helpful sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class SparringError(Exception):
    """Everything this package raises on purpose."""


class ConfigError(SparringError):
    """A mistake in a recipe, a file or an argument: says the value, what is allowed and the remedy."""


class RunStopped(SparringError):
    """A run that stopped itself, with its last good state saved."""


class ConversationError(SparringError):
    """A conversation that failed. Methods record it in the episode (`Failure.of`) and go on."""


class Unreadable(ConversationError):
    """A reply that does not follow the form it was asked for."""


class CutOff(ConversationError):
    """A reply that reached its length limit before it ended."""


class TooLong(ConversationError):
    """A chat that is as long as the model's longest sequence, or longer; a reply of more characters than are read.
    Neither is ever cut."""


class Unavailable(ConversationError):
    """A partner that gave no reply."""


class Skipped(Unavailable):
    """A person who chose to give no reply: an episode without one, and no failure of the partner's."""


@dataclass(frozen=True)
class Failure:
    """A ConversationError as data: its kind (`Unreadable`, …), whose reply it befell, and the reason."""

    kind: str
    who: str
    reason: str

    @classmethod
    def of(cls, error: ConversationError, who: str) -> Failure:
        """`error`, which befell a reply of `who`."""
        return cls(type(error).__name__, who, str(error))

    @property
    def counts(self) -> bool:
        """Whether it counts against whom it befell."""
        return self.kind != Skipped.__name__


def nearest(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for an unknown `name`: the nearest known one if there is one, and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ConfigError(f"no {kind} is called {name!r}{hint}; there is {', '.join(names) or 'none'}")
