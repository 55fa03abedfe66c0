"""The user's own questions, as rows of a file or of a hub data set.

A row needs at least a question: a text, or messages `{"role", "content"}`, of which the user's last one is asked. An
assistant's message after it is the rationale. Columns for an answer, a rationale, a category and choices are optional.
Rows without answers suffice for methods that need none.

Images and tool calls are rejected. A question cannot be composed of several columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer

from sparring.common.errors import ConfigError, nearest
from sparring.common.records import Record, check_text
from sparring.common.schema import FilePath, ScriptFunction
from sparring.common.seeds import digest
from sparring.common.splits import Size, Sources
from sparring.core.chat import LEARNER, SYSTEM, USER, Chat, message, question
from sparring.core.multiple_choice import Options, read_options
from sparring.core.task import Problem, RowTask
from sparring.parsing import answers, steps
from sparring.parsing.steps import FINAL, LINES, StepFormat

_ROLES = {"system": SYSTEM, "user": USER, "assistant": LEARNER}
_LABELLED = re.compile(r"\s*\(\d")


def _step_format(value: str | StepFormat) -> StepFormat:
    return steps.layout(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Table(RowTask):
    """Your own questions: rows of a file or of a hub data set.

    `train`, `development` and `test` are sources (`data/train.jsonl`, `hub:owner/name/configuration:split`; see
    `sparring.common.records`). A split without a source is drawn from the training rows by `seed`; its `…_size` is a
    number of rows, or a share of them if below 1 (None: a tenth). A repeated question is kept once: in the test split
    first, then in the development split, then in the training split. `notes` says how many were dropped.

    Columns: `prompt_column` (None: `prompt`, else `messages`) holds text or messages. The others default to `answer`,
    `rationale`, `category` and `choices`, if they exist. A column may be a path into nested cells (`question.stem`).
    Choices are put below the question as lines `A. …`. They are a list of texts, a list of `{"label", "text"}`, or
    `{"label": […], "text": […]}`; an answer is a choice's letter, label, text, or index from 0. `system` is a system
    prompt for rows without one.

    `right` is the rule for a right response: `exact`, `number`, `choice`, `regex` (the answer is a pattern for the
    whole final answer), or your function `(response, problem) -> bool`, as `package.module.function` or
    `path/to/file.py:function`. None: `choice` if there are choices, otherwise `exact`.
    """

    name: ClassVar[str] = "table"

    train: FilePath
    development: FilePath | None = None
    test: FilePath | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0
    system: str | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    rationale_column: str | None = None
    category_column: str | None = None
    choices_column: str | None = None
    right: ScriptFunction | None = None
    layout: Annotated[StepFormat, BeforeValidator(_step_format), PlainSerializer(lambda value: value.name)] = LINES

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", _step_format(self.layout))
        self._sources()  # validates the settings
        if self._function is None and self.right not in (None, *_RULES):
            unknown = nearest("rule for right answers", str(self.right), _RULES)
            raise ConfigError(f"{unknown}, or give package.module.function or path/to/file.py:function")

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` is right; ConfigError if the rule needs an answer that the row lacks."""
        if not response.strip():
            return False
        if self._function is not None:
            return self._function(response, problem)
        if problem.gold is None:
            raise ConfigError(
                "a row without an answer cannot tell whether a response is right; name its column with answer_column, "
                "or your own function with right"
            )
        if self._rule(problem) == "choice":
            return answers.choice(problem.gold, response, problem.data.get("choices", ()))
        return _JUDGES[self._rule(problem)](problem.gold, response)

    def _sources(self) -> Sources:
        return Sources(self.train, self.development, self.test, self.development_size, self.test_size, self.seed)

    @cached_property
    def _function(self) -> answers.Right | None:
        return answers.function(self.right) if self.right and "." in self.right else None

    def _rule(self, problem: Problem) -> str:
        return self.right or ("choice" if "choices" in problem.data else "exact")

    def _load(self) -> tuple[dict[str, list[Problem]], tuple[str, ...]]:
        splits, notes = self._sources().read_splits(self._problem)
        counts: Counter[str] = Counter()
        completed = {split: [self._complete(problem, counts) for problem in splits[split]] for split in splits}
        return completed, notes + tuple(f"{what}: {count}" for what, count in counts.items())

    def _complete(self, problem: Problem, counts: Counter[str]) -> Problem:
        """Write the rationale in the step format, and add the answer to it if it states none."""
        if problem.rationale is None:
            return problem
        rationale = self._in_step_format(problem.rationale)
        is_checkable = problem.gold is not None and self._function is None and self.right != "regex"
        if is_checkable and not self.is_right(problem, rationale):
            if answers.states(rationale):
                counts["rationales that end in another answer than their row's"] += 1
            else:
                counts["rationales to which the answer was added"] += 1
                rationale = self._in_step_format(problem.rationale, f"The answer is {problem.gold}.")
        return replace(problem, rationale=rationale)

    def _in_step_format(self, rationale: str, *last_lines: str) -> str:
        """Write `rationale` and `last_lines` in the step format; existing labels stay."""
        if not self.layout.numbered:
            return "\n".join((rationale, *last_lines))
        if _LABELLED.match(rationale):
            return "\n".join((rationale, *(f"({FINAL}) {line}" for line in last_lines)))
        return self.layout.write([*(step.text for step in LINES.split(rationale)), *last_lines])

    # ---- one row

    def _problem(self, row: Record) -> Problem:
        chat, reply = self._prompt(row)
        options = self._options(row)
        if options is not None:
            chat = Chat((*chat.messages[:-1], message(USER, f"{chat.text}\n{options.listed}")))
        content = [text for turn in chat.messages for text in (turn.author, turn.text)]
        if self.system and chat.messages[0].author != SYSTEM:
            chat = Chat((message(SYSTEM, self.system), *chat.messages))
        category = _column(row, self.category_column, "category")
        return Problem(
            id=digest("table", *content)[:16],  # without `system`, so that rewording it does not change the splits
            chat=chat,
            gold=self._gold(row, options),
            rationale=self._rationale(row, reply),
            bin=(row.plain(category) if category else None) or "all",
            data={} if options is None else {"choices": list(options.texts)},
        )

    def _prompt(self, row: Record) -> tuple[Chat, str | None]:
        """Return the question, and the reply at the end of a conversation, if any."""
        column = self.prompt_column or next((c for c in ("prompt", "messages") if row.has(c)), None)
        if column is None:
            raise row.error(f"{nearest('column', 'prompt', row.cells)}, and name it in prompt_column")
        value = row.cell(column)
        return _conversation(row, column, value) if isinstance(value, list) else (question(row.text(column)), None)

    def _options(self, row: Record) -> Options | None:
        column = _column(row, self.choices_column, "choices")
        value = row.cell(column) if column else None
        if column is None or value is None:
            return None
        if self._function is None and self.right not in (None, "choice"):
            raise row.error(f"right = {self.right!r} cannot be combined with choices; remove it, or name a function")
        return read_options(row, column)

    def _rationale(self, row: Record, reply: str | None) -> str | None:
        column = _column(row, self.rationale_column, "rationale")
        written = row.plain(column) if column else None
        if reply is not None and written is not None:
            raise row.error(f"two rationales, in {column} and after the last question; remove one")
        return written if reply is None else reply

    def _gold(self, row: Record, options: Options | None) -> str | None:
        column = _column(row, self.answer_column, "answer")
        gold = row.plain(column) if column else None
        if column is None or gold is None:
            return None
        if options is not None:
            return options.letter(row, column, gold)
        check = _CHECKS.get(self.right or "exact")
        return check(row, column, gold) if check else gold


def _column(row: Record, named: str | None, default: str) -> str | None:
    """Return the named column, or the default one if the row has it."""
    return named or (default if row.has(default) else None)


# ---- gold answers per rule


def _number(row: Record, column: str, gold: str) -> str:
    if answers.read_number(gold) is None:
        raise row.error(f"{column} is {gold[:40]!r}, which is not a number; set right = 'exact' to compare words")
    return gold


def _pattern(row: Record, column: str, gold: str) -> str:
    try:
        re.compile(gold)
    except re.error as error:
        raise row.error(f"{column} is not a regular expression: {error}") from error
    return gold


def _only_letter(row: Record, column: str, gold: str) -> str:
    letter = gold.strip("()[].: ").upper()
    if len(letter) != 1 or letter not in answers.LETTERS:
        raise row.error(f"{column} is {gold[:40]!r}, not a letter; name the column of the choices with choices_column")
    return letter


_CHECKS: dict[str, Callable[[Record, str, str], str]] = {"number": _number, "regex": _pattern, "choice": _only_letter}
_JUDGES: dict[str, Callable[[str, str], bool]] = {
    "exact": answers.exact,
    "number": answers.number,
    "regex": answers.regex,
}
_RULES = ("choice", *_JUDGES)


# ---- conversations


def _conversation(row: Record, column: str, turns: list[Any]) -> tuple[Chat, str | None]:
    """Return the messages up to the user's last one, and the assistant's reply to it, if any."""
    messages = [_message(row, f"{column}, message {n}", turn) for n, turn in enumerate(turns, start=1)]
    reply = messages.pop()[1] if messages and messages[-1][0] == LEARNER else None
    authors = [author for author, _ in messages]
    if not authors or authors[-1] != USER:
        raise row.error(f"{column} must end in a message of the user, or in one and a reply to it")
    if SYSTEM in authors[1:]:
        raise row.error(f"{column} has a system prompt that is not its first message")
    return Chat(tuple(message(author, text) for author, text in messages)), reply


def _message(row: Record, where: str, turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping) or not {"role", "content"} <= set(turn):
        raise row.error(f"{where} is not an object with role and content: {str(turn)[:60]}")
    role, content = turn["role"], turn["content"]
    if turn.get("tool_calls") or role in ("tool", "function"):
        raise row.error(f"{where} is a tool call or its result; remove conversations with tools")
    if role not in _ROLES:
        raise row.error(f"{where}: {nearest('role', str(role), _ROLES)}")
    if isinstance(content, list):
        raise row.error(f"{where} has content of several parts (images?); give text alone")
    return _ROLES[role], check_text(row, where, content)
