"""Split a reply into thought and response; define `Answer`, the only input of a judge.

The formats are those of "Thinking LLMs" (arXiv 2410.10630), *generic* and *specific*, and the `<think>` tags that most
models and servers use. A text without a certain split is Unreadable: a marker is missing, repeated or misplaced, or
nothing follows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparring.common.errors import Unreadable, nearest


@dataclass(frozen=True)
class Answer:
    """A response without its thought. Only this module creates one, so no byte of a thought reaches a judge."""

    text: str


@dataclass(frozen=True)
class Thinking:
    """A reply split in two; `thought` is None if the format has none."""

    thought: str | None
    answer: Answer


@dataclass(frozen=True)
class ThoughtFormat:
    """The format `opening` thought `marker` response; `prompt` asks a model for it.

    `gap` is written around the thought and before the response; `split` ignores white space there.
    """

    name: str
    opening: str
    marker: str
    prompt: str = ""
    gap: str = ""

    def split(self, text: str) -> Thinking:
        """Split `text` into thought and response; Unreadable if that is not possible with certainty."""
        if not self.marker:
            return Thinking(None, _response(text))
        text = text.strip()
        openings = text.count(self.opening) if self.opening else 1
        if openings != 1 or not text.startswith(self.opening):
            raise Unreadable(f"the opening {self.opening!r} stands {openings} times, not once at the start")
        if text.count(self.marker) != 1:
            raise Unreadable(f"the marker {self.marker!r} stands {text.count(self.marker)} times, not once")
        thought, _, response = text[len(self.opening) :].partition(self.marker)
        return Thinking(thought.strip(), _response(response))

    def response_so_far(self, text: str) -> str:
        """Return the response in an unfinished reply: "" while it is still thought."""
        return text.partition(self.marker)[2] if self.marker else text

    def join(self, thought: str, response: str) -> str:
        """Return the text that `split` divides into `thought` and `response`."""
        opening = f"{self.opening}{self.gap}" if self.opening else ""
        return f"{opening}{thought}{self.gap}{self.marker}{self.gap}{response}"


def _response(text: str) -> Answer:
    if not text.strip():
        raise Unreadable("there is no response")
    return Answer(text.strip())


# Based on the two prompts in the paper; a recipe may replace them with `thought_prompt`.
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
GENERIC = ThoughtFormat("generic", "Here is my thought process:", "Here is my response:", _GENERIC, gap="\n")
SPECIFIC = ThoughtFormat("specific", "", "<R>", _SPECIFIC, gap="\n")
THINK = ThoughtFormat("think", "<think>", "</think>", _THINK)

_FORMATS = {form.name: form for form in (GENERIC, SPECIFIC, THINK, NONE)}


def thought_format(name: str) -> ThoughtFormat:
    """Return the thought format named `name`; ConfigError if there is none."""
    if name not in _FORMATS:
        raise nearest("thought format", name, _FORMATS)
    return _FORMATS[name]
