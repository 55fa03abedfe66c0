"""Whatever a model, a server or a person says, reading it takes time in proportion to its length.

Two registers: every regular expression of the package, found in its source, as it is used there; and every reader of
replies. Each is given hostile texts; those that take longest are made longer.
"""

# ruff: noqa: E501 - lists of texts are lines as they are

from __future__ import annotations

import ast
import gc
import importlib
import json
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sparring
from sparring.client.completion import ServerQuirks, error_message, read_completion
from sparring.client.trouble import Trouble, retry_after
from sparring.common.errors import ConfigError, ConversationError, TooLong, Unreadable
from sparring.common.records import Record
from sparring.core.attempts import clean
from sparring.core.chat import Part
from sparring.core.leakage import states_gold
from sparring.core.partner import read_score
from sparring.core.prompt import fill
from sparring.core.speaker import MAX_REPLY_CHARACTERS, Reply, Sampling, text_reply
from sparring.methods.saie import SAIE
from sparring.parsing import answers, sorting, steps
from sparring.parsing.arithmetic import equations, expressions
from sparring.parsing.steps import COMPACT, LINES, NUMBERED, Fault
from sparring.parsing.thought import GENERIC, NONE, SPECIFIC, THINK
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.partners.reward_judge import RewardJudge
from sparring.partners.task_discussant import TaskDiscussant
from sparring.speakers import command
from sparring.speakers.scripted import Scripted
from sparring.synthesis import overlap, rationales
from sparring.synthesis.instructions import parse_list
from sparring.tasks import gsm8k, multistep_arithmetic
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.word_sorting import WordSorting
from sparring.tasks.writing import Writing
from tests.fault_server import completion
from tests.partners.speaking import ATTEMPT, FAULT, PROBLEM, TASK, run, thinking
from tests.partners.speaking import answers as to_judge
from tests.test_fuzz import at_once

PACKAGE = Path(sparring.__file__).parent

# ── hostile texts ───────────────────────────────────────────────────────────────────────────────────────────────

UNITS = [
    *['(', ')', '[', ']', '{', '}', '"', "'", '<', '>', '\\', '$', '*', '`', '?', '!', '.', ',', ';', ':', '=', '-', '+', '/', '%', '#', '_', '1', '9', 'a', 'A', 'x', '\n', '\t', '\x00', '\u2028', '\r', 'é', '日', '٣', '²', '𐐀'], " ", "\n",
    'In step (1) the part "', "In step (", " This is because ", " the part ", '" is incorrect', "all steps are correct",
    ". ", "(1)", "(1) a\n", "\n(1) ", "(1.1", "1.1.", "(Final response) ", "\n\n", " \n", "\n ", "a\n", "a ", "- a\n",
    "1. a\n", "1. ", "Score:", "Score:\n", "score 1 ", "Score: 1", "[[A]]", "[[A", "[]", "()", "{}", "<think>", "</think>",
    "<R>", "<<", "<<1>>", "Here is my response:", "Here is my thought process:", "answer ", "the answer is ", "answer is ",
    "answer:\n", "####", "#### 1\n", "\\boxed{", "\\boxed{1}", "\\frac{1}{2}", "\\frac{1", "\\(", "$1$", "\\text{", "**",
    '"ant" < ', '["ant" ? ', '"ant"="a" (1), ', '"ant" ? ', "ant, ", '"ant bee ', "second letters ", "a'", "(9 ", "[ant ? ",
    "1,", "1,234", "1.", "12 ", "1 1/2 ", "1e", "1 + ", "1=", "1+1=2\n", "2*3=6=", "A=B\n", "A = 2 * 3\n", "B = A * A\n",
    "A is 5\n", "A is 5 ", "is ", "1 is ", "A: ", "(1+", "-(", "((1+2)", "7*3=21\n", "5 apples + ", "red ", "dark blue ",
    "(B) ", "option A ", "B or C ", "A,", "temperature ", "step (1", "step 1 ", "known answer ", "hint ", "Thought 1: ",
    '{"a":', "[1,", "ß", "ﬁ", "İ", "0.0", "0000", "− ", "of the ", "therefore ",
]  # fmt: skip
OPENINGS = [
    'In step (1) the part "', "In step (", "Score: 1", "The answer is ", "#### ", "\\boxed{", "(1) ", '"', "[", "1", "<think>",
    "A = ", "1+1 is ", "ant ", "<<1>>", "$", "x\n", "answer", ". ", "2*3=", "Here is my thought process: ",
]  # fmt: skip
CORE = [" ", "\n", "1", "a", "(", '"', ".", "=", "1 is ", "-1", ", ", "é"]
ENDS = ["", "x", "\n", '"', " is incorrect.", "!"]


def hostile(unit: str, length: int, opening: str = "", end: str = "x") -> str:
    return opening + (unit * (length // len(unit) + 1))[:length] + end


Shape = tuple[str, str, str]
SHAPES: list[Shape] = [(unit, "", "x") for unit in UNITS] + [
    (unit, opening, "x") for opening in OPENINGS for unit in CORE
]
ALL_SHAPES: list[Shape] = [(unit, opening, end) for unit in UNITS for opening in ("", *OPENINGS) for end in ENDS]

# ── measuring ───────────────────────────────────────────────────────────────────────────────────────────────────

NOTHING_READ = (ConversationError, Trouble, ConfigError)


def seconds(reads: Callable[[str], Any], text: str) -> float:
    """Of processor time, the collector held off: it takes as long as all that other tests have left behind."""
    gc.disable()
    begun = time.process_time()
    try:
        reads(text)
    except NOTHING_READ:
        pass
    finally:
        spent = time.process_time() - begun
        gc.enable()
    return spent


def slowest(reads: Callable[[str], Any], shapes: list[Shape], length: int, count: int) -> list[Shape]:
    """The `count` shapes that take longest."""
    return sorted(shapes, key=lambda shape: -seconds(reads, hostile(shape[0], length, *shape[1:])))[:count]


def check_growth(name: str, reads: Callable[[str], Any], shapes: list[Shape], short: int, long: int) -> None:
    """Asserts that `long` texts take no more than three times as long as in proportion to `short` ones. What is not
    is measured up to three times: the machine may have been busy."""
    for unit, opening, end in shapes:
        brief, much = hostile(unit, short, opening, end), hostile(unit, long, opening, end)
        proportion = 0.0
        for _ in range(3):
            base = max(min(seconds(reads, brief) for _ in range(3)), 2e-5)
            proportion = seconds(reads, much) / base / (long / short)
            if proportion <= 3:
                break
        assert proportion <= 3, f"{name}: {proportion:.1f} times as long as in proportion on {(unit, opening, end)}"


# ── the first register: regular expressions ─────────────────────────────────────────────────────────────────────

METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split", "subn")
# Not tried, with the reason. What is written `module:function` is an expression in the midst of a function.
BOUNDED = {
    "parsing.arithmetic.equations._ANSWER": "sees 80 characters",
    "parsing.arithmetic.equations._RESULT": "sees 80 characters",
    "parsing.arithmetic.equations._WORD": "sees 80 characters",
    "parsing.answers:regex": "the user's, on 20,000 characters",
    "partners.model_judge:_only": "the user's, on 20,000 characters; ours is tried as _SCORE, and with the judge",
    "partners.model_judge:__post_init__": "the recipe's: whether it is a pattern",
    "tasks.table:_pattern": "the data's: whether it is a pattern",
    "parsing.statements:make_mark": "makes ANSWER and _CHOICE",
    "config.recipe:with_settings": "reads a setting of the command line",
    "runs.bundle._HUB_ID": "reads a recipe", "common.records._HUB_NAME": "reads a recipe", "common.records._HUB_ID": "reads a recipe",
    "speakers.reward._COMMIT": "reads a recipe", "core.attempts._WITHHELD": "reads a recipe", "core.prompt._BLANK": "reads a recipe's prompt",
    "tasks.mmlu._LETTER": "sees the spaces at the start, a letter and the rest of a line",
}  # fmt: skip
# In the midst of a function, and tried by the reader that is named.
INLINE = {
    "parsing.answers:_mentioned": "chosen",
    "core.leakage:states_gold": "states_gold",
    "partners.model_editor:_unwrapped": "editor",
    "partners.task_editor:_with_slip": "a program's own words",
    "parsing.sorting:stated": "stated",
    "parsing.steps:order": "order",
    "parsing.steps:_without_spaces": "agrees",
    "client.completion:learn": "quirks",
}


def used() -> tuple[dict[str, set[str]], set[str]]:
    """Every compiled expression at the head of a module, with the methods that it is used by, and every function in
    which `re` is called."""
    named: dict[str, set[str]] = {}
    inline: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        heads = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        for node in heads:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and node.value is not None:
                found = (
                    getattr(importlib.import_module(f"sparring.{module}"), target.id, None) if calls_re(node) else None
                )
                if isinstance(found, re.Pattern) or target.id in ("ANSWER", "_CHOICE", "_SCORE"):
                    named[f"{module}.{target.id}"] = set()
        for inner in ast.walk(tree):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and calls_re(inner):
                inline.add(f"{module}:{inner.name}")
            if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.attr in METHODS:
                name = f"{module}.{inner.value.id}"
                if name in named:
                    named[name].add(inner.attr)
    return named, inline


def calls_re(node: ast.AST) -> bool:
    return any(
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "re"
        and call.func.attr != "escape"
        for call in ast.walk(node)
    )


PATTERNS, FUNCTIONS = used()


def applied(name: str) -> Iterator[Callable[[str], Any]]:
    """The expression as the source uses it; `finditer` does for all that look through a whole text."""
    module, _, held = name.rpartition(".")
    found = getattr(importlib.import_module(f"sparring.{module}"), held)
    pattern = re.compile(found)
    whole = {"match": pattern.match, "fullmatch": pattern.fullmatch}
    methods = PATTERNS[name] or {"findall"}
    yield from (whole[method] for method in sorted(methods & set(whole)))
    if methods - set(whole):
        yield lambda text: deque(pattern.finditer(text), maxlen=0)


def test_no_expression_is_forgotten():
    assert set(BOUNDED) - {f"{name}" for name in PATTERNS} - FUNCTIONS == set()
    assert FUNCTIONS - set(BOUNDED) - set(INLINE) == set()
    assert len(PATTERNS) > 30
    assert set(INLINE.values()) - {"a program's own words"} <= {*READERS}


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - set(BOUNDED)))
def test_an_expression_takes_time_in_proportion(name):
    for reads in applied(name):
        check_growth(name, reads, slowest(reads, SHAPES, 1_000, 2), 1_500, 15_000)


# ── the second register: readers of replies ─────────────────────────────────────────────────────────────────────

EASY = MultistepArithmetic(train=5, development=5, test=5)
PAPER = MultistepArithmetic("paper", train=5, development=5, test=5)
PICKED, SORTED = WordSorting(train=5, development=5, test=5), WordSorting("paper", train=5, development=5, test=5)
WRITTEN, OPEN = Writing(train=1, development=0, test=0), Writing("open", train=8, development=0, test=0)
GRADE = gsm8k.Gsm8k("rows")
WORKED = "She has 3+4=<<3+4=7>>7 pens.\nTwice is <<7*2=14>>14.\n#### 14"
PENS = gsm8k._problem(Record("row 1", {"question": "Ann has 3 pens and buys 4. How many?", "answer": WORKED}))
POINTWISE, PAIRWISE = ModelJudge(Scripted(("x",)), mode="pointwise"), ModelJudge(Scripted(("x",)))
OPTIONS = ("red", "green", "blue", "dark blue")
VOCABULARY = sorting.vocabulary(["ant", "bee"])
KNOWN = overlap.KnownTexts(0.7)
KNOWN.add(overlap.split_words("a b c d e f g"))
ASKED = [{"role": "user", "content": "?"}]


def _critic(reply: str) -> Any:
    return at_once(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))


def _criticised(attempt: str) -> Any:
    return at_once(ModelCritic(Scripted(("ok",)), PAPER).feedback(PROBLEM, attempt, random.Random(0)))


def _editor(reply: str) -> Any:
    return at_once(ModelEditor(Scripted((reply,)), TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0)))


def _discussant(reply: str) -> Any:
    return at_once(ModelDiscussant(Scripted((reply,))).remark(PROBLEM, thinking(), "supportive", random.Random(0)))


def _states_gold(remark: str) -> None:
    states_gold(EASY, PROBLEM, remark)
    states_gold(PICKED, PICKED.problems("train")[0], remark)


def _statements(text: str) -> list[Any]:
    return list(equations.statements(text, 0, len(text), equations.explained(text)))


READERS: dict[str, Callable[[str], Any]] = {
    "final": answers.final,
    "first number": answers.first_number,
    "states": answers.states,
    "exact": lambda text: answers.exact("18 apples", text),
    "number": lambda text: answers.number("18", text),
    "read_number": answers.read_number,
    "regex": lambda text: answers.regex("1 8", text),
    "chosen": lambda text: answers.chosen(text, OPTIONS),
    "letter": answers.chosen,
    "steps": NUMBERED.split,
    "lines": LINES.split,
    "before": lambda text: NUMBERED.before(text, "7"),
    "order": steps.order,
    "agrees": lambda text: Fault("1", text).agrees_with(Fault("1", f"{text}x")),
    "feedback": NUMBERED.read_feedback,
    "feedback, compact": COMPACT.read_feedback,
    "worded": lambda text: NUMBERED.write_feedback(text, Fault("3", "x", "y")),
    "refused": lambda text: NUMBERED.refusal("(1) a\n(2) b", Fault("2", "b"), text),
    "refused attempt": lambda text: NUMBERED.refusal(text, Fault("1", "b"), f"{text} "),
    **{f"thought, {form.name}": form.split for form in (GENERIC, SPECIFIC, THINK, NONE)},
    "filled": lambda text: fill("a {question} b", question=text),
    "parse": expressions.parse,
    "explained": equations.explained,
    "statements": _statements,
    "score": POINTWISE._number,
    "verdict": PAIRWISE._verdict,
    "reward": read_score,
    "critic": _critic,
    "criticised": _criticised,
    "editor": _editor,
    "discussant": _discussant,
    "states_gold": _states_gold,
    "list": parse_list,
    "words": lambda text: KNOWN.has_similar(overlap.split_words(text)),
    "rationale": lambda text: rationales._relies_on_hint(EASY, PROBLEM, rationales._parse_rationale(EASY, text)),
    "server": lambda text: read_completion(text.encode(), ASKED, Sampling(stop=("\nFeedback: ",)), "partner"),
    "content": lambda text: read_completion(
        json.dumps(completion(text)).encode(), ASKED, Sampling(stop=("\n? ",)), "partner"
    ),
    "error message": lambda text: error_message({"error": {"message": text}}),
    "quirks": lambda text: ServerQuirks().learn(text),
    "retry": lambda text: retry_after({"retry-after": text}),
    "program": lambda text: command._read(text.encode()),
    "clean": lambda text: clean(f"{text}\ud83d"),
    "sorting": lambda text: sorting.read_sorting(text, VOCABULARY),
    "stated": lambda text: sorting.stated(text, VOCABULARY),
    "named": lambda text: sorting.named(text, ["ant", "bee"]),
    "written, easy": lambda text: WRITTEN.grade(WRITTEN.problems("train")[0], text),
    "written, open": lambda text: [OPEN.grade(problem, text) for problem in OPEN.problems("train")],
    "grade right": lambda text: GRADE.is_right(PENS, text),
    "grade hint": lambda text: GRADE.hint(PENS, text, random.Random(0)),
    "grade claim": lambda text: GRADE.false_claim(PENS, text, random.Random(0)),
}
for _name, _task in (("easy", EASY), ("paper", PAPER), ("picked", PICKED), ("sorted", SORTED)):
    _problem = _task.problems("train")[0]
    READERS |= {
        f"{_name} right": lambda text, task=_task, asked=_problem: task.is_right(asked, text),
        f"{_name} first": lambda text, task=_task, asked=_problem: task.first_error(asked, text),
        f"{_name} solve": lambda text, task=_task, asked=_problem: task.solve(asked, text),
        f"{_name} hint": lambda text, task=_task, asked=_problem: task.hint(asked, text, random.Random(0)),
        f"{_name} claim": lambda text, task=_task, asked=_problem: task.false_claim(asked, text, random.Random(0)),
    }


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_time_in_proportion(name):
    reads = READERS[name]
    check_growth(name, reads, slowest(reads, SHAPES, 800, 2), 1_000, 10_000)


def test_an_expression_with_blanks_behind_it_takes_time_in_proportion():
    check_growth("parse", expressions.parse, [("1+", "", "1\n")], 20_000, 200_000)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_time_in_proportion_up_to_a_million_characters(name):
    reads = READERS[name]
    shapes = slowest(reads, ALL_SHAPES, 1_000, 12)
    check_growth(name, reads, shapes, 1_000, 10_000)
    check_growth(name, reads, slowest(reads, shapes, 20_000, 2), 100_000, 1_000_000)


@pytest.mark.parametrize("unit", ["1,", "B=2\n", "1=", "2*3=6="])
def test_an_arithmetic_answer_of_all_that_is_read_takes_no_long_time(unit):
    text = hostile(unit, multistep_arithmetic.MAX_ANSWER_CHARACTERS)
    for name in ("easy first", "paper first"):
        assert seconds(READERS[name], text) < 1  # 0.2 to 0.45 s where this was written


# ── replies that are not read at all ────────────────────────────────────────────────────────────────────────────


def test_a_reply_that_is_too_long_is_a_typed_failure_and_is_not_asked_for_again():
    assert text_reply("x" * MAX_REPLY_CHARACTERS, "partner").require_complete().text
    speaker = Scripted(("Score: 7\n" + "x" * MAX_REPLY_CHARACTERS,))
    judges = ModelJudge(speaker, mode="pointwise"), RewardJudge(speaker)
    for judge in judges:
        scores = run(judge.score(PROBLEM, to_judge("15"), random.Random(0)))
        assert scores.values == (None,)
        assert [failure.kind for failure in scores.failures] == ["TooLong"]
    assert len(speaker.heard) == len(judges)
    with pytest.raises(TooLong, match="has 200,009 characters; at most 200,000 are read"):
        run(ModelDiscussant(speaker).remark(PROBLEM, thinking(), "supportive", random.Random(0)))


def test_a_learner_that_says_too_much_fails_its_episode(script):
    episode = run(
        SAIE(TaskDiscussant(EASY)).interact(PROBLEM, EASY, script(["1" * (MAX_REPLY_CHARACTERS + 1)]), random.Random(0))
    )
    assert episode.failed
    assert [(failure.kind, failure.who) for failure in episode.failures] == [("TooLong", "learner")]


def test_a_thought_counts_for_nothing():
    parts = (Part("x" * MAX_REPLY_CHARACTERS, "partner", thought=True), Part("Score: 7", "partner"))
    assert Reply(parts).require_complete().text == "Score: 7"


def test_a_pattern_of_the_users_sees_a_bounded_text():
    judge = ModelJudge(Scripted(("x",)), mode="pointwise", pattern=r"(?:\d|\d)*([0-9])\.")
    assert judge._number("7." + " " * (answers.MATCHED - 2)) == 7
    with pytest.raises(Unreadable, match="at most 20,000 characters, and there are 20,001"):
        judge._number("7." + " " * (answers.MATCHED - 1))
    assert answers.regex("x+", "x" * answers.MATCHED)
    assert not answers.regex("x+", "x" * (answers.MATCHED + 1))


def test_a_step_whose_number_is_beyond_python_is_gone_on_with():
    problem = PAPER.problems("train")[0]
    lines = problem.rationale.split("\n")
    kept = f"({'9' * 5000}) {lines[0].partition(' ')[2].replace('This equation', 'It')}\n"
    solved = PAPER.solve(problem, kept)
    assert solved.startswith(kept)
    assert PAPER.is_right(problem, solved)
