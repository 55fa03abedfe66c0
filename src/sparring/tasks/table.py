"""Your own questions, as rows of a file or of a hub data set.

The least a row needs is a question: a text, or messages `{"role", "content"}` of which the last that a user says is
asked (an answer of the assistant's after it is the rationale). An answer, a rationale, a category and choices are
taken where there are such columns. Rows without answers will do for methods that need none.

Not here: images and tool calls, which are refused; and putting a question together from several columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer

from sparring.common.errors import ConfigError, nearest
from sparring.common.records import Record, Size, Sources, check_text
from sparring.common.seeds import digest
from sparring.core.chat import LEARNER, SYSTEM, USER, Chat, message, question
from sparring.core.task import Problem, Split
from sparring.parsing import answers, steps
from sparring.parsing.steps import FINAL, LINES, StepFormat

_ROLES = {"system": SYSTEM, "user": USER, "assistant": LEARNER}
_LABELLED = re.compile(r"\s*\(\d")


def _layout(named: str | StepFormat) -> StepFormat:
    return steps.layout(named) if isinstance(named, str) else named


@dataclass(frozen=True)
class Table:
    """Your own questions: rows of a file or of a hub data set.

    `train`, `development` and `test` are sources (`data/train.jsonl`, `hub:owner/name/configuration:split`; see
    `sparring.common.records`). A split without a source is drawn from the training rows by `seed`: as many rows as its
    `…_size` says, or that share of them if it is below 1 (None: a tenth). A question that stands twice is kept once,
    in the test split rather than in the development split rather than in the training split; `notes` says how often.

    Columns: `prompt_column` (None: `prompt`, else `messages`) holds text or messages; the others are `answer`,
    `rationale`, `category` and `choices` where there are such, unless they are named. A column may be a path into
    nested cells (`question.stem`). Choices are put below the question as lines `A. …`; they are a list of texts, a list
    of `{"label", "text"}`, or `{"label": […], "text": […]}`, and an answer is one's letter, label, words, or index
    from 0. `system` is a system prompt for the rows that have none of their own.

    `right` is the rule for a right response: `exact`, `number`, `choice`, `regex` (the answer is a pattern for all of
    the final answer), or a function `(response, problem) -> bool` of yours, as `package.module.function` or
    `path/to/file.py:function` (None: `choice` where there are choices, otherwise `exact`).
    """

    name: ClassVar[str] = "table"

    train: str
    development: str | None = None
    test: str | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0
    system: str | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    rationale_column: str | None = None
    category_column: str | None = None
    choices_column: str | None = None
    right: str | None = None
    layout: Annotated[StepFormat, BeforeValidator(_layout), PlainSerializer(lambda found: found.name)] = LINES

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", _layout(self.layout))
        self._sources()  # says what is wrong with them
        if self._function is None and self.right not in (None, *_RULES):
            rules = nearest("rule for right answers", str(self.right), _RULES)
            raise ConfigError(f"{rules}, and package.module.function or path/to/file.py:function")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the rows or added to them, and why."""
        return self._loaded[1]

    def problems(self, split: Split) -> Sequence[Problem]:
        """The problems of `split`; ConfigError names the row that is wrong."""
        return self._loaded[0][split]

    def is_right(self, problem: Problem, response: str) -> bool:
        """Whether `response` is right by the rule; ConfigError if that takes an answer and the row has none."""
        if not response.strip():
            return False
        if self._function is not None:
            return self._function(response, problem)
        if problem.gold is None:
            raise ConfigError(
                "a row without an answer cannot tell whether a response is right; name its column with answer_column, "
                "or a function of yours with right"
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

    @cached_property
    def _loaded(self) -> tuple[dict[str, list[Problem]], tuple[str, ...]]:
        splits, lost = self._sources().parted(self._problem)
        counts: Counter[str] = Counter()
        ended = {split: [self._ended(problem, counts) for problem in problems] for split, problems in splits.items()}
        return ended, lost + tuple(f"{what}: {count}" for what, count in counts.items())

    def _ended(self, problem: Problem, counts: Counter[str]) -> Problem:
        """`problem` with a rationale in the layout that ends in its answer, if that can be told and it states no
        other."""
        if problem.rationale is None:
            return problem
        told = self._laid_out(problem.rationale)
        judged = problem.gold is not None and self._function is None and self.right != "regex"
        if judged and not self.is_right(problem, told):
            if answers.states(told):
                counts["rationales that end in another answer than their row's"] += 1
            else:
                counts["rationales to which the answer was added"] += 1
                told = self._laid_out(problem.rationale, f"The answer is {problem.gold}.")
        return replace(problem, rationale=told)

    def _laid_out(self, told: str, *more: str) -> str:
        """`told` and the line `more` in the layout; labels that are there stay."""
        if not self.layout.numbered:
            return "\n".join((told, *more))
        if _LABELLED.match(told):
            return "\n".join((told, *(f"({FINAL}) {line}" for line in more)))
        return self.layout.write([*(step.text for step in LINES.split(told)), *more])

    # ---- one row

    def _problem(self, row: Record) -> Problem:
        chat, told = self._asked(row)
        options = self._options(row)
        if options is not None:
            chat = Chat((*chat.messages[:-1], message(USER, f"{chat.text}\n{options.listed}")))
        said = [word for turn in chat.messages for word in (turn.author, turn.text)]
        if self.system and chat.messages[0].author != SYSTEM:
            chat = Chat((message(SYSTEM, self.system), *chat.messages))
        category = _column(row, self.category_column, "category")
        return Problem(
            id=digest("table", *said)[:16],  # without `system`, whose wording is not to part the rows anew
            chat=chat,
            gold=self._gold(row, options),
            rationale=self._rationale(row, told),
            bin=(row.plain(category) if category else None) or "all",
            data={} if options is None else {"choices": list(options.texts)},
        )

    def _asked(self, row: Record) -> tuple[Chat, str | None]:
        """The question, and the answer that a conversation may end in."""
        column = self.prompt_column or next((c for c in ("prompt", "messages") if row.has(c)), None)
        if column is None:
            raise row.wrong(f"{nearest('column', 'prompt', row.cells)}, and name it in prompt_column")
        value = row.cell(column)
        return _conversation(row, column, value) if isinstance(value, list) else (question(row.text(column)), None)

    def _options(self, row: Record) -> _Options | None:
        column = _column(row, self.choices_column, "choices")
        value = row.cell(column) if column else None
        if column is None or value is None:
            return None
        if self._function is None and self.right not in (None, "choice"):
            raise row.wrong(f"right = {self.right!r} does not go with choices; leave it out, or name a function")
        return _read_options(row, column, value)

    def _rationale(self, row: Record, told: str | None) -> str | None:
        column = _column(row, self.rationale_column, "rationale")
        written = row.plain(column) if column else None
        if told is not None and written is not None:
            raise row.wrong(f"two rationales, in {column} and after the last question; leave one out")
        return written if told is None else told

    def _gold(self, row: Record, options: _Options | None) -> str | None:
        column = _column(row, self.answer_column, "answer")
        gold = row.plain(column) if column else None
        if column is None or gold is None:
            return None
        if options is not None:
            return options.letter(row, column, gold)
        check = _CHECKS.get(self.right or "exact")
        return check(row, column, gold) if check else gold


def _column(row: Record, named: str | None, usual: str) -> str | None:
    """The column that was named, or the usual one where the row has it."""
    return named or (usual if row.has(usual) else None)


# ---- golds that a rule can use


def _number(row: Record, column: str, gold: str) -> str:
    if answers.read_number(gold) is None:
        raise row.wrong(f"{column} is {gold[:40]!r}, which is no number; right = 'exact' compares words")
    return gold


def _pattern(row: Record, column: str, gold: str) -> str:
    try:
        re.compile(gold)
    except re.error as error:
        raise row.wrong(f"{column} is no regular expression: {error}") from error
    return gold


def _only_letter(row: Record, column: str, gold: str) -> str:
    letter = gold.strip("()[].: ").upper()
    if len(letter) != 1 or letter not in answers.LETTERS:
        raise row.wrong(f"{column} is {gold[:40]!r}, not a letter, and no choices_column says what it may be")
    return letter


_CHECKS: dict[str, Callable[[Record, str, str], str]] = {"number": _number, "regex": _pattern, "choice": _only_letter}
_JUDGES: dict[str, Callable[[str, str], bool]] = {
    "exact": answers.exact,
    "number": answers.number,
    "regex": answers.regex,
}
_RULES = ("choice", *_JUDGES)


# ---- choices


@dataclass(frozen=True)
class _Options:
    """The choices of a row; `labels` are the data set's own, shown to nobody."""

    labels: Sequence[str]
    texts: Sequence[str]

    @property
    def listed(self) -> str:
        return "\n".join(f"{letter}. {text}" for letter, text in zip(answers.LETTERS, self.texts, strict=False))

    def letter(self, row: Record, column: str, gold: str) -> str:
        """The letter of the choice that `gold` names; ConfigError if it names none, or one by letter and another by
        its words."""
        value = row.cell(column)
        is_index = isinstance(value, int | float) and not isinstance(value, bool)
        places = self._at(gold) if is_index else self._named(gold)
        if len(places) == 1:
            return answers.LETTERS[places.pop()]
        how = "names two of" if places else "is not among"
        listed = self.listed.replace("\n", ", ")[:100]
        raise row.wrong(f"{column} is {gold[:40]!r}, which {how} the choices {listed} (an index counts from 0)")

    def _at(self, index: str) -> set[int]:
        return {place for place in range(len(self.texts)) if str(place) == index}

    def _named(self, gold: str) -> set[int]:
        label = gold.strip("()[].: ").casefold()
        named = {place for place, mark in enumerate(self.labels) if mark.casefold() == label}
        named |= {place for place, text in enumerate(self.texts) if text.strip() == gold}
        if named or any(text.strip().isdecimal() for text in self.texts):
            return named
        return self._at(gold)  # a file whose numbers are text


def _read_options(row: Record, column: str, value: Any) -> _Options:
    if isinstance(value, Mapping) and {"label", "text"} <= set(value) and len(value["label"]) == len(value["text"]):
        value = [{"label": a, "text": b} for a, b in zip(value["label"], value["text"], strict=True)]
    if not isinstance(value, list) or not 2 <= len(value) <= len(answers.LETTERS):
        raise row.wrong(f"{column} is not a list of 2 to {len(answers.LETTERS)} choices: {str(value)[:60]}")
    labelled = all(isinstance(option, Mapping) and {"label", "text"} <= set(option) for option in value)
    labels = [str(option["label"]) for option in value] if labelled else answers.LETTERS[: len(value)]
    texts = [option["text"] for option in value] if labelled else value
    return _Options(
        labels,
        [
            str(text) if isinstance(text, int | float) else check_text(row, f"{column}, choice {number}", text)
            for number, text in enumerate(texts, start=1)
        ],
    )


# ---- conversations


def _conversation(row: Record, column: str, said: list[Any]) -> tuple[Chat, str | None]:
    """Messages up to the last that a user says, and what an assistant says after it."""
    messages = [_message(row, f"{column}, message {n}", turn) for n, turn in enumerate(said, start=1)]
    told = messages.pop()[1] if messages and messages[-1][0] == LEARNER else None
    authors = [author for author, _ in messages]
    if not authors or authors[-1] != USER:
        raise row.wrong(f"{column} does not end in a message of the user's, or in one and an answer to it")
    if SYSTEM in authors[1:]:
        raise row.wrong(f"{column} has a system prompt that does not stand first")
    return Chat(tuple(message(author, text) for author, text in messages)), told


def _message(row: Record, where: str, turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping) or not {"role", "content"} <= set(turn):
        raise row.wrong(f"{where} is not an object with role and content: {str(turn)[:60]}")
    role, content = turn["role"], turn["content"]
    if turn.get("tool_calls") or role in ("tool", "function"):
        raise row.wrong(f"{where} is a tool call or its result; conversations with tools are not supported")
    if role not in _ROLES:
        raise row.wrong(f"{where}: {nearest('role', str(role), _ROLES)}")
    if isinstance(content, list):
        raise row.wrong(f"{where} has a content of several parts (images?); text alone is supported")
    return _ROLES[role], check_text(row, where, content)
