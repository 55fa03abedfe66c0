"""Telling a thought from a response, and `Answer`: the only thing a judge is ever handed.

The formats are those of "Thinking LLMs" (arXiv 2410.10630): *generic*, *specific*, and the `<think>`
tags that models and servers have settled on. A text in which the parts cannot be told apart with certainty (a
marker missing, repeated or out of place, nothing after it) is Unreadable: it is never guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparring.common.errors import Unreadable, nearest


@dataclass(frozen=True)
class Answer:
    """A response with its thought taken off. Only this module makes one, so no byte of a thought reaches a judge."""

    text: str


@dataclass(frozen=True)
class Thinking:
    """A reply in its two parts; `thought` is None where the format has none."""

    thought: str | None
    answer: Answer


@dataclass(frozen=True)
class ThoughtFormat:
    """`opening` thought `marker` response. `prompt` asks a model for it."""

    name: str
    opening: str
    marker: str
    prompt: str = ""

    def split(self, text: str) -> Thinking:
        """`text` in its parts. Raises Unreadable."""
        if not self.marker:
            return Thinking(None, _response(text))
        words = text.strip()
        openings = words.count(self.opening) if self.opening else 1
        if openings != 1 or not words.startswith(self.opening):
            raise Unreadable(f"the opening {self.opening!r} stands {openings} times, not once at the start")
        if words.count(self.marker) != 1:
            raise Unreadable(f"the marker {self.marker!r} stands {words.count(self.marker)} times, not once")
        thought, _, response = words[len(self.opening) :].partition(self.marker)
        return Thinking(thought.strip(), _response(response))

    def join(self, thought: str, response: str) -> str:
        """The text that `split` takes apart into `thought` and `response`."""
        return f"{self.opening}{thought}{self.marker}{response}"


def _response(text: str) -> Answer:
    if not text.strip():
        raise Unreadable("there is no response")
    return Answer(text.strip())


# After the two prompts that the paper shows; a recipe may reword them with `thought_prompt`.
_GENERIC = """Respond to the following user query in a comprehensive and detailed way. You can write down your \
thought process before responding. Write your thoughts after "Here is my thought process:" and write your response \
after "Here is my response:".

User query: """

_SPECIFIC = """Respond to the following user query in a comprehensive and detailed way. But first write down your \
internal thoughts. This must include your draft response and its evaluation. After this, write your final response \
after "<R>".

User query: """

_THINK = """Respond to the following user query. First think about it between <think> and </think>, then write your \
response.

User query: """

NONE = ThoughtFormat("none", "", "")
GENERIC = ThoughtFormat("generic", "Here is my thought process:", "Here is my response:", _GENERIC)
SPECIFIC = ThoughtFormat("specific", "", "<R>", _SPECIFIC)
THINK = ThoughtFormat("think", "<think>", "</think>", _THINK)

_FORMATS = {found.name: found for found in (GENERIC, SPECIFIC, THINK, NONE)}


def thought_format(name: str) -> ThoughtFormat:
    """The format called `name`."""
    if name not in _FORMATS:
        raise nearest("thought format", name, _FORMATS)
    return _FORMATS[name]
