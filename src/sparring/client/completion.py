"""The chat-completions form: a request in, a reply out, read strictly.

A reply that came to no good end is a failure, and so is a refusal; one whose end is not known to be its end is cut. A
thought is never read as the reply, wherever the server puts it. Fields that are not what they should be are a failure
with a name, not a guess. What a server refuses to be told is learnt from its refusal.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparring.client.trouble import Trouble
from sparring.core.attempts import Tokens, clean
from sparring.core.chat import Part
from sparring.core.speaker import Reply, Sampling

CHARACTERS_A_TOKEN = 4  # a rule of thumb, for servers that report no usage and for what is not yet written
_AROUND = 32  # tokens that a template puts around a message, and more than any that we know
# Words for how a reply ended, in lower case: OpenAI's, which vLLM, SGLang, llama.cpp and Ollama use too; then those of
# TGI, Together, Anthropic, Cohere, Mistral, Gemini and Bedrock, which gateways pass on. Any other is a failure: "abort"
# and "error" (vLLM, SGLang, Mistral, OpenRouter), "pause_turn", "load", "insufficient_system_resource", …
_ENDED = ("stop", "eos_token", "eos", "stop_sequence", "end_turn", "complete")
_CUT = ("length", "max_tokens", "model_length", "max_output_tokens")
_WITHHELD = (
    *("content_filter", "content_filtered", "guardrail_intervened", "error_toxic"),
    *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
)
_TOOL = ("tool_calls", "function_call", "tool_use", "tool_call")  # nobody offered one
_OPEN, _CLOSE = "<think>", "</think>"
_OPENED = re.compile(rf"\s*{_OPEN}")
_DISPENSABLE = ("temperature", "top_p", "top_k", "seed", "stop")
_REFUSAL = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not (permitted|allowed)|extra inp", re.I
)

_log = logging.getLogger(__name__)


class Completion(NamedTuple):
    """A reply, what is billed for it, and the model that the server says it is."""

    reply: Reply
    used: Tokens
    model: str


def estimate_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """About how many tokens `messages` are."""
    return sum(len(message["content"]) for message in messages) // CHARACTERS_A_TOKEN


def most(sent: Mapping[str, Any], sampling: Sampling) -> Tokens:
    """The most that the request `sent` may be billed for: a token is a byte or more, and a template puts some more
    around each message."""
    limit = sent.get("max_completion_tokens") or sent.get("max_tokens")
    prompt = sum(len(message["content"].encode()) + _AROUND for message in sent["messages"])
    return Tokens(prompt, limit if isinstance(limit, int) else sampling.max_tokens)


def read_completion(body: bytes, messages: Sequence[Mapping[str, str]], sampling: Sampling, writer: str) -> Completion:
    """The completion in `body`, written by `writer` in answer to `messages`; raises Trouble."""
    answer = parsed(body)
    try:
        return _read(answer, messages, sampling, writer)
    except Trouble as trouble:
        trouble.used = _used(answer)
        raise


def _read(answer: Any, messages: Sequence[Mapping[str, str]], sampling: Sampling, writer: str) -> Completion:
    choice = _choice(answer)
    message = _field(choice, "message", dict)
    content = _field(message, "content", str, needed=False)
    thought = _field(message, "reasoning_content", str, needed=False) or _field(message, "reasoning", str, needed=False)
    finish = (_field(choice, "finish_reason", str, needed=False) or "").lower()
    _check_end(finish, "" if content else message.get("refusal"))
    if content is None and not thought:
        raise Trouble("empty", f"the choice holds no words (finish_reason {finish!r})")
    said = _used(answer)
    written = len(content or "") + len(thought or "")
    # where the server does not say, an estimate: budgets count on it
    used = Tokens(
        said.prompt or estimate_tokens(messages), said.completion or -(-written // CHARACTERS_A_TOKEN), said.thought
    )
    begun, rest, ended = _told_apart(clean(content or ""))
    words, stopped = _before_stop(rest, sampling.stop)
    over = finish in _CUT or (not finish and used.completion >= sampling.max_tokens)
    cut = not ended or (over and not stopped)
    thoughts = tuple(Part(text, writer, thought=True) for text in (clean(thought or ""), begun) if text)
    parts = (*thoughts, Part(words, writer))
    reply = Reply(parts, "length" if cut else "stop", prompt_tokens=used.prompt, completion_tokens=used.completion)
    return Completion(reply, used, clean(str(answer.get("model") or ""))[:200])


def parsed(body: bytes) -> Any:
    """The JSON in `body`; raises Trouble."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # half of it, a web page, bytes that are no text, a bomb
        raise Trouble("not JSON", f"{len(body)} bytes: {error}") from None


def _choice(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise Trouble("wrong fields", f"the body is of type {type(answer).__name__}, not an object")
    if answer.get("error"):  # some gateways wrap failures in a 200
        raise Trouble("server error", complaint(answer), sick=True)
    choices = _field(answer, "choices", list)
    if not choices:
        raise Trouble("empty", "there is no choice")
    if not isinstance(choices[0], dict):
        raise Trouble("wrong fields", "a choice is not an object")
    return choices[0]


def _field(holder: dict[str, Any], name: str, kind: type, needed: bool = True) -> Any:
    """The field `name`, of type `kind`, None if it is absent and not needed; raises Trouble."""
    value = holder.get(name)
    if isinstance(value, kind) or (value is None and not needed):
        return value
    raise Trouble("wrong fields", f"{name!r} is of type {type(value).__name__}, not {kind.__name__}")


def _check_end(finish: str, refusal: Any) -> None:
    """Raises Trouble where the reply was refused, withheld, or came to no end that we know."""
    if finish == "refusal" or (isinstance(refusal, str) and refusal):
        words = " ".join(clean(refusal).split())[:500] if isinstance(refusal, str) else ""
        raise Trouble("declined", words or "the model refuses to reply", again=False)
    if finish in _WITHHELD:
        raise Trouble("filtered", f"the server withholds the reply (finish_reason {finish!r})", again=False)
    if finish in _TOOL:
        raise Trouble(
            "tool call", f"the model calls a tool in place of a reply (finish_reason {finish!r})", again=False
        )
    if finish and finish not in (*_ENDED, *_CUT):
        raise Trouble("broken off", f"the reply did not come to its end (finish_reason {clean(finish)[:60]!r})")


def _told_apart(text: str) -> tuple[str, str, bool]:
    """The thought that `text` begins with, the words after it, and whether the thought has an end. Its opening marker
    may be missing: some templates put it into the prompt."""
    place, first = 0, text.find(_CLOSE)
    if first >= 0 and _OPEN not in text[:first]:
        place = first + len(_CLOSE)
    while opened := _OPENED.match(text, place):
        end = text.find(_CLOSE, opened.end())
        if end < 0:
            return text, "", False
        place = end + len(_CLOSE)
    return text[:place], text[place:].lstrip() if place else text, True


def _before_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` before the first stop string, and whether there was one: servers may ignore `stop`, or return it."""
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _used(answer: Any) -> Tokens:
    """The tokens that the server says were used; 0 where it does not."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt and completion:  # some servers count thoughts in the total only
        completion = max(completion, _count(usage, "total_tokens") - prompt)
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return Tokens(prompt, completion, _count(details, "reasoning_tokens"))


def _count(holder: Any, name: str) -> int:
    value = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(value, float) and value.is_integer():  # 1000.0
        value = int(value)
    return min(value, 2**40) if isinstance(value, int) and value > 0 else 0  # no bill is longer, and no column wider


def complaint(answer: Any) -> str:
    """A server's own message in the body of a failure, on one line, whatever form it has."""
    found, code = answer, None
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            code = found.get("code", code)
            found = found[name]
    words = found if isinstance(found, str) else json.dumps(found)
    return " ".join(clean(f"{words} ({code})" if code else words).split())[:500]


class ServerQuirks:
    """What one server takes: the full form until it refuses a field, then without that field."""

    def __init__(self) -> None:
        self._instead: dict[str, str | None] = {}  # field: the name that the server wants for it, if any

    def word(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """`body` as this server takes it."""
        named = {self._instead.get(field, field): value for field, value in body.items()}
        return {field: value for field, value in named.items() if field is not None}

    def learn(self, refusal: str) -> None:
        """Takes from `refusal` which field to name otherwise, or to do without."""
        if not _REFUSAL.search(refusal):  # "temperature must be below 2" is the user's to mend
            return
        if "max_completion_tokens" in refusal:
            self._instead["max_tokens"] = "max_completion_tokens"
            return
        places = {found.start(): field for field in _DISPENSABLE if (found := re.search(rf"\b{field}\b", refusal))}
        if places:
            field = places[min(places)]
            if field not in self._instead:
                _log.warning("the server does not take %r, its own default holds: %s", field, refusal)
            self._instead[field] = None
