"""What `first_error` owes `is_right`, in all generated tasks: every wrong answer has a fault, and so has a right one
with a wrong step in it."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.partners.speaking import run
from tests.tasks.arithmetic_answers import corrupted, reworded
from tests.tasks.choice_answers import dates_reworded, deduction_reworded

from sparring.core.task import Problem
from sparring.parsing.arithmetic.expressions import parse, value_of
from sparring.parsing.dates.calendar import dates
from sparring.parsing.steps import NUMBERED, Step
from sparring.partners.task_editor import TaskEditor
from sparring.tasks.date_understanding import DateUnderstanding
from sparring.tasks.logical_deduction import LogicalDeduction
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.word_sorting import WordSorting

TASKS = {
    "arithmetic, easy": MultistepArithmetic(train=2000),
    "arithmetic, paper": MultistepArithmetic("paper", train=300, test=300),
    "sorting, easy": WordSorting(train=1000),
    "sorting, paper": WordSorting("paper", train=300, test=300),
    "dates, easy": DateUnderstanding(train=1000, test=300),
    "dates, paper": DateUnderstanding("paper", train=300, test=300),
    "deduction, easy": LogicalDeduction(train=1000, test=300),
    "deduction, paper": LogicalDeduction("paper", train=300, test=300),
}
EASY: Any
PAPER: Any
PICKED: Any
SORTED: Any
EASY, PAPER, PICKED, SORTED, MOVED, DATED, ORDERED, DEDUCED = TASKS.values()
ALPHABET = "()[]=+-*/.,: \n0123456789ABabAZxyz<>?\"'"
all_tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def problems(task) -> list[Problem]:
    return [*task.problems("train"), *task.problems("test")]


def mutated(text: str, rng: random.Random) -> str:
    """`text` with one to four characters, stretches or lines of it put in, taken out, changed or moved."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        place, lines = rng.randrange(len(text) + 1), text.split("\n")
        line, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(9):
            case 0:
                text = text[:place] + rng.choice(ALPHABET) + text[place:]
            case 1:
                text = text[:place] + text[place + 1 :]
            case 2:
                text = text[:place] + rng.choice(ALPHABET) + text[place + 1 :]
            case 3:
                text = "\n".join(lines[:line] + lines[line + 1 :])
            case 4:
                text = "\n".join([*lines[:other], lines[line], *lines[other:]])
            case 5:
                lines[line], lines[other] = lines[other], lines[line]
                text = "\n".join(lines)
            case 6:
                digits = [found.start() for found in re.finditer(r"\d", text)] or [place]
                place = rng.choice(digits)
                text = text[:place] + str(rng.randrange(10)) + text[place + 1 :]
            case 7:
                text = text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :]
            case 8:
                start = rng.randrange(len(text) + 1)
                text = text[:place] + text[start : start + rng.randrange(1, 12)] + text[place:]
    return text


def check_mutations(task, count: int, seed: int) -> None:
    """Asserts that of `count` mutated answers none is wrong and has no fault."""
    rng, asked, wrong = random.Random(seed), problems(task), 0
    for _ in range(count):
        problem = rng.choice(asked)
        answer = mutated(problem.rationale, rng)
        fault = task.first_error(problem, answer)
        if not task.is_right(problem, answer):
            wrong += 1
            assert fault is not None, (problem.chat.text, answer)
        if fault is not None:
            assert fault.part in answer
            task.layout.before(answer, fault.step)
    assert wrong > count / 60


@all_tasks
@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_wrong_has_a_fault(task, seed):
    check_mutations(task, 600, seed)


@pytest.mark.long
@all_tasks
@pytest.mark.parametrize("seed", range(5))
def test_of_twenty_thousand_mutated_answers_none_is_wrong_without_a_fault(task, seed):
    check_mutations(task, 20_000, seed)


@pytest.mark.parametrize(
    "said", ["So the asnwer is {}.", "So the answer i {}.", "Hence {} it is.", "It took {} and 7 brackets."]
)
def test_an_answer_that_does_not_state_its_value_at_the_end_is_wrong_there_and_is_mended(said):
    problem = PAPER.problems("train")[0]
    worked = problem.rationale.replace("This equation can be written as", "It is").rpartition("\n")[0]
    answer = f"{worked}\n(Final response) {said.format(problem.gold)}"
    assert not PAPER.is_right(problem, answer)
    fault = PAPER.first_error(problem, answer)
    last = PAPER.layout.split(answer)[-1]
    assert (fault.step, fault.part) == (last.label, last.text)
    assert fault.reason == "the answer does not end in its value"
    mended = run(TaskEditor(PAPER).improve(problem, answer, fault, random.Random(0)))
    assert PAPER.layout.refusal(answer, fault, mended) is None
    assert PAPER.is_right(problem, mended)
    assert PAPER.first_error(problem, mended) is None


def test_an_answer_that_is_longer_than_what_is_read_and_ends_wrongly_has_a_fault():
    problem = EASY.problems("train")[0]
    for filler in ("hm\n" * 10_000, " " * 30_000):
        answer = f"{problem.rationale}\n{filler}\n{int(problem.gold) + 1}"
        assert not EASY.is_right(problem, answer)
        assert EASY.first_error(problem, answer) is not None


# ── one wrong step, and the right end ─────────────────────────────────────────────────────────────────────────

Planted = tuple[str, str] | None  # an answer, and the label of the step that is wrong in it
OPERATION = re.compile(r"(-?\d+)([-+*])(-?\d+)=(-?\d+)")
VALUE = re.compile(r"(-?\d+)\.$")


def wrong_value(problem: Problem, rng: random.Random) -> Planted:
    """A side of an equation with another value."""
    return corrupted(problem.rationale, rng)


def slips_that_cancel(problem: Problem, rng: random.Random) -> Planted:
    """`2*2=3`, and then `9+3=13`: a wrong value is used, and the end is right."""
    first, second, last = problem.rationale.split("\n")
    head, _, value = first.partition("=")
    other = str(int(value) + rng.choice([-10, -2, -1, 1, 2, 10]))
    left, sign, right, result = OPERATION.fullmatch(second).groups()
    left, right = (other, right) if problem.chat.text.startswith("((") else (left, other)
    return f"{head}={other}\n{left}{sign}{right}={result}\n{last}", "1"


def slips_that_cancel_in_words(problem: Problem, rng: random.Random) -> Planted:
    """A wrong value of a bracket, and the right ones in the final equation."""
    *lines, equation, last = problem.rationale.split("\n")
    names = [re.search(r"calculate ([A-H]) =", line)[1] for line in lines[1:]]
    values = {name: VALUE.search(line)[1] for name, line in zip(names, lines[1:], strict=True)}
    place = rng.randrange(1, len(lines))
    other = str(int(VALUE.search(lines[place])[1]) + rng.choice([-10, -2, -1, 1, 2, 10]))
    lines[place] = VALUE.sub(f"{other}.", lines[place])
    formula, *_, result = equation.partition("is ")[2].split(" = ")
    filled = re.sub("[A-H]", lambda name: values[name[0]], formula)
    return "\n".join([*lines, f"{equation.partition('is ')[0]}is {formula} = {filled} = {result}", last]), str(
        place + 1
    )


def wrong_copy(problem: Problem, rng: random.Random) -> Planted:
    """Another operator, or a number that is not there; the result is what it should be."""
    lines = problem.rationale.split("\n")
    place = rng.randrange(2)
    left, sign, right, result = OPERATION.fullmatch(lines[place]).groups()
    if rng.random() < 0.5:
        sign = rng.choice([other for other in "+-*" if other != sign])
    else:
        left = str(int(left) + rng.choice([-2, -1, 1, 2]))
    if value_of(parse(f"{left}{sign}{right}")) == int(result):
        return None  # 9-0 for 9+0: nothing untrue is said
    lines[place] = f"{left}{sign}{right}={result}"
    return "\n".join(lines), str(place + 1)


def wrong_pick(problem: Problem, rng: random.Random) -> Planted:
    """Another word of the list, a misspelt one, or one twice."""
    *picks, last = problem.rationale.split("\n")
    place = rng.randrange(len(picks))
    other = rng.choice([word for word in picks if word != picks[place]])
    match rng.randrange(3):
        case 0:
            picks[place] = other
        case 1:
            picks[place] = f"{picks[place]}x"
        case 2:
            picks.insert(place + 1, picks[place])
            place += 1
    return "\n".join([*picks, last]), str(place + 1)


def wrong_statement(problem: Problem, rng: random.Random) -> Planted:
    """A letter, a letter number or a word changed, a word left out, or two neighbours of an order exchanged."""
    step = rng.choice(SORTED.layout.split(problem.rationale)[:-1])
    forms = [r'="(\w)"', r"\((\d+)\)", r'"(\w\w+)"', r'("\w\w+")', r'("\w+")(?=[^?<]* < )[^"]*("\w+")']
    form = rng.choice(forms)
    found = list(re.finditer(form, step.text))
    if not found:
        return None
    one = rng.choice(found)
    if form == forms[-1]:
        changed = one[2] + one[0][len(one[1]) : -len(one[2])] + one[1]
    elif form == forms[3]:
        changed = ""
    else:
        changed = one[0].replace(one[1], str(int(one[1]) % 26 + 1) if one[1].isdigit() else one[1][:-1] + "#")
        changed = changed.replace("#", "b" if one[1][-1] != "b" else "c")
    start = problem.rationale.index(step.text, step.start)
    text = step.text[: one.start()] + changed + step.text[one.end() :]
    return problem.rationale[:start] + text + problem.rationale[start + len(step.text) :], step.label


def wrong_date(problem: Problem, rng: random.Random) -> Planted:
    """Another date, another number of days, another direction, or another name for a date."""
    step = rng.choice(NUMBERED.split(problem.rationale)[:-1])
    swaps = {"after": "before", "before": "after", "Today": "Tomorrow", "Tomorrow": "Yesterday", "Yesterday": "Today"}
    found = list(
        re.finditer(r"(?<=[ =])\d+/\d+/\d+|(?<=[ +-])\d+(?=[ dwmy])|after|before|Today|Tomorrow|Yest\w+", step.text)
    )
    found = found or list(re.finditer(r"\d+", step.text))
    one = rng.choice(found)
    changed = swaps.get(one[0]) or another_date(one[0], rng)
    return replaced(problem.rationale, step, one, changed)


def wrong_date_in_other_words(problem: Problem, rng: random.Random) -> Planted:
    """The same in an answer in other words."""
    wrong, label = wrong_date(problem, rng)
    if any(day is None for day, _ in dates(wrong)):
        return None
    answer = dates_reworded(replace(problem, rationale=wrong), rng)
    index = [step.label for step in NUMBERED.split(wrong)].index(label) + answer.startswith("February 2004 has")
    return answer, NUMBERED.split(answer)[index].label


def another_date(text: str, rng: random.Random) -> str:
    """The number or the date with one part changed."""
    parts = text.split("/")
    place = rng.randrange(len(parts))
    parts[place] = str(int(parts[place]) % 27 + rng.choice([1, 2])).zfill(2 if len(parts) > 1 else 1)
    return "/".join(parts) if "/".join(parts) != text else f"{text}1"


def wrong_claim(problem: Problem, rng: random.Random) -> Planted:
    """Another object, another place, or two neighbours of an order exchanged."""
    step = rng.choice(NUMBERED.split(problem.rationale)[:-1])
    names = problem.data["names"]
    name = "|".join(map(re.escape, names))
    match rng.randrange(3):
        case 0:
            found = list(re.finditer(rf"\b(?:{name})\b", step.text))
        case 1:
            found = list(re.finditer(r"(?<= )\d(?=\.$)|^\d", step.text))
        case _:
            found = list(re.finditer(rf"\b({name})(, | < |<)({name})\b", step.text))
    if not found:
        return None
    one = rng.choice(found)
    changed = (
        f"{one[3]}{one[2]}{one[1]}" if one.re.groups else str(int(one[0]) % len(names) + 1) if one[0].isdigit() else ""
    )
    return replaced(problem.rationale, step, one, changed or rng.choice([n for n in names if n != one[0]]))


def replaced(answer: str, step: Step, part: re.Match[str], changed: str) -> Planted:
    """The answer with one part of a step changed."""
    start = answer.index(step.text, step.start) + part.start()
    return answer[:start] + changed + answer[start + len(part[0]) :], step.label


PLANTS: dict[str, tuple[Any, Callable[[Problem, random.Random], Planted]]] = {
    "easy value": (EASY, wrong_value),
    "easy slips": (EASY, slips_that_cancel),
    "easy copy": (EASY, wrong_copy),
    "paper value": (PAPER, wrong_value),
    "paper slips": (PAPER, slips_that_cancel_in_words),
    "pick": (PICKED, wrong_pick),
    "statement": (SORTED, wrong_statement),
    "easy date": (MOVED, wrong_date),
    "paper date": (DATED, wrong_date),
    "other date": (DATED, wrong_date_in_other_words),
    "easy claim": (ORDERED, wrong_claim),
    "paper claim": (DEDUCED, wrong_claim),
}


def found_at_their_step(kind: str, count: int, seed: int) -> tuple[int, int]:
    """How many of `count` answers that end right with one wrong step have a fault there, of how many there are."""
    (task, plant), rng, there, at = PLANTS[kind], random.Random(seed), 0, 0
    asked = problems(task)
    for _ in range(count):
        problem = rng.choice(asked)
        planted = plant(problem, rng)
        if planted is None or not task.is_right(problem, planted[0]):
            continue
        fault = task.first_error(problem, planted[0])
        assert fault is not None, (problem.chat.text, planted)
        there += 1
        at += fault.step == planted[1]
    return at, there


@pytest.mark.parametrize("kind", PLANTS)
def test_a_wrong_step_before_the_right_end_is_found_where_it_is(kind):
    at, there = found_at_their_step(kind, 1000, seed=0)
    assert there > 250
    assert at >= 0.99 * there


@pytest.mark.long
@pytest.mark.parametrize("kind", PLANTS)
@pytest.mark.parametrize("seed", range(1, 6))
def test_of_ten_thousand_wrong_steps_hardly_one_is_found_elsewhere(kind, seed):
    at, there = found_at_their_step(kind, 10_000, seed)
    assert at >= 0.99 * there


def test_a_lucky_answer_is_no_right_one():
    problem = next(p for p in problems(MultistepArithmetic(train=15_000)) if p.chat.text == "(7+(2*2))=")
    answer = "2*2=3\n9+3=13\n11"
    assert EASY.is_right(problem, answer)
    assert EASY.first_error(problem, answer).step == "1"


# ── no false alarm ────────────────────────────────────────────────────────────────────────────────────────────


def in_other_words(task, problem: Problem, rng: random.Random) -> str:
    if task is PAPER:
        return reworded(problem.rationale, rng)
    if task is DEDUCED:
        return deduction_reworded(problem, rng)
    return dates_reworded(problem, rng) if task is DATED else problem.rationale


def right_answers_have_no_fault(task, count: int, seed: int) -> None:
    rng = random.Random(seed)
    asked = problems(task)
    for _ in range(count):
        problem = rng.choice(asked)
        answer = problem.rationale if rng.random() < 0.3 else in_other_words(task, problem, rng)
        assert task.first_error(problem, answer) is None, (problem.chat.text, answer)


@all_tasks
def test_a_right_answer_has_no_fault(task):
    right_answers_have_no_fault(task, 500, seed=0)


@pytest.mark.long
@all_tasks
def test_of_ten_thousand_right_answers_none_has_a_fault(task):
    right_answers_have_no_fault(task, 10_000, seed=1)
