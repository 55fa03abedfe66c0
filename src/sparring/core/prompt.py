"""Prompt templates with placeholders (`Question: {question}`), and prompts that ask for a thought.

`fill` makes one pass over the template and does not expand what it inserts. So braces in the text of a model or a data
set stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sparring.common.errors import ConfigError
from sparring.core.chat import Chat, Part
from sparring.parsing.thought import ThoughtFormat

_BLANK = re.compile(r"\{([a-z_]+)\}")


def placeholders(template: str) -> set[str]:
    """Return the names of the placeholders in `template`."""
    return set(_BLANK.findall(template))


def fill(template: str, **words: str) -> str:
    """Replace every placeholder in `template`; ConfigError if `words` lacks one. Unused words are allowed."""
    check_placeholders(template, words)
    return _BLANK.sub(lambda match: words[match.group(1)], template)


def check_placeholders(template: str, allowed: dict[str, str] | set[str] | tuple[str, ...]) -> None:
    """Raise ConfigError if `template` has a placeholder that is not among `allowed`."""
    for name in sorted(placeholders(template) - set(allowed)):
        choices = ", ".join(f"{{{choice}}}" for choice in sorted(allowed))
        remedy = f"choose from {choices}" if choices else "remove it, no placeholder is allowed here"
        raise ConfigError(f"the prompt {template[:40]!r}… has the unknown placeholder {{{name}}}; {remedy}")


def ask_for_thought(form: ThoughtFormat, question: Chat, prompt: str | None = None) -> Chat:
    """Put the prompt of `form` (or `prompt` instead) before the text of the last message of `question`."""
    return put_before(question, form.prompt if prompt is None else prompt)


def put_before(question: Chat, prompt: str) -> Chat:
    """Put `prompt` before the text of the last message of `question`, if both are there."""
    if not prompt or not question.messages:
        return question
    *before, last = question.messages
    return Chat((*before, replace(last, parts=(Part(prompt + last.text, last.author),))))
