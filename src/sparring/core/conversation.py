"""Reads a conversation in a row of data: a list of messages in OpenAI's words or ShareGPT's.

What real files have is kept or has one meaning: content in text parts, thoughts (`reasoning_content`, `thinking`,
`<think>`), calls of tools and their results, a weight for each message, an empty system prompt, several turns of one
role. An image is refused by its place. Which of it a method trains on, and how a model writes it, is decided elsewhere.

Sources of the words: TRL and OpenAI (`role`, `content`, `tool_calls`, `weight`), axolotl (`train`, `training`),
LLaMA-Factory (`from`, `value`, `function_call`, `observation`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparring.common.errors import nearest
from sparring.common.records import Record, check_text, kind_of
from sparring.core.chat import GOLD, LEARNER, SYSTEM, TOOL, USER, Chat, Message, Part

ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "function_call"), LEARNER),
    **dict.fromkeys(("tool", "function", "ipython", "observation", "function_response"), TOOL),
}
_KEYS = ({"role", "content"}, {"from", "value"}, {"role", "tool_calls"}, {"role", "function_call"})  # of a message
_THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning")
_WEIGHT_KEYS = ("weight", "train", "training")
_INLINE = re.compile(r"\s*<think>(.*?)</think>\s*(?=\S)", re.DOTALL)
_IMAGES = ("image", "image_url", "input_image", "video", "audio", "input_audio")


def read_conversation(row: Record, column: str, tools: Any = None) -> list[Message]:
    """Return the messages at `column`; what the assistant writes has its weight (1 unless the data say otherwise).

    `tools` are definitions of tools that belong to the conversation. ConfigError names a malformed message.
    """
    turns = row.cell(column)
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise row.error(f"{column} is {kind_of(turns)}, not a list of messages")
    read = [_message(row, f"{column}, message {n}", turn) for n, turn in enumerate(turns, start=1)]
    messages: list[Message] = []
    for message in read:
        if message.author == SYSTEM and not message.text.strip():
            continue
        if messages and message.author == messages[-1].author == LEARNER and not (message.tools or messages[-1].tools):
            gap = Part("\n\n", GOLD, weight=message.parts[0].weight)
            messages[-1] = replace(messages[-1], parts=(*messages[-1].parts, gap, *message.parts))
        else:
            messages.append(message)
    definitions = _json(tools)
    if definitions and messages:
        messages[0] = replace(messages[0], tools=json.dumps({"tools": definitions}, ensure_ascii=False))
    return messages


def openings_as_context(messages: Sequence[Message]) -> list[Message]:
    """Return `messages` with what the assistant writes before the user's first one as context: nothing asks for it."""
    first = next((number for number, message in enumerate(messages) if message.author == USER), 0)
    return [*(_context(message) for message in messages[:first]), *messages[first:]]


def question_in(row: Record, column: str, messages: Sequence[Message]) -> Chat:
    """Return the messages up to the user's last one, as context: without weights and thoughts."""
    last = max((number for number, message in enumerate(messages) if message.author == USER), default=None)
    if last is None:
        raise row.error(f"{column} has no message of the user; add one")
    return Chat(tuple(_context(message) for message in messages[: last + 1]))


def worked_in(messages: Sequence[Message]) -> Chat | None:
    """Return the messages up to the assistant's last one; None if it answers no message of the user."""
    asked = [number for number, message in enumerate(messages) if message.author == USER]
    written = [number for number, message in enumerate(messages) if message.author == LEARNER]
    return Chat(tuple(messages[: written[-1] + 1])) if asked and written and asked[0] < written[-1] else None


def _context(message: Message) -> Message:
    parts = tuple(replace(part, weight=0.0) for part in message.parts if not part.thought)
    return replace(message, parts=parts)


# ---- one message


def _message(row: Record, where: str, turn: Any) -> Message:
    """Read one message: `role` and `content`, or `from` and `value`."""
    if not isinstance(turn, Mapping) or not any(keys <= set(turn) for keys in _KEYS):
        raise row.error(f"{where} is not an object with role and content (or from and value): {str(turn)[:60]}")
    role, content = (turn["role"], turn.get("content")) if "role" in turn else (turn["from"], turn["value"])
    if not isinstance(role, str) or role.lower() not in ROLE_NAMES:
        raise row.error(f"{where}: {nearest('role', str(role), ROLE_NAMES)}")
    author = ROLE_NAMES[role.lower()]
    thought, text = _split(row, where, content)
    calls = _calls(row, where, turn)
    if role.lower() == "function_call":
        calls, text = _calls_in_text(row, where, text), ""
    if author == TOOL:
        return Message(TOOL, (Part(text, TOOL),), tools=_result(turn))
    if author != LEARNER:
        is_empty_system = author == SYSTEM and not text.strip()
        return Message(author, (Part(text if is_empty_system else check_text(row, where, text), author),))
    thought = next((str(turn[key]) for key in _THOUGHT_KEYS if turn.get(key)), thought)
    # A call is context: the template writes it, so its tokens are not the learner's own.
    weight = 0.0 if calls else _weight(row, where, turn)
    parts = [Part(thought.strip(), GOLD, weight=weight, thought=True)] if thought.strip() else []
    if text.strip() or not calls:
        parts.append(Part(_encodable(row, where, text), GOLD, weight=weight))
    return Message(LEARNER, tuple(parts), tools=json.dumps({"tool_calls": calls}, ensure_ascii=False) if calls else "")


def _encodable(row: Record, where: str, text: str) -> str:
    """Return `text`; ConfigError if it cannot be encoded. An empty reply is left to the reader of the row."""
    return check_text(row, where, text) if text.strip() else ""


def _split(row: Record, where: str, content: Any) -> tuple[str, str]:
    """Return thought and text of a message's content: a text, or a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, Sequence) and not isinstance(content, str):
        pieces = [_part(row, f"{where}, part {n}", part) for n, part in enumerate(content, start=1)]
        return "".join(text for is_thought, text in pieces if is_thought), "".join(
            t for is_it, t in pieces if not is_it
        )
    if not isinstance(content, str):
        raise row.error(f"{where} is {kind_of(content)}, not text")
    if match := _INLINE.match(content):
        return match[1], content[match.end() :]
    return "", content


def _part(row: Record, where: str, part: Any) -> tuple[bool, str]:
    """Return whether a part of a content is a thought, and its text."""
    if isinstance(part, str):
        return False, part
    kind = part.get("type") if isinstance(part, Mapping) else None
    named = next((key for key in _IMAGES if isinstance(part, Mapping) and part.get(key) is not None), None)
    if kind in _IMAGES or (named and kind != "text"):
        raise row.error(f"{where} is {kind or named!r}; only text can be trained on: remove the row, or its image")
    key = "thinking" if kind in ("thinking", "reasoning") else "text"
    if not isinstance(part, Mapping) or not isinstance(part.get(key), str):
        raise row.error(f'{where} is not {{"type": "text", "text": …}}: {str(part)[:60]}')
    return key == "thinking", part[key]


def _weight(row: Record, where: str, turn: Mapping[str, Any]) -> float:
    key = next((key for key in _WEIGHT_KEYS if turn.get(key) is not None), None)
    if key is None:
        return 1.0
    value = turn[key]
    if not isinstance(value, int | float) or not 0 <= value < sys.float_info.max:
        raise row.error(f"{where}: {key} = {value!r} is not a weight; give a number of 0 or more, or true or false")
    return float(value)


# ---- tools


def _json(value: Any) -> Any:
    """Return `value`, parsed if it is JSON in a text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value.strip()
    return value


def _calls(row: Record, where: str, turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = _json(turn.get("tool_calls")) or []
    if turn.get("function_call"):
        calls = [*calls, {"function": turn["function_call"]}]
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise row.error(f"{where}: tool_calls is {kind_of(calls)}, not a list")
    return [_call(row, where, call) for call in calls]


def _calls_in_text(row: Record, where: str, text: str) -> list[dict[str, Any]]:
    """Read ShareGPT's `function_call`: JSON of one call, or of a list of them."""
    calls = _json(text)
    return [_call(row, where, call) for call in (calls if isinstance(calls, list) else [calls])]


def _call(row: Record, where: str, call: Any) -> dict[str, Any]:
    """Return a call as chat templates expect it, with its arguments as an object."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise row.error(f"{where}: a tool call needs a function with a name (got {str(call)[:60]})")
    arguments = _json(function.get("arguments"))
    named = {"id": call["id"]} if call.get("id") else {}
    return {**named, "type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}


def _result(turn: Mapping[str, Any]) -> str:
    named = {key: turn[key] for key in ("name", "tool_call_id") if turn.get(key)}
    return json.dumps(named, ensure_ascii=False) if named else "{}"
