import json
import os
import random
import re
import time
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.partners.speaking import run

from sparring.common.errors import ConfigError
from sparring.core.task import offers
from sparring.parsing.ordering.claims import Claim, Reader
from sparring.parsing.steps import Fault
from sparring.partners.task_editor import TaskEditor
from sparring.tasks.logical_deduction import LogicalDeduction

EASY = LogicalDeduction(train=150, development=20, test=80)
PAPER = LogicalDeduction("paper", train=60, development=20, test=60)
QUESTION = """\
The following paragraphs each describe a set of three objects arranged in a fixed order. The statements are logically \
consistent within each paragraph. On a branch, there are three birds: a blue jay, a quail, and a falcon. The falcon is \
to the right of the blue jay. The blue jay is to the right of the quail."""
OPTIONS = [f"The {bird} is the second from the left" for bird in ("blue jay", "quail", "falcon")]
BIRDS = PAPER._worked(QUESTION, OPTIONS, "A")
WORKED = """\
(1) From left to right, the positions are 1 to 3.
(2) Clue 1: blue jay < falcon.
(3) Clue 2: quail < blue jay.
(4) By clues 1 and 2: blue jay = 2.
(5) By clue 1: falcon = 3.
(6) So quail = 1.
(7) The order is: quail, blue jay, falcon.
(8) The blue jay is the second from the left.
(Final response) So the answer is (A)."""

easy_problems = st.sampled_from([*EASY.problems("train"), *EASY.problems("test")])
paper_problems = st.sampled_from([*PAPER.problems("train"), *PAPER.problems("test")])


# ── problems ──────────────────────────────────────────────────────────────────────────────────────────────────


def orders(problem):
    """All orders of the names in which every clue is true, by trying them all."""
    names = problem.data["names"]
    for order in permutations(names):
        place = {name: index for index, name in enumerate(order, start=1)}
        chains = [re.split(r" ?([<=]) ?", clue) for clue in problem.data["clues"]]
        if all(place[a] < place[b] if sign == "<" else place[a] == int(b) for a, sign, b in chains):
            yield order


@pytest.mark.parametrize("task", [EASY, PAPER], ids=["easy", "paper"])
def test_the_clues_allow_one_order_and_none_of_them_can_be_spared(task):
    for problem in task.problems("train"):
        assert len(list(orders(problem))) == 1
        for left_out in problem.data["clues"]:
            clues = [clue for clue in problem.data["clues"] if clue != left_out]
            fewer = type(problem)(problem.id, problem.chat, data={**problem.data, "clues": clues})
            assert len(list(orders(fewer))) > 1


def test_training_problems_have_three_or_five_objects_and_held_out_ones_also_seven():
    assert {p.bin for p in PAPER.problems("train")} == {"seen, 3 objects", "seen, 5 objects"}
    assert {p.bin for p in PAPER.problems("test")} == {"seen, 3 objects", "seen, 5 objects", "unseen, 7 objects"}
    assert {p.bin for p in LogicalDeduction("paper", train=9, seen_objects=(4,)).problems("train")} == {
        "seen, 4 objects"
    }
    assert {p.bin for p in EASY.problems("train")} == {"3 objects", "4 objects"}


def test_a_question_is_worked_out_step_by_step():
    assert BIRDS.rationale == WORKED
    assert BIRDS.chat.text == "\n".join(
        [QUESTION, "Options:", *(f"({x}) {o}" for x, o in zip("ABC", OPTIONS, strict=True))]
    )


def test_every_ability_is_offered():
    assert offers(EASY) == {"question", "worked", "thoughts", "gold", "rationale", "first_error", "solution", "claims"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"range": "papper"}, "unknown range 'papper' (did you mean 'paper'?); choose from easy, paper"),
        ({"range": "paper", "seen_objects": (3, 9)}, "seen_objects = [3, 9]; choose from 3, 4, 5, 6, 7"),
        ({"test": -1}, "test = -1; give 0 or more problems"),
        ({"file": "a.json"}, 'a file is for the paper\'s range (got range = "easy"); set range = "paper"'),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        LogicalDeduction(**settings)


# ── right answers and first errors ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        "A",
        "(A)",
        "The answer is A.",
        "**Answer: (A)** The blue jay is the second from the left",
        "The blue jay",
        "blue jay",
        "The falcon is last.\nThe second from the left is the blue jay.",
        "So the blue jay is in position 2.",
        "(1) The quail is the leftmost.\n(Final response) So the answer is (A).",
    ],
)
def test_an_option_is_chosen_by_letter_text_name_or_place(answer):
    assert PAPER.is_right(BIRDS, answer)
    assert PAPER.first_error(BIRDS, answer) is None


@pytest.mark.parametrize("answer", ["B", "(A) or (B)", "The falcon", "The blue jay is the leftmost.", "", "A falcon."])
def test_another_option_or_none_is_wrong(answer):
    assert not PAPER.is_right(BIRDS, answer)
    assert PAPER.first_error(BIRDS, answer) is not None


@pytest.mark.parametrize(
    "answer",
    [
        '(1) The falcon is right of the blue jay: "(left) ? blue jay ? falcon ? (right)".\n'
        '(2) Combining the clues, the ordering is: "(left) quail blue jay falcon (right)". So the answer is (A).',
        "Since the blue jay is to the right of the quail, it is not the leftmost.\n"
        "The falcon is to the right of both. Hence the quail is first and the falcon is the rightmost.\n(A)",
        "From right to left, the order is falcon, blue jay, quail.\n(A)",
        "If the falcon were the leftmost, no bird could be to the left of it, so it is not.\nquail < falcon\n(A)",
        "The first clue is about the falcon. The falcon cannot be in position 1.\n1 = quail\n(A)",
        "quail < blue jay < falcon\nThe answer is (A).",
    ],
)
def test_other_valid_arguments_are_no_errors(answer):
    assert PAPER.first_error(BIRDS, answer) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (WORKED.replace("blue jay < falcon", "falcon < blue jay"), ("2", "falcon < blue jay")),
        (WORKED.replace("Clue 2: quail < blue jay", "Clue 2: quail < falcon"), ("3", "quail < falcon")),
        (WORKED.replace("quail = 1", "quail = 3"), ("6", "quail = 3")),
        (WORKED.replace("are 1 to 3", "are 1 to 4"), ("1", "positions are 1 to 4")),
        (WORKED.replace("clues 1 and 2", "clues 1 and 3"), ("4", "blue jay = 2")),
        (WORKED.replace("quail, blue jay, falcon", "quail, falcon, blue jay"), ("7", "quail, falcon, blue jay")),
        (WORKED.replace("quail, blue jay, falcon", "quail, blue jay"), ("7", "quail, blue jay")),
        (WORKED.replace("quail < blue jay", "hawk < blue jay"), ("3", "<")),
        (WORKED.replace("(8) The blue jay", "(8) The falcon"), ("8", "falcon is the second from the left")),
        (WORKED.replace("is (A)", "is (B)"), ("Final response", "So the answer is (B).")),
        ("Clue 1: blue jay < falcon.\nBy clue 1: blue jay = 2.\n(A)", ("2", "blue jay = 2")),
        ("The quail is not the leftmost.\n(A)", ("1", "quail is not the leftmost")),
        ("From right to left, the order is quail, blue jay, falcon.\n(A)", ("1", "quail, blue jay, falcon")),
        ("\n", ("1", "")),
    ],
)
def test_the_first_false_statement_is_found(answer, fault):
    found = PAPER.first_error(BIRDS, answer)
    assert (found.step, found.part) == fault
    assert found.reason


def test_a_deduction_may_use_the_steps_before_but_not_clues_that_it_does_not_name():
    early = "(1) By clue 1: blue jay = 2.\n(Final response) So the answer is (A)."
    assert PAPER.first_error(BIRDS, early).reason == "it does not follow from clue 1 and the steps before"
    later = "(1) Clue 2: quail < blue jay.\n(2) By clue 1: blue jay = 2.\n(Final response) So the answer is (A)."
    assert PAPER.first_error(BIRDS, later) is None


WORDS = "quail,falcon,is,not,the,leftmost,to the right of,1,=,<,?,and,Clue 1:,order,position 2,.,\n,(A),(1),second"


@given(words=st.lists(st.sampled_from([*WORDS.split(","), ",", "from left to right", "Clues 9 and 12"]), max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_words_can_be_read_and_wrong_answers_have_a_fault(words):
    answer = " ".join(words)
    fault = PAPER.first_error(BIRDS, answer)
    assert (fault is not None) or PAPER.is_right(BIRDS, answer)
    assert fault is None or fault.part in answer
    assert PAPER.solve(BIRDS, answer).startswith(answer)


@pytest.mark.parametrize(
    "unit", ["quail < ", "the ", "Clue 1, ", "order quail, ", "(", "1 = ", "? quail ", "second from "]
)
def test_long_answers_take_little_time(unit):
    start = time.process_time()
    PAPER.first_error(BIRDS, unit * 5_000)
    PAPER.is_right(BIRDS, unit * 5_000)
    assert time.process_time() - start < 2


# ── solutions and remarks ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(problem=paper_problems | easy_problems, rng=st.randoms(use_true_random=False))
def test_a_worked_answer_is_continued_from_any_step(problem, rng):
    task = PAPER if "objects arranged" in problem.chat.text else EASY
    step = rng.choice(task.layout.split(problem.rationale))
    assert task.solve(problem, problem.rationale[: step.start]) == problem.rationale
    assert task.solve(problem, problem.rationale) == problem.rationale


@given(problem=paper_problems, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_hints_are_true_claims_are_false_and_neither_gives_the_answer_away(problem, seed):
    (order,) = orders(problem)
    for answer in (problem.rationale, "", problem.rationale.replace("1", "2")):
        for say, is_true in ((PAPER.hint, True), (PAPER.false_claim, False)):
            said = say(problem, answer, random.Random(seed))
            (claim,) = [
                c for c in Reader(problem.data["names"]).claims(said.partition(": ")[2]) if isinstance(c, Claim)
            ]
            one, other = claim.written.split(" < ")
            assert (order.index(one) < order.index(other)) == is_true
            assert not PAPER.is_right(problem, said)
            assert PAPER.is_true(problem, answer, said) is is_true


@pytest.mark.parametrize(
    ("remark", "truth"),
    [
        ("The {first} is the leftmost.", True),
        ("You have the {first} to the right of the {last}, I fear.", False),
        ("The {last} is to the right of the {first}.", True),
        ("Read the clues once more.", None),
        ("By clue 99, the {first} is the leftmost.", False),
    ],
)
def test_remarks_in_words_are_checked(remark, truth):
    (order,) = orders(BIRDS)
    assert PAPER.is_true(BIRDS, WORKED, remark.format(first=order[0], last=order[-1])) is truth


def test_a_hint_is_about_the_first_false_statement():
    wrong = WORKED.replace("quail = 1", "quail = 3")
    assert re.fullmatch(r"Check step \(6\): .*quail.*\.", PAPER.hint(BIRDS, wrong, random.Random(0)))


def test_an_editor_that_errs_chooses_another_option():
    for task, problem in ((PAPER, BIRDS), (EASY, EASY.problems("train")[0])):
        wrong = run(TaskEditor(task, wrong=1.0).improve(problem, "", Fault("1", ""), random.Random(0)))
        assert not task.is_right(problem, wrong)
        assert task.choice(problem, wrong) is not None


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def real(*names: str) -> tuple[str, ...]:
    folder = os.environ.get("SPARRING_DATA")
    files = [Path(folder or "", "bbh", f"logical_deduction_{name}_objects.json") for name in names]
    if not folder or not all(file.exists() for file in files):
        pytest.skip("SPARRING_DATA holds no BIG-bench-hard")
    return tuple(map(str, files))


def test_every_real_row_is_understood_and_its_target_deduced():
    task = LogicalDeduction("paper", file=real("three", "five"), seen_objects=(3,))
    sizes = [len(task.problems(split)) for split in ("train", "development", "test")]
    assert (sum(sizes), sizes[1]) == (500, 50)
    assert {p.bin for p in task.problems("train")} == {"seen, 3 objects"}
    assert task.notes == (f"unseen rows and rows without a worked answer, all for the test: {sizes[2] - 50}",)
    for split in ("train", "development", "test"):
        for problem in task.problems(split):
            assert task.is_right(problem, problem.rationale)
            assert task.first_error(problem, problem.rationale) is None


def test_rows_of_bigbench_itself_are_read_and_their_options_shuffled(tmp_path):
    rows = []
    for name in ("red", "pink", "gray", "white", "black", "brown"):
        text = (
            f"On a shelf, there are three books: a {name} book, an orange book, and a blue book. The blue book is to "
        )
        text += f"the right of the orange book. The orange book is to the right of the {name} book."
        rows.append(
            {
                "input": text,
                "target_scores": {f"The {n} book is the leftmost.": n == name for n in (name, "orange", "blue")},
            }
        )
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"name": "logical_deduction", "keywords": ["a", "b"], "examples": rows}))
    task = LogicalDeduction("paper", file=str(file), development=1, test=1)
    problems = [p for split in ("train", "development", "test") for p in task.problems(split)]
    assert len(problems) == 6
    assert len({problem.gold for problem in problems}) > 1
    for problem in problems:
        assert task.first_error(problem, problem.rationale) is None
    with pytest.raises(ConfigError, match="a file has no new problems"):
        task.endless()


@pytest.mark.parametrize(
    "row",
    [
        {"input": QUESTION, "target": "(A)"},
        {"input": f"{QUESTION}\nOptions:\n(A) a\n(B) b", "target": "(C)"},
        {"input": f"{QUESTION}\nOptions:\n(A) a\n(B) b", "target": "yes"},
        {"input": QUESTION, "target_scores": {"a": 0, "b": 0}},
        {"input": QUESTION, "target_scores": ["a"]},
    ],
)
def test_a_malformed_row_is_named(tmp_path, row):
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"examples": [row]}))
    with pytest.raises(ConfigError, match=r"task\.json, row 1: "):
        LogicalDeduction("paper", file=str(file)).problems("train")


def test_a_question_that_no_program_reads_is_asked_in_the_test_only(tmp_path):
    rows = [{"input": f"{n} of them are odd.\nOptions:\n(A) yes\n(B) no", "target": "(B)"} for n in range(5)]
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"examples": rows}))
    with pytest.raises(ConfigError, match="no row is left to train on"):
        LogicalDeduction("paper", file=str(file)).problems("test")
    task = LogicalDeduction("paper", file=str(file), train=0, development=0)
    assert len(task.problems("test")) == 5
    assert task.notes[0] == "rows without a worked answer, no option found: 5"
    problem = task.problems("test")[0]
    assert task.is_right(problem, "The answer is (B).")
    assert task.first_error(problem, "The answer is (B).") is None
    assert task.first_error(problem, "All are even.\nThe answer is (A).").step == "2"
    with pytest.raises(ConfigError, match="no program can read the question"):
        task.solve(problem, "")


def test_a_file_for_evaluation_alone_is_all_test(tmp_path):
    generated = LogicalDeduction("paper", train=20, development=1, test=1).problems("train")
    rows = [{"input": problem.chat.text, "target": f"({problem.gold})"} for problem in generated]
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"examples": rows}))
    assert len(LogicalDeduction("paper", file=str(file), train=0, development=0).problems("test")) == 20
    assert len(LogicalDeduction("paper", file=str(file)).problems("train")) > 10
