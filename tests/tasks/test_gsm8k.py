"""Grade-school word problems: the gold number, hints that are true, claims that are false."""

import json
import os
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common import records
from sparring.common.errors import ConfigError
from sparring.core.chat import question
from sparring.core.task import Checks, Claims, Problem, Task, offers
from sparring.parsing import answers
from sparring.parsing.steps import LINES
from sparring.tasks.gsm8k import Gsm8k

DATA = Path(os.environ.get("SPARRING_DATA", ""))
real = pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names the folder of real data sets")

SPLITS = ("train", "development", "test")
CLIPS = {
    "question": "Natalia sold 48 clips in April and half as many in May. How many altogether?",
    "answer": "She sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72, so 72 clips.\n#### 72",
}
FIRST, SECOND = "She sold 48/2 = 24 clips in May.", "She sold 48+24 = 72, so 72 clips."


def row(number: int) -> dict[str, str]:
    return {
        "question": f"What is {number} and 1?",
        "answer": f"It is <<{number}+1={number + 1}>>{number + 1}.\n#### {number + 1}",
    }


@pytest.fixture
def folder(tmp_path):
    """Writes a folder with training and test rows and gives its path."""

    def write(train, test=None, name="{}.jsonl"):
        for split, found in (("train", train), ("test", test)):
            if found is not None:
                (tmp_path / name.format(split)).write_text("".join(json.dumps(one) + "\n" for one in found))
        return str(tmp_path)

    return write


@pytest.fixture
def clips(folder) -> tuple[Gsm8k, Problem]:
    task = Gsm8k(folder([CLIPS]), development=0, test=0)
    return task, task.problems("train")[0]


def all_problems(task):
    return [problem for split in SPLITS for problem in task.problems(split)]


# ---- rows


def test_a_row_is_a_problem_with_its_solution_freed_of_annotations(clips):
    task, problem = clips
    assert problem.chat.text == CLIPS["question"]
    assert problem.gold == "72"
    assert problem.rationale == f"{FIRST}\n{SECOND}\n#### 72"
    assert problem.bin == "2-3 steps"
    assert task.layout == LINES
    assert isinstance(task, Task)
    assert isinstance(task, Claims)
    assert not isinstance(task, Checks)  # which step is the first wrong one cannot be computed
    assert offers(task) == {"question", "worked", "thoughts", "gold", "rationale", "claims"}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"question": "x"}, "unknown column 'answer'; choose from question"),
        ({"question": "x", "answer": 3}, r"answer is a number \(3\), not text"),
        ({"question": "x", "answer": "#### 1.2.3"}, "the last line of the answer is '#### 1.2.3', not"),
        ({"question": " ", "answer": "#### 3"}, "question is empty"),
        (
            {"question": "x", "answer": "It is 3."},
            "the last line of the answer is 'It is 3.', not '#### ' and a number",
        ),
    ],
)
def test_a_bad_row_is_one_clear_line_with_its_number(folder, found, message):
    with pytest.raises(ConfigError, match=rf"train.jsonl, row 2: {message}"):
        Gsm8k(folder([CLIPS, found]), test=0).problems("train")


def test_right_is_the_number_however_it_is_written(clips):
    task, problem = clips
    for right in ("#### 72", "The answer is 72 clips.", "\\boxed{72}", "so 72", "#### $72.00"):
        assert task.is_right(problem, right)
    for wrong in ("", "#### 73", "#### 72.5", "The answer is 48.", "#### -72", "seventy-two"):
        assert not task.is_right(problem, wrong)


# ---- splits


def test_development_is_drawn_from_train_by_the_seed(folder):
    source = folder([row(n) for n in range(30)], [row(n) for n in range(30, 40)])
    first, again, other = (Gsm8k(source, development=10, seed=seed) for seed in (0, 0, 1))
    assert [len(first.problems(split)) for split in SPLITS] == [20, 10, 10]
    assert len({problem.id for problem in all_problems(first)}) == 40
    assert first.problems("development") == again.problems("development")
    assert first.problems("development") != other.problems("development")


def test_sizes_are_limits_that_leave_the_other_splits_as_they_are(folder):
    source = folder([row(n) for n in range(30)], [row(n) for n in range(30, 40)])
    whole, small = Gsm8k(source, development=10), Gsm8k(source, development=10, train=5, test=3)
    assert small.problems("train") == whole.problems("train")[:5]
    assert small.problems("development") == whole.problems("development")
    assert small.problems("test") == whole.problems("test")[:3]


def test_a_training_question_of_the_test_split_is_dropped_and_counted(folder):
    task = Gsm8k(folder([row(1), row(2), row(2)], [row(1)]), development=0)
    assert [problem.gold for problem in task.problems("train")] == ["3"]
    assert task.notes == ("train: 1 dropped (asked in test, too)", "train: 1 dropped (asked before)")


def test_what_is_missing_is_said_at_once(folder, tmp_path):
    source = folder([row(n) for n in range(3)])
    for lacking in (source, f"{source}/train.jsonl"):
        with pytest.raises(
            ConfigError, match=r"has no test rows; give a folder with train\*.jsonl and test\*.jsonl, or"
        ):
            Gsm8k(lacking, development=1).problems("train")
        assert len(Gsm8k(lacking, development=1, test=0).problems("train")) == 2
    with pytest.raises(ConfigError, match="has 3 training problems, too few to draw development = 3"):
        Gsm8k(source, development=3, test=0).problems("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="has no train rows"):
        Gsm8k(str(tmp_path / "empty")).problems("train")
    with pytest.raises(ConfigError, match="there is no file or folder /no/such/place"):
        Gsm8k("/no/such/place").problems("train")
    with pytest.raises(ConfigError, match=r"there is no file missing.jsonl"):
        Gsm8k("missing.jsonl", test=0).problems("train")


def test_sizes_below_nothing_are_refused():
    with pytest.raises(ConfigError, match="development = -1; give a number of problems, 0 or more"):
        Gsm8k(development=-1)


def test_several_files_of_one_split_are_read_in_order(folder):
    folder([row(1)], [row(9)], name="{}-0.jsonl")
    source = folder([row(2)], None, name="{}-1.jsonl")
    assert [p.gold for p in Gsm8k(source, development=0).problems("train")] == ["2", "3"]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("openai/gsm8k", "hub:openai/gsm8k/main"),
        ("hub:openai/gsm8k", "hub:openai/gsm8k/main"),
        ("someone/sums/socratic", "hub:someone/sums/socratic"),
    ],
)
def test_a_hub_id_is_read_split_by_split(monkeypatch, source, named):
    asked = []

    def read(place):
        asked.append(place)
        return [records.Record(place, row(len(asked)))]

    monkeypatch.setattr("sparring.tasks.gsm8k.read_records", read)
    Gsm8k(source, development=0).problems("test")
    assert sorted(asked) == [f"{named}:test", f"{named}:train"]


# ---- hints and false claims


def test_a_hint_is_the_first_step_that_the_answer_lacks_without_the_final_answer(clips):
    task, problem = clips
    rng = random.Random(0)
    assert task.hint(problem, "", rng) == f"Consider this step: {FIRST}"
    assert task.hint(problem, "48 - 24 = 20", rng) == "Consider this step: She sold 48+24 = …, so … clips."
    assert task.hint(problem, f"{FIRST} {SECOND}", rng) == "The final answer is 72."


def test_a_false_claim_changes_one_number_of_a_step_that_the_answer_has(clips):
    task, problem = clips
    for seed in range(50):
        claim = task.false_claim(problem, "In May it is 24.", random.Random(seed))
        before, after = FIRST.split("24")
        said = claim.removeprefix("I think that this step is wrong. It should be: ")
        assert said.startswith(before)
        assert said.endswith(after)
        assert said != FIRST


def test_a_solution_without_annotations_has_hints_and_false_claims_too(folder):
    task = Gsm8k(folder([{"question": "?", "answer": "Let x be it.\nSo x is 20.\n#### 20"}]), development=0, test=0)
    (problem,) = task.problems("train")
    rng = random.Random(0)
    assert task.hint(problem, "", rng) == "Consider this step: Let x be it."
    assert task.hint(problem, "Let x be it.", rng) == "Consider this step: So x is …."
    assert task.hint(problem, "Let x be it. So x is 20.", rng) == "The final answer is 20."
    assert not task.is_right(problem, task.false_claim(problem, "", rng))


@given(st.decimals(min_value=0, max_value=10**7, places=2), st.integers(0, 2), st.booleans(), st.randoms())
def test_a_slip_is_another_number_written_in_the_same_way(number, places, commas, rng):
    shown = f"{number:{',' if commas else ''}.{places}f}"
    line = f"It is <<1*{shown}={shown}>>{shown}."
    problem = Problem("a", question("?"), gold="1", data={"annotated": [line]})
    slipped = Gsm8k().false_claim(problem, "", rng).rsplit("It is ", 1)[1].removesuffix(".")
    assert answers.read_number(slipped) is not None
    assert Fraction(slipped.replace(",", "")) != Fraction(shown.replace(",", ""))
    assert ("." in slipped) == bool(places)
    assert not places or len(slipped.split(".")[1]) == places
    assert not slipped.startswith("-")


# ---- the real rows


@pytest.fixture(scope="module")
def gsm8k():
    task = Gsm8k(str(DATA / "gsm8k"))
    task.problems("train")
    return task


@real
def test_every_real_gold_answer_is_right_and_a_changed_one_wrong(gsm8k):
    problems = all_problems(gsm8k)
    assert len({problem.id for problem in problems}) == len(problems) == 2500
    for problem in problems:
        other = str(int(problem.gold) + 1)
        assert "<<" not in problem.rationale
        assert gsm8k.is_right(problem, problem.rationale)
        assert gsm8k.is_right(problem, problem.gold)
        assert gsm8k.is_right(problem, f"The answer is ${int(problem.gold):,}.00.")
        assert not gsm8k.is_right(problem, problem.rationale.rsplit("####", 1)[0] + f"#### {other}")
        assert not gsm8k.is_right(problem, other)


@real
def test_real_hints_are_true_and_keep_the_final_answer_and_real_claims_are_false(gsm8k):
    rng = random.Random(0)
    for problem in gsm8k.problems("test"):
        *steps, _ = problem.rationale.split("\n")
        for known in range(len(steps)):
            hint = gsm8k.hint(problem, "\n".join(steps[:known]), rng)
            said = hint.removeprefix("Consider this step: ")
            assert said in steps or "…" in said or (known and hint == f"The final answer is {problem.gold}.")
            if "…" in said:
                assert not gsm8k.is_right(problem, said)
        assert gsm8k.hint(problem, problem.rationale, rng) == f"The final answer is {problem.gold}."
        claim = gsm8k.false_claim(problem, problem.rationale, rng).rsplit(": ", 1)[-1]
        assert claim not in steps
