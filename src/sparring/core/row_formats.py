"""Which of the common formats a row of data has, by its columns.

| format | columns |
|---|---|
| `prompt` | `prompt`; `answer` and a worked answer (`rationale`, `solution`, `response`, `output`) are optional |
| `prompt-completion` | `prompt`, `completion`: texts, or messages |
| `messages` | `messages` or `conversation`: a list of `role` and `content` |
| `sharegpt` | `conversations`: a list of `from` and `value` |
| `question-answer` | `question`, `problem` or `query`, with `answer`, `solution` or `response` |
| `alpaca` | `instruction`, `input`, `output` |
| `preference` | `chosen`, `rejected`, with or without a prompt |
| `text` | `text` |

An empty cell counts as no column. Where columns fit several formats, the one that holds more of the data is taken; what
stays ambiguous is an error that names the columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from sparring.common.records import Record

RowFormat = Literal[
    "prompt", "prompt-completion", "messages", "sharegpt", "question-answer", "alpaca", "preference", "text"
]
FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)
PROMPTS = ("prompt", "instruction", "question", "query", "messages", "conversations")
QUESTIONS = ("question", "problem", "query")
REPLIES = ("answer", "solution", "response", "output")
CONVERSATIONS = ("messages", "conversations", "conversation")
WORKED = ("rationale", "solution", "response", "output")  # replies beside a final answer
OUTPUTS = ("output", "response", "completion")


def first_of(row: Record, columns: tuple[str, ...]) -> str | None:
    """Return the first of `columns` that the row fills."""
    return next((column for column in columns if row.is_filled(column)), None)


def row_format(row: Record, prompt_column: str | None) -> RowFormat:
    """Return the format that the row's columns fit; ConfigError if they fit none, or several.

    `prompt_column` is the column of the question, if a recipe names it.
    """
    if row.is_filled("chosen") and row.is_filled("rejected"):
        return "preference"
    if prompt_column is not None:
        return "prompt"
    _check_labels(row)
    fitting = [name for name, fits in _fitting(row).items() if fits]
    if "prompt" in fitting and "messages" in fitting:
        if _opens(row):
            return "messages"
    elif "prompt" in fitting:  # a question and its answer, whatever stands beside them
        return "prompt"
    if not fitting and row.is_filled("text"):
        return "text"
    return fitting[0] if len(fitting) == 1 else _refuse(row, fitting)


def _fitting(row: Record) -> dict[RowFormat, bool]:
    """Return for each format whether the row has its columns; `text` gives way to every other."""
    conversation = first_of(row, CONVERSATIONS)
    is_sharegpt = conversation is not None and _is_sharegpt(row.cell(conversation))
    has_prompt = row.is_filled("prompt")
    return {
        "prompt": has_prompt and not row.is_filled("completion"),
        "prompt-completion": has_prompt and row.is_filled("completion"),
        "messages": conversation is not None and not is_sharegpt,
        "sharegpt": is_sharegpt,
        "question-answer": first_of(row, QUESTIONS) is not None and first_of(row, REPLIES) is not None,
        "alpaca": row.is_filled("instruction") and first_of(row, OUTPUTS) is not None and not has_prompt,
    }


def _is_sharegpt(turns: Any) -> bool:
    return isinstance(turns, list) and any(isinstance(turn, Mapping) and "from" in turn for turn in turns)


def _opens(row: Record) -> bool:
    """Return whether the prompt is what the messages begin with, so that they hold it."""
    prompt, messages = row.cell("prompt"), row.cell(first_of(row, CONVERSATIONS) or "messages")
    if row.is_filled("answer") or row.is_filled("rationale") or not isinstance(messages, list):
        return False
    if isinstance(prompt, list):
        return bool(messages[: len(prompt)] == prompt)
    return any(isinstance(turn, Mapping) and turn.get("content") == prompt for turn in messages[:2])


def _check_labels(row: Record) -> None:
    """Raise ConfigError for unpaired preferences, whose bad replies nobody wants to imitate."""
    if row.is_filled("completion") and row.has("label") and isinstance(row.cell("label"), bool):
        raise row.error(
            "the columns prompt, completion and label are replies marked as good or bad, which no method reads; "
            "keep the good ones and remove label, or pair them as chosen and rejected"
        )


def _refuse(row: Record, fitting: list[RowFormat]) -> RowFormat:
    columns = ", ".join(sorted(column for column in row.cells if row.is_filled(column))) or "none"
    if fitting:
        choices = " or ".join(f'"{name}"' for name in fitting)
        raise row.error(f"the columns {columns} could be read as {choices}; set format to one of them")
    near = next((f"; is {name!r} the {match[0]!r}?" for name in row.cells if (match := _known(name))), "")
    raise row.error(
        f"unknown format of rows (columns {columns}{near}); rename the columns to those of a format "
        f"({', '.join(FORMATS)}), or name the question's in prompt_column"
    )


def _known(column: str) -> list[str]:
    """Return the column of a format that `column` resembles, if any."""
    known = {*PROMPTS, *QUESTIONS, *REPLIES, *CONVERSATIONS, *OUTPUTS, "chosen", "rejected", "text"}
    return difflib.get_close_matches(column, sorted(known - {column}), n=1, cutoff=0.8)
