"""Prompt texts: those with blanks (`Question: {question}`), and those that ask for a thought.

Filling is one pass over the template alone. What goes into a blank is never itself a template, so braces in the
words of a model or of a data set stay as they are.
"""

from __future__ import annotations

import re

from sparring.common.errors import ConfigError
from sparring.core.chat import Chat, message
from sparring.parsing.thought import ThoughtFormat

_BLANK = re.compile(r"\{([a-z_]+)\}")


def blanks(template: str) -> set[str]:
    """The names of the blanks in `template`."""
    return set(_BLANK.findall(template))


def fill(template: str, **words: str) -> str:
    """`template` with every blank filled; a blank without words is a ConfigError, words without a blank are not."""
    check_blanks(template, words)
    return _BLANK.sub(lambda blank: words[blank.group(1)], template)


def check_blanks(template: str, allowed: dict[str, str] | set[str] | tuple[str, ...]) -> None:
    """Raises ConfigError if `template` has a blank that is not among `allowed`."""
    for name in sorted(blanks(template) - set(allowed)):
        known = ", ".join(f"{{{a}}}" for a in sorted(allowed)) or "none"
        raise ConfigError(f"the prompt {template[:40]!r}… has the blank {{{name}}}; the blanks here are {known}")


def ask_for_thought(form: ThoughtFormat, question: Chat, prompt: str | None = None) -> Chat:
    """`question` with the prompt of `form` (or `prompt` in its place) before its last message."""
    text = form.prompt if prompt is None else prompt
    *before, last = question.messages
    return Chat((*before, message(last.author, text + last.text))) if text else question
