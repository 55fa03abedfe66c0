"""Tools in a chat: definitions, calls and results, as chat templates expect them, or as text for other templates.

They are context: a learner reads them and is never trained on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sparring.core.chat import SYSTEM

Rendered = Sequence[tuple[str, str, str]]  # role, text and `tools` of each turn


def for_template(turns: Rendered) -> tuple[list[dict[str, Any]], list[Any], list[str]]:
    """Return the messages, the definitions of tools, and the texts that a template which knows tools must show."""
    messages, definitions, shown = [], [], []
    for role, text, tools in turns:
        more = json.loads(tools) if tools else {}
        definitions += more.pop("tools", [])
        calls = more.get("tool_calls", [])
        shown += [call["function"]["name"] for call in calls] + ([text.strip()] if role == "tool" else [])
        messages.append({"role": role, "content": text, **more})
    shown += [name for definition in definitions if (name := _name(definition))]
    return messages, definitions, shown


def as_text(turns: Rendered) -> list[tuple[str, str]]:
    """Return roles and texts in which the definitions, calls and results are JSON; a result is the user's turn."""
    messages: list[dict[str, str]] = []
    for role, text, tools in turns:
        more = json.loads(tools) if tools else {}
        calls = [_line(call["function"]) for call in more.get("tool_calls", [])]
        if definitions := more.get("tools"):
            listed = "\n".join(["You can call these tools:", *map(_line, definitions)])
            messages.append({"role": SYSTEM, "content": listed})
        content = "\n".join([text, *calls] if text else calls) if calls else text
        messages.append({"role": "user" if role == "tool" else role, "content": content})
    return [(turn["role"], turn["content"]) for turn in merged(messages)]


def merged(messages: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Join neighbours of one role, which many templates reject."""
    joined: list[dict[str, str]] = []
    for turn in messages:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {**turn, "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
        else:
            joined.append(turn)
    return joined


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _name(definition: Any) -> str:
    """Return the name in a tool's definition: OpenAI's, or a bare function."""
    if not isinstance(definition, dict):
        return ""
    function = definition.get("function", definition)
    return str(function.get("name", "")) if isinstance(function, dict) else ""
