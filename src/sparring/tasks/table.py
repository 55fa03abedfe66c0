"""The user's own rows, of a file or of a hub data set, in any of the common formats (`core.row_formats`).

A row needs at least a question, of which the user's last message is asked, or a plain text. Replies, answers, a
rationale, a category and choices are optional: a method says what it needs. Images are rejected.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple

from annotated_types import Ge
from pydantic import BeforeValidator, PlainSerializer

from sparring.common.errors import ConfigError, nearest
from sparring.common.extras import need_math_verify
from sparring.common.files import is_json
from sparring.common.functions import is_lost
from sparring.common.records import Record
from sparring.common.row_files import Rows, file_size
from sparring.common.rows_in_memory import SPLITS, as_source, splits_of
from sparring.common.schema import RowSource, ScriptFunction
from sparring.common.seeds import digest
from sparring.common.splits import Size, Sources
from sparring.core.chat import LEARNER, SYSTEM, USER, Chat, Message
from sparring.core.multiple_choice import Options, read_options
from sparring.core.right_function import RightFunction
from sparring.core.row_formats import CONVERSATIONS, FORMATS, PROMPTS, RowFormat, row_format
from sparring.core.row_readers import Reading, marked_answer, read_row, with_system
from sparring.core.task import Offer, Problem, ReadOnDemand, RowTask, offers_of
from sparring.core.user_function import COLUMNS
from sparring.parsing import answers, steps
from sparring.parsing.math_answers import equal_in_math
from sparring.parsing.steps import FINAL, LINES, StepFormat

HELD_BYTES, HELD_ROWS = 64 * 2**20, 100_000  # files up to this size, and so many rows, are kept in memory
_CHATS = {*PROMPTS, *CONVERSATIONS, "completion", "chosen", "rejected", "text"}  # columns of the problem's own text
_LABELLED = re.compile(r"\s*\(\d")


def _step_format(value: str | StepFormat) -> StepFormat:
    return steps.layout(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Table(RowTask):
    """Your own questions: rows of a file or of a hub data set.

    `train`, `development` and `test` are sources (`data/train.jsonl`, `hub:owner/name/configuration:split@revision`;
    see `sparring.common.row_files`). A program may give the rows: lists, frames, data sets, a `DatasetDict` as `train`.
    Of the training rows only the first `train_rows` are read (None: all). A split without a source is drawn from them
    by `seed`; its `…_size` is a number of rows, or a share of them if below 1 (None: a tenth). A repeated question is
    kept once: in the test split first, then in the development split, then in the training split; with different
    replies, in one split. `notes` says how many were dropped.

    `format` is the rows' format (None: recognised by their columns; `notes` says which). `prompt_column` names the
    column of the question, the messages or the text. The others default to `answer`, `rationale` (else `solution`,
    `response` or `output`), `category` and `choices`, if they exist. A column may be a path into nested cells
    (`question.stem`).
    Choices are put below the question as lines `A. …`. They are a list of texts, a list of `{"label", "text"}`, or
    `{"label": […], "text": […]}`; an answer is a choice's letter, label, text, or index from 0. `system` is a system
    prompt for rows without one.

    `right` is the rule for a right response: `exact`, `number`, `math` (equal in mathematics, LaTeX or not), `choice`,
    `regex` (the answer is a pattern for the whole final answer), or your function `(response, problem) -> bool`, as
    `package.module.function` or `path/to/file.py:function`. None: `choice` if there are choices, otherwise `exact`.
    """

    name: ClassVar[str] = "table"

    train: RowSource
    development: RowSource | None = None
    test: RowSource | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0
    train_rows: Annotated[int, Ge(1)] | None = None
    format: RowFormat | None = None
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
        self._keep_rows()
        self._sources()  # validates the settings
        if self._function is None and self.right not in (None, *_RULES):
            unknown = nearest("rule for right answers", str(self.right), _RULES)
            raise ConfigError(f"{unknown}, or give package.module.function or path/to/file.py:function")
        if self.right == "math":
            need_math_verify("right = 'math'")

    def _keep_rows(self) -> None:
        """Write rows that are in memory to files, and hold their paths; a `DatasetDict` fills several splits."""
        given: dict[str, Any] = {split: getattr(self, split) for split in SPLITS}
        if isinstance(given["train"], Mapping):
            named = {split: rows for split, rows in given.items() if rows is not None and split != "train"}
            given = {**given, **splits_of(given["train"]), **named}
        for split, rows in given.items():
            if rows is not None:
                limit = self.train_rows if split == "train" else None
                object.__setattr__(self, split, as_source(rows, split, limit))

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` is right; ConfigError if the rule needs an answer that the row lacks."""
        if not response.strip():
            return False
        if self._function is not None:
            return self._function.is_right(problem, response)
        if problem.gold is None:
            raise ConfigError(
                "a row without an answer cannot tell whether a response is right; name its column with answer_column, "
                "or your own function with right"
            )
        if self._rule(problem) == "choice":
            return answers.choice(problem.gold, response, problem.data.get("choices", ()))
        return _JUDGES[self._rule(problem)](problem.gold, response)

    def _sources(self) -> Sources:
        sizes = self.development_size, self.test_size
        return Sources(self.train, self.development, self.test, *sizes, self.seed, self.train_rows)

    @cached_property
    def _function(self) -> RightFunction | None:
        return RightFunction.load(self.right) if self.right and ("." in self.right or is_lost(self.right)) else None

    def _rule(self, problem: Problem) -> str:
        return self.right or ("choice" if "choices" in problem.data else "exact")

    def _load(self) -> tuple[Mapping[str, Sequence[Problem]], tuple[str, ...]]:
        """Read all rows once. What is too large for memory is read again, row by row, whenever it is asked for."""
        sources, counts = self._sources(), Counter[str]()
        opened = sources.open()
        is_small = sum(file_size(rows.source) for rows in opened.values()) <= HELD_BYTES
        is_small = is_small and sum(map(len, opened.values())) <= HELD_ROWS
        entries: dict[str, list[_Entry]] = {split: [] for split in opened}
        offered: list[frozenset[Offer]] = []  # by every row so far
        worked: dict[str, str] = {}  # the first worked answer to each question
        for split, rows in opened.items():
            for index, row in enumerate(rows):
                problem, group = self._read(row, counts)
                if problem is not None:
                    problem = _distinct(problem, worked)
                    offered = [offers_of([problem]).intersection(*offered)]
                    held = problem if is_small else None
                    entries[split].append(_Entry(problem.id, group, split, index, held))
        if not offered:
            raise ConfigError(f"{self.train} holds no row to learn from; give rows with questions, replies or text")
        splits, notes = sources.divide(entries)
        problems = {split: self._listed(kept, opened, offered[0]) for split, kept in splits.items()}
        return problems, (*self._formats(counts), *notes, *(f"{what}: {n}" for what, n in counts.items() if n))

    def _formats(self, counts: Counter[str]) -> tuple[str, ...]:
        """Take the formats out of `counts`; return one note that names them."""
        found = ", ".join(f"{name} ({counts.pop(name):,})" for name in FORMATS if name in counts)
        is_named = self.format or self.prompt_column
        return (f"format of the rows: {found}{'' if is_named else ', recognised by the columns'}",)

    def _listed(
        self, entries: Sequence[_Entry], opened: Mapping[str, Rows], offered: frozenset[Offer]
    ) -> Sequence[Problem]:
        """Return the problems of `entries`: those held in memory, or ones that are read on demand."""
        if all(entry.problem is not None for entry in entries):
            return [entry.problem for entry in entries if entry.problem is not None]

        def read(index: int) -> Problem:
            rows = opened[sources[index]]
            problem, _ = self._read(rows[indices[index]], Counter())
            if problem is None:
                raise ConfigError(f"{rows.source} was changed while it was read; start again")
            return replace(problem, id=ids[index])

        ids = [entry.id for entry in entries]
        sources, indices = [entry.source for entry in entries], array("Q", (entry.number for entry in entries))
        return ReadOnDemand(read, range(len(entries)), offered)

    def _complete(self, problem: Problem, counts: Counter[str]) -> Problem:
        """Write the rationale in the step format, and add the answer to it if it states none."""
        if problem.rationale is None or problem.rejected is not None:  # both sides of a pair stay as they are
            return problem
        rationale = self._in_step_format(problem.rationale)
        is_checkable = problem.gold is not None and self._function is None and self.right != "regex"
        if is_checkable and not self.is_right(problem, rationale):
            if answers.states(rationale):
                counts["rationales that end in another answer than their row's"] += 1
            else:
                counts["rationales to which the answer was added"] += 1
                rationale = self._in_step_format(problem.rationale, f"The answer is {problem.gold}.")
        return replace(problem, rationale=rationale, worked=_ending_in(problem.worked, problem.rationale, rationale))

    def _in_step_format(self, rationale: str, *last_lines: str) -> str:
        """Write `rationale` and `last_lines` in the step format; existing labels stay."""
        if not self.layout.numbered:
            return "\n".join((rationale, *last_lines))
        if _LABELLED.match(rationale):
            return "\n".join((rationale, *(f"({FINAL}) {line}" for line in last_lines)))
        return self.layout.write([*(step.text for step in LINES.split(rationale)), *last_lines])

    # ---- one row

    def _read(self, row: Record, counts: Counter[str]) -> tuple[Problem | None, str]:
        """Return the row's problem (None if it teaches nothing), and a name that all rows with its question share."""
        found = self.format or row_format(row, self.prompt_column)
        counts[found] += 1
        reading = read_row(row, found, self.prompt_column)
        if reading.skipped:
            counts[reading.skipped] += 1
            return None, ""
        if _begins_with_assistant(reading.chat):
            counts["conversations that begin with the assistant, whose first turn is context"] += 1
        chat, options = reading.chat, self._options(row)
        if options is not None and chat.messages:
            chat = _with_options(chat, options)
            worked = reading.worked and _with_options(reading.worked, options)
            reading = replace(reading, worked=worked)
        # The ids are made without `system`, so that rewording it does not change the splits.
        asked = [text for turn in chat.messages for text in (turn.author, turn.text)]
        taught = [part.text for said in _taught(reading) for part in said.parts]
        group = digest("table", *asked, *(() if asked else taught))[:16]
        reading = replace(reading, chat=chat)
        reading = with_system(reading, self.system) if self.system else reading
        category = _column(row, self.category_column, "category")
        problem = Problem(
            id=digest("table", *asked, *taught)[:16] if taught else group,
            chat=reading.chat,
            gold=self._gold(row, options, reading),
            rationale=self._rationale(row, reading),
            bin=(row.plain(category) if category else None) or "all",
            data=_cells(row) if options is None else {**_cells(row), "choices": list(options.texts)},
            worked=reading.worked,
            rejected=reading.rejected,
        )
        return self._complete(problem, counts), group

    def _options(self, row: Record) -> Options | None:
        column = _column(row, self.choices_column, "choices")
        value = row.cell(column) if column else None
        if column is None or value is None:
            return None
        if self._function is None and self.right not in (None, "choice"):
            raise row.error(f"right = {self.right!r} cannot be combined with choices; remove it, or name a function")
        return read_options(row, column)

    def _rationale(self, row: Record, reading: Reading) -> str | None:
        column = self.rationale_column or reading.rationale or _column(row, None, "rationale")
        column = None if column == self.answer_column else column
        written = row.plain(column) if column else None
        if reading.reply is not None and written is not None:
            raise row.error(f"two rationales, in {column} and after the last question; remove one")
        return written if reading.reply is None else reading.reply

    def _gold(self, row: Record, options: Options | None, reading: Reading) -> str | None:
        column = self.answer_column or reading.gold or _column(row, None, "answer")
        gold = row.plain(column) if column else None
        if column is None or gold is None:
            return None
        if options is not None:
            return options.letter(row, column, gold)
        gold = marked_answer(gold) if reading.gold else gold
        check = _CHECKS.get(self.right or "exact")
        return check(row, column, gold) if check else gold


class _Entry(NamedTuple):
    """A row of a source: `group` is its question's name; `problem` is None if it is read on demand."""

    id: str
    group: str
    source: str
    number: int
    problem: Problem | None


def _with_options(chat: Chat, options: Options) -> Chat:
    """Return `chat` with the options below its last question."""
    last = max(index for index, said in enumerate(chat.messages) if said.author == USER)
    asked = chat.messages[last]
    listed = replace(asked, parts=(replace(asked.parts[-1], text=f"{asked.parts[-1].text}\n{options.listed}"),))
    return Chat((*chat.messages[:last], listed, *chat.messages[last + 1 :]))


def _begins_with_assistant(chat: Chat) -> bool:
    """Return whether the assistant speaks before the user does."""
    authors = (said.author for said in chat.messages)
    return next((author for author in authors if author != SYSTEM), USER) == LEARNER


def _distinct(problem: Problem, worked: dict[str, str]) -> Problem:
    """Give `problem` another id if its worked answer differs from the first one in `worked` to the same question."""
    if problem.rationale is None:
        return problem
    written = digest(problem.rationale)
    is_first = worked.setdefault(problem.id, written) == written
    return problem if is_first else replace(problem, id=digest(problem.id, written)[:16])


def _taught(reading: Reading) -> tuple[Message, ...]:
    """Return the messages that tell apart rows with the same question."""
    rejected = () if reading.rejected is None else (reading.rejected,)
    return (*(reading.worked.messages if reading.worked else ()), *rejected)


def _ending_in(worked: Chat | None, reply: str, rationale: str) -> Chat | None:
    """Return `worked` with `rationale` in place of `reply`, its last text, if it was completed."""
    if worked is None or reply == rationale or worked.text != reply:
        return worked
    *before, last = worked.messages
    parts = [part for part in last.parts if part.thought]
    return Chat((*before, replace(last, parts=(*parts, replace(last.parts[-1], text=rationale)))))


def _cells(row: Record) -> dict[str, Any]:
    """Return what a user's function may ask for: the row's columns but those of the chat, and the question's form."""
    cells = {column: cell for column, cell in row.cells.items() if column not in _CHATS and is_json(cell)}
    is_messages = any(isinstance(row.cells.get(column), list) for column in _CHATS)
    return ({COLUMNS: cells} if cells else {}) | ({"messages": True} if is_messages else {})


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
    "math": equal_in_math,
}
_RULES = ("choice", *_JUDGES)
