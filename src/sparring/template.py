"""Prompt texts with blanks: `Question: {question}`.

Filling is one pass over the template alone. What goes into a blank is never itself a template, so braces in the
words of a model or of a data set stay as they are.
"""

from __future__ import annotations

import re

from sparring.errors import ConfigError

_BLANK = re.compile(r"\{([a-z_]+)\}")


def blanks(template: str) -> set[str]:
    """The names of the blanks in `template`."""
    return set(_BLANK.findall(template))


def fill(template: str, **words: str) -> str:
    """`template` with every blank filled; a blank without words is a ConfigError, words without a blank are not."""
    check(template, words)
    return _BLANK.sub(lambda blank: words[blank.group(1)], template)


def check(template: str, allowed: dict[str, str] | set[str] | tuple[str, ...]) -> None:
    """Raises ConfigError if `template` has a blank that is not among `allowed`."""
    for name in sorted(blanks(template) - set(allowed)):
        known = ", ".join(f"{{{a}}}" for a in sorted(allowed)) or "none"
        raise ConfigError(f"the prompt {template[:40]!r}… has the blank {{{name}}}; the blanks here are {known}")
