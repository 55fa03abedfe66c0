"""Strict parsing of chat-completion responses.

A refusal, a withheld reply and an unknown finish reason raise `Trouble`. A reply without a finish reason counts as
truncated if it used up the token limit. Thoughts are never part of the reply, wherever the server puts them. A field of
the wrong type raises `Trouble`. `ServerQuirks` learns from a server's errors which request fields it rejects.
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

CHARACTERS_PER_TOKEN = 4  # a rule of thumb, for servers that report no usage and for replies not yet written
_TEMPLATE_TOKENS = 32  # an upper bound on the tokens that a chat template adds to each message
# Finish reasons in lower case: those of OpenAI, vLLM, SGLang, llama.cpp and Ollama; then those of TGI, Together,
# Anthropic, Cohere, Mistral, Gemini and Bedrock, which gateways pass on. Any other is a failure: "abort" and "error"
# (vLLM, SGLang, Mistral, OpenRouter), "pause_turn", "load", "insufficient_system_resource", …
_COMPLETE = ("stop", "eos_token", "eos", "stop_sequence", "end_turn", "complete")
_TRUNCATED = ("length", "max_tokens", "model_length", "max_output_tokens")
_WITHHELD = (
    *("content_filter", "content_filtered", "guardrail_intervened", "error_toxic"),
    *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
)
_TOOL_CALL = ("tool_calls", "function_call", "tool_use", "tool_call")  # our requests offer no tools
_OPEN, _CLOSE = "<think>", "</think>"
_THOUGHT_START = re.compile(rf"\s*{_OPEN}")
_OPTIONAL_FIELDS = ("temperature", "top_p", "top_k", "seed", "stop")
_REJECTION = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not (permitted|allowed)|extra inp", re.I
)

_log = logging.getLogger(__name__)


class ServerReply(NamedTuple):
    """A reply, the tokens billed for it, and the model name that the server reports."""

    reply: Reply
    used: Tokens
    model: str


def estimate_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Estimate the number of tokens in `messages` from their characters."""
    return sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN


def max_usage(body: Mapping[str, Any], sampling: Sampling) -> Tokens:
    """Return an upper bound on the tokens billed for the request `body`.

    A token has at least one byte, and the chat template adds some tokens to each message.
    """
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    prompt = sum(len(message["content"].encode()) + _TEMPLATE_TOKENS for message in body["messages"])
    return Tokens(prompt, limit if isinstance(limit, int) else sampling.max_tokens)


def read_completion(body: bytes, messages: Sequence[Mapping[str, str]], sampling: Sampling, writer: str) -> ServerReply:
    """Parse the response `body` to `messages` into a completion with `writer` as its author; raises Trouble.

    A server that says it failed bills nothing. Of any other response without usage it is unknown what it is billed.
    """
    response = parse_json(body)
    try:
        return _read(response, messages, sampling, writer)
    except Trouble as trouble:
        has_failed = isinstance(response, dict) and bool(response.get("error"))
        reported = _usage(response)
        trouble.used = reported if has_failed or reported != Tokens() else None
        raise


def _read(response: Any, messages: Sequence[Mapping[str, str]], sampling: Sampling, writer: str) -> ServerReply:
    choice = _first_choice(response)
    message = _field(choice, "message", dict)
    content = _field(message, "content", str, required=False)
    reasoning = _field(message, "reasoning_content", str, required=False) or _field(
        message, "reasoning", str, required=False
    )
    finish = (_field(choice, "finish_reason", str, required=False) or "").lower()
    _check_finish(finish, "" if content else message.get("refusal"))
    if content is None and not reasoning:
        raise Trouble("empty", f"the choice has no content (finish_reason {finish!r})")
    reported = _usage(response)
    characters = len(content or "") + len(reasoning or "")
    # budgets need a count even if the server reports none
    used = Tokens(
        reported.prompt or estimate_tokens(messages),
        reported.completion or -(-characters // CHARACTERS_PER_TOKEN),
        reported.thought,
    )
    inline_thought, rest, is_thought_closed = _split_thought(clean(content or ""))
    text, has_stop = _before_stop(rest, sampling.stop)
    reached_limit = finish in _TRUNCATED or (not finish and used.completion >= sampling.max_tokens)
    is_truncated = not is_thought_closed or (reached_limit and not has_stop)
    thoughts = tuple(Part(part, writer, thought=True) for part in (clean(reasoning or ""), inline_thought) if part)
    parts = (*thoughts, Part(text, writer))
    reply = Reply(
        parts,
        "length" if is_truncated else "stop",
        prompt_tokens=used.prompt,
        completion_tokens=used.completion,
    )
    return ServerReply(reply, used, clean(str(response.get("model") or ""))[:200])


def parse_json(body: bytes) -> Any:
    """Parse `body` as JSON; raises Trouble."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # truncated, HTML, bytes that are no text, or nested too deeply
        raise Trouble("not JSON", f"{len(body)} bytes: {error}", used=None) from None


def _first_choice(response: Any) -> dict[str, Any]:
    if not isinstance(response, dict):
        raise Trouble("wrong fields", f"the body is of type {type(response).__name__}, not an object")
    if response.get("error"):  # some gateways send failures with status 200
        raise Trouble("server error", error_message(response), is_host_failure=True)
    choices = _field(response, "choices", list)
    if not choices:
        raise Trouble("empty", "the response has no choices")
    if not isinstance(choices[0], dict):
        raise Trouble("wrong fields", "a choice is not an object")
    return choices[0]


def _field(parent: dict[str, Any], name: str, kind: type, required: bool = True) -> Any:
    """Return `parent[name]`, which must be of type `kind`, or None if it is absent and optional; raises Trouble."""
    value = parent.get(name)
    if isinstance(value, kind) or (value is None and not required):
        return value
    raise Trouble("wrong fields", f"{name!r} is of type {type(value).__name__}, not {kind.__name__}")


def _check_finish(finish: str, refusal: Any) -> None:
    """Raise Trouble if the reply was refused or withheld, or if the finish reason is unknown."""
    if finish == "refusal" or (isinstance(refusal, str) and refusal):
        reason = " ".join(clean(refusal).split())[:500] if isinstance(refusal, str) else ""
        raise Trouble("declined", reason or "the model refuses to reply", can_retry=False)
    if finish in _WITHHELD:
        raise Trouble("filtered", f"the server withholds the reply (finish_reason {finish!r})", can_retry=False)
    if finish in _TOOL_CALL:
        raise Trouble(
            "tool call", f"the model called a tool instead of replying (finish_reason {finish!r})", can_retry=False
        )
    if finish and finish not in (*_COMPLETE, *_TRUNCATED):
        raise Trouble("broken off", f"the reply is incomplete (finish_reason {clean(finish)[:60]!r})")


def _split_thought(text: str) -> tuple[str, str, bool]:
    """Split `text` into its leading thoughts and the rest; the flag says whether the last thought is closed.

    The first opening tag may be missing, since some chat templates put it into the prompt.
    """
    index, first_close = 0, text.find(_CLOSE)
    if first_close >= 0 and _OPEN not in text[:first_close]:
        index = first_close + len(_CLOSE)
    while match := _THOUGHT_START.match(text, index):
        end = text.find(_CLOSE, match.end())
        if end < 0:
            return text, "", False
        index = end + len(_CLOSE)
    return text[:index], text[index:].lstrip() if index else text, True


def _before_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Cut `text` before the first stop string and say whether there was one. Some servers ignore or return `stop`."""
    indices = [index for word in stop if (index := text.find(word)) >= 0]
    return (text[: min(indices)], True) if indices else (text, False)


def _usage(response: Any) -> Tokens:
    """Return the token counts that the server reports, 0 for each that it does not."""
    usage = response.get("usage") if isinstance(response, dict) else None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt and completion:  # some servers count thoughts in the total only
        completion = max(completion, _count(usage, "total_tokens") - prompt)
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return Tokens(prompt, completion, _count(details, "reasoning_tokens"))


def _count(parent: Any, name: str) -> int:
    """Return the count `parent[name]`, at most 2^40 so that it fits a column of the ledger; 0 if it is no count."""
    value = parent.get(name) if isinstance(parent, dict) else None
    if isinstance(value, float) and value.is_integer():  # 1000.0
        value = int(value)
    return min(value, 2**40) if isinstance(value, int) and value > 0 else 0


def error_message(response: Any) -> str:
    """Return the server's message in the body of a failed response, on one line and at most 500 characters."""
    value, code = response, None
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and name in value:
            code = value.get("code", code)
            value = value[name]
    message = value if isinstance(value, str) else json.dumps(value)
    return " ".join(clean(f"{message} ({code})" if code else message).split())[:500]


class ServerQuirks:
    """The request fields that one server rejects or names differently, as learnt from its error messages."""

    def __init__(self) -> None:
        self._names: dict[str, str | None] = {}  # field: the name that the server uses; None: omit the field

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return `body` with fields renamed or omitted as this server needs."""
        renamed = {self._names.get(field, field): value for field, value in body.items()}
        return {field: value for field, value in renamed.items() if field is not None}

    def learn(self, error: str) -> None:
        """Learn from the server's message `error` which field to rename or to omit."""
        if not _REJECTION.search(error):  # e.g. "temperature must be below 2": the user has to change the value
            return
        if "max_completion_tokens" in error:
            self._names["max_tokens"] = "max_completion_tokens"
            return
        fields = {match.start(): field for field in _OPTIONAL_FIELDS if (match := re.search(rf"\b{field}\b", error))}
        if fields:
            field = fields[min(fields)]
            if field not in self._names:
                _log.warning("the server rejects %r; its default applies: %s", field, error)
            self._names[field] = None
