"""Every reader of what a model, a server or a person says takes time in proportion to its length."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sparring.client.completion import ServerQuirks, error_message, read_completion
from sparring.client.trouble import retry_after
from sparring.core.attempts import clean
from sparring.core.judge_presets import read_identifier, read_label, read_letter
from sparring.core.leakage import states_gold
from sparring.core.partner import read_score
from sparring.core.prompt import fill
from sparring.core.speaker import Sampling
from sparring.core.task import Problem, Verifies
from sparring.core.truth import is_true
from sparring.exams.discussant import DiscussantExam
from sparring.exams.editor import EditorExam
from sparring.parsing import answers, sorting, steps
from sparring.parsing.arithmetic import equations, expressions
from sparring.parsing.steps import COMPACT, LINES, NUMBERED, Fault
from sparring.parsing.thought import GENERIC, NONE, SPECIFIC, THINK
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.speakers import command
from sparring.speakers.scripted import Scripted
from sparring.synthesis import overlap, rationales
from sparring.synthesis.instructions import parse_list
from sparring.tasks import multistep_arithmetic
from sparring.tasks.date_understanding import DateUnderstanding
from sparring.tasks.gsm8k import Gsm8k
from sparring.tasks.logical_deduction import LogicalDeduction
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.word_sorting import WordSorting
from sparring.tasks.writing import Writing
from tests.fault_server import completion
from tests.hostile_texts import ALL_SHAPES, SHAPES, check_growth, hostile, seconds, slowest
from tests.partners.speaking import ATTEMPT, FAULT, PROBLEM, TASK, at_once, thinking

EASY = MultistepArithmetic(train=5, development=5, test=5)
PAPER = MultistepArithmetic("paper", train=5, development=5, test=5)
PICKED, SORTED = WordSorting(train=5, development=5, test=5), WordSorting("paper", train=5, development=5, test=5)
DATES, DATES_EASY = DateUnderstanding("paper", 5, 5, 5), DateUnderstanding("easy", 5, 5, 5)
CLUES, CLUES_EASY = LogicalDeduction("paper", 5, 5, 5), LogicalDeduction("easy", 5, 5, 5)
WRITTEN, OPEN = Writing(train=1, development=0, test=0), Writing("open", train=8, development=0, test=0)
WORKED = "She has 3+4=<<3+4=7>>7 pens.\nTwice is <<7*2=14>>14.\n#### 14"


def grade_school(**row: str) -> tuple[Gsm8k, Problem]:
    """A task of one problem, and the problem."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_text(json.dumps(row))
        task = Gsm8k(str(path), development=0, test=0)
        return task, task.problems("train")[0]


GRADE, PENS = grade_school(question="Ann has 3 pens and buys 4. How many?", answer=WORKED)
LISTS, NUMBERS = grade_school(question="How many numbers?", answer="1,2,3,4 are <<1+1=2>>2 and 2.\n#### 2")
POINTWISE, PAIRWISE = ModelJudge(Scripted(("x",)), mode="pointwise"), ModelJudge(Scripted(("x",)))
OPTIONS = ("red", "green", "blue", "dark blue")
VOCABULARY = sorting.vocabulary(["ant", "bee"])
KNOWN = overlap.KnownTexts(0.7)
ASKED = [{"role": "user", "content": "?"}]


def _critic(reply: str) -> Any:
    return at_once(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))


def _criticised(attempt: str) -> Any:
    return at_once(ModelCritic(Scripted(("ok",)), PAPER).feedback(PROBLEM, attempt, random.Random(0)))


def _editor(reply: str) -> Any:
    return at_once(ModelEditor(Scripted((reply,)), TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0)))


def _discussant(reply: str) -> Any:
    return at_once(ModelDiscussant(Scripted((reply,))).remark(PROBLEM, thinking(), "supportive", random.Random(0)))


def _examined(exam: Any, partner: Callable[[Scripted], Any]) -> Callable[[str], Any]:
    """Grades a reply to a probe with a planted fault."""
    probe = next(probe for probe in exam.probes(EASY, EASY.problems("train"), 4, 0) if probe.fault is not None)
    return lambda reply: at_once(exam.grade(partner(Scripted((reply,))), EASY, probe, random.Random(0)))


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
    "score": POINTWISE.rating,
    "verdict": PAIRWISE.verdict,
    "verdict, identifier": read_identifier,
    "verdict, label": read_label,
    "verdict, letter": read_letter,
    "reward": read_score,
    "critic": _critic,
    "criticised": _criticised,
    "editor": _editor,
    "discussant": _discussant,
    "states_gold": _states_gold,
    "list": parse_list,
    "words": lambda text: KNOWN.has_similar(overlap.split_words(text)),
    "rationale": lambda text: rationales.relies_on_hint(EASY, PROBLEM, rationales.parse_rationale(EASY, text)),
    "server": lambda text: read_completion(text.encode(), ASKED, Sampling(stop=("\nFeedback: ",)), "partner"),
    "content": lambda text: read_completion(
        json.dumps(completion(text)).encode(), ASKED, Sampling(stop=("\n? ",)), "partner"
    ),
    "error message": lambda text: error_message({"error": {"message": text}}),
    "quirks": lambda text: ServerQuirks().learn(text),
    "retry": lambda text: retry_after({"retry-after": text}),
    "program": lambda text: command.read_output(text.encode()),
    "clean": lambda text: clean(f"{text}\ud83d"),
    "sorting": lambda text: sorting.read_sorting(text, VOCABULARY),
    "stated": lambda text: sorting.stated(text, VOCABULARY),
    "named": lambda text: sorting.named(text, ["ant", "bee"]),
    "written, easy": lambda text: WRITTEN.grade(WRITTEN.problems("train")[0], text),
    "written, open": lambda text: [OPEN.grade(problem, text) for problem in OPEN.problems("train")],
    "grade right": lambda text: GRADE.is_right(PENS, text),
    "grade hint": lambda text: GRADE.hint(PENS, text, random.Random(0)),
    "grade true": lambda text: GRADE.is_true(PENS, WORKED, text),
    "grade true of a number": lambda text: LISTS.is_true(NUMBERS, "12", text),
    "true of a number": lambda text: is_true(GRADE, PENS, WORKED, text),
    "true of an option": lambda text: is_true(CLUES, CLUES.problems("train")[0], "(A)", text),
    "clues read": lambda text: CLUES._understood(
        f"{text}: an owl, a crow, and a jay. {text}", (text, "The owl is first")
    ),
    "clues listed": lambda text: CLUES._understood(f"Three birds: {text}. The owl is first.", OPTIONS),
    "dates read": lambda text: DATES._understood(f"{text} What is the date today in MM/DD/YYYY?", ("01/02/2003", text)),
    "examined discussant": _examined(DiscussantExam(), ModelDiscussant),
    "examined editor": _examined(EditorExam(), lambda speaker: ModelEditor(speaker, EASY)),
    "grade claim": lambda text: GRADE.false_claim(PENS, text, random.Random(0)),
}
GENERATED: dict[str, Any] = {
    "easy": EASY, "paper": PAPER, "picked": PICKED, "sorted": SORTED,
    "dates": DATES, "easy dates": DATES_EASY, "clues": CLUES, "easy clues": CLUES_EASY,
}  # fmt: skip
for _name, _task in GENERATED.items():
    _problem = _task.problems("train")[0]
    READERS |= {
        f"{_name} right": lambda text, task=_task, problem=_problem: task.is_right(problem, text),
        f"{_name} first": lambda text, task=_task, problem=_problem: task.first_error(problem, text),
        f"{_name} solve": lambda text, task=_task, problem=_problem: task.solve(problem, text),
        f"{_name} hint": lambda text, task=_task, problem=_problem: task.hint(problem, text, random.Random(0)),
        f"{_name} claim": lambda text, task=_task, problem=_problem: task.false_claim(problem, text, random.Random(0)),
    }
    if isinstance(_task, Verifies):
        READERS[f"{_name} true"] = lambda text, task=_task, problem=_problem: task.is_true(problem, "(1) a", text)


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
        assert seconds(READERS[name], text) < 3  # 0.2 to 0.45 s where this was written; 1.5 s when coverage counts
