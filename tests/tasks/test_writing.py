"""Constrained writing: wishes by hand, grades of bad texts, problems that their own text solves."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.partners.speaking import answers as to_judge
from tests.partners.speaking import run

from sparring.common.errors import ConfigError
from sparring.core.chat import question
from sparring.core.task import Grades, Problem, offers
from sparring.parsing.wishes import KINDS, Wish, read_text
from sparring.partners.task_judge import TaskJudge
from sparring.tasks.writing import FORMS, VOCABULARY, Writing

EASY, OPEN = (Writing(name, train=150, development=10, test=10) for name in ("easy", "open"))
TASKS = pytest.mark.parametrize("task", [EASY, OPEN], ids=["easy", "open"])
VERSE = "Ben saw a light\nAnna, all night,\nTom’s well-read knight"


def asked(*wishes: list, prompt: str = "?", category: str = "note") -> Problem:
    return Problem("a", question(prompt), "", data={"wishes": [list(wish) for wish in wishes]}, bin=category)


# ---- one wish


@pytest.mark.parametrize(
    ("wish", "met", "unmet"),
    [
        (Wish("words", 3), "Tom’s well-read aunt", "one two"),
        (Wish("most", 2), "one, two!", "one two three"),
        (Wish("sentences", 2), 'He said "Go!" She went…', "He went. She stayed. So?"),
        (Wish("sentences", 1), "It is 3.5 km", "It is. It is"),
        (Wish("lines", 2), "a\n\n---\nb", "a b"),
        (Wish("has", ["red", "sun"]), "The SUN is red.", "The sun is redder."),
        (Wish("no_letter", "e"), "A Big dog", "The dog"),
        (Wish("no_letter", "e"), "dog", "BEE"),
        (Wish("no_word", "and"), "a sandy andante", "sun And sea"),
        (Wish("first", "sun"), "“Sun and sea”", "The sun"),
        (Wish("last", "sea"), "sun and sea!)", "sea and sun"),
        (Wish("sorted"), "ant Bee cow", "ant cow bee"),
        (Wish("sorted"), "ant bee", "ant"),
        (Wish("line_words", 2), "old lamp\n- new boat", "old lamp\nboat"),
        (Wish("sorted_lines"), "Apple\nbee\nCow", "bee\nApple"),
        (Wish("acrostic", "BAT"), VERSE, "Ben\nAnna"),
        (Wish("rhyme"), "a light\nthe night", VERSE),
        (Wish("rhyme"), "all light\nThe Night!\na lake\na cake", "a light\nthe light"),
        (Wish("title"), "OLD LAMP\nIt is for sale.", "OLD LAMP"),
        (Wish("title"), "1. SALE\nNow", "Old Lamp\nIt is for sale."),
    ],
)
def test_a_wish_is_met_or_not(wish, met, unmet):
    assert wish.is_met(read_text(met))
    assert not wish.is_met(read_text(unmet))
    assert not wish.is_met(read_text("…"))


def test_every_kind_of_wish_is_tried_above_and_asked_for():
    rows = test_a_wish_is_met_or_not.pytestmark[0].args[1]
    drawn = {wish[0] for task in (EASY, OPEN) for problem in task.problems("train") for wish in problem.data["wishes"]}
    assert {wish.kind for wish, _, _ in rows} == drawn == set(KINDS)


# ---- grades


def test_a_grade_is_the_share_of_wishes_met_times_the_soundness():
    problem = asked(["words", 3], ["has", ["sun"]], ["no_letter", "o"])
    assert EASY.grade(problem, "red sun sky") == 1
    assert EASY.grade(problem, "red sun dog") == pytest.approx(2 / 3)
    assert EASY.grade(problem, "sun") == pytest.approx(2 / 3 * 1 / 3)  # two of three words are missing
    assert EASY.grade(problem, "sun sun sun") == pytest.approx(1 / 3)  # two of three words are repeated
    assert EASY.grade(problem, "sun abc xyz") == pytest.approx(1 / 3)  # two of three words are none
    assert EASY.grade(problem, "plan: _ sun _\nred sun sky") == 1
    assert EASY.grade(problem, "plan: red sun sky") == 0


def test_an_open_text_may_hold_a_rare_word_but_neither_quotations_nor_gibberish():
    wishes = 'contain the words "lamp" and "river"; have at most 20 words'
    problem = asked(["has", ["lamp", "river"]], ["most", 20], prompt=f"Write a note. It should {wishes}.")
    for good in (
        "She left the old lamp near the river.",
        "In Zürich we bought a lamp by the river.",
        "Don't leave the lamp at the river, Xqzt.",
    ):
        assert OPEN.is_right(problem, good), good
    assert OPEN.grade(problem, wishes) < 0.3
    assert OPEN.grade(problem, "lamp river lamp river lamp river lamp river") == 0  # prose without a function word
    assert OPEN.grade(problem, "the lamp river xqj vvk zzx wqp") < 0.8
    assert OPEN.grade(problem, "The river lamp.") < 0.7  # at least six words are asked for
    said = "She left the old lamp near the river."
    assert OPEN.grade(problem, f"{said} {said}") < OPEN.grade(problem, said) == 1


@TASKS
def test_no_degenerate_text_grades_high(task):
    for problem in task.problems("train"):
        words = problem.gold.split()
        wished = " ".join(word for kind, value in problem.data["wishes"] if kind == "has" for word in value)
        bad = {
            "nothing": "",
            "the prompt": problem.chat.text,
            "the wishes": problem.chat.text.split("It should")[-1],
            "a plan alone": problem.rationale.split("\n")[0],
            "one word": words[0],
            "one word again and again": f"{words[0]} " * len(words),
            "the wished words again and again": f"{wished} " * 10,
            "the text three times": "\n".join([problem.gold] * 3),
            "gibberish": " ".join(f"xq{word[::-1]}" for word in words),
        }
        graded = {what: task.grade(problem, text) for what, text in bad.items()}
        assert all(grade <= 0.51 for grade in graded.values()), (problem.chat.text, graded)


@TASKS
@given(text=st.text(max_size=200))
def test_a_grade_is_a_share_whatever_is_written(task, text):
    problem = task.problems("train")[0]
    assert 0 <= task.grade(problem, text) <= 1
    assert task.is_right(problem, text) == (task.grade(problem, text) == 1)


def test_the_task_judge_gives_the_grade_and_compares_by_it():
    problem = asked(["words", 3], ["has", ["sun"]], ["no_letter", "o"])
    texts = to_judge("red sun sky", "red sun dog", "sun")
    scores = run(TaskJudge(EASY).score(problem, texts, random.Random(0))).values
    assert scores == tuple(EASY.grade(problem, answer.text) for answer in texts)
    by_pairs = run(TaskJudge(EASY, mode="pairwise").score(problem, texts, random.Random(0))).values
    assert by_pairs[0] > by_pairs[1] > by_pairs[2]
    turned = run(TaskJudge(EASY, wrong=1.0).score(problem, texts, random.Random(0))).values
    assert turned == pytest.approx([1 - score for score in scores])


# ---- problems


@TASKS
def test_a_problem_comes_with_a_plan_and_a_text_that_meets_all(task):
    assert isinstance(task, Grades)
    assert offers(task) == {"question", "worked", "thoughts", "gold", "rationale"}
    for problem in task.problems("train"):
        assert task.grade(problem, problem.gold) == 1
        assert problem.rationale == f"{problem.reasoning}\n{problem.gold}"
        assert problem.reasoning.startswith("plan: ")
        assert 2 <= len(problem.data["wishes"]) <= (3 if task is EASY else 5)


def test_an_easy_problem_is_short_and_says_all_its_wishes():
    for problem in EASY.problems("train"):
        assert set(problem.gold.split()) <= VOCABULARY
        assert len(problem.chat.text) <= 45
        assert problem.chat.text.count(";") == len(problem.data["wishes"]) - 1
        assert problem.bin == f"{len(problem.data['wishes'])} wishes"


def test_open_problems_have_four_categories_and_say_what_is_asked():
    problems = OPEN.problems("train")
    assert {problem.bin for problem in problems} == set(FORMS) == {"note", "list", "verse", "notice"}
    for problem in problems:
        assert "At least 6 words" in problem.chat.text or "at least 6 words" in problem.chat.text
        for kind, value in problem.data["wishes"]:
            said = value if kind == "has" else [] if value is None else [str(value)]
            assert all(word in problem.chat.text for word in said)


def test_mistakes_in_the_settings_are_one_line():
    with pytest.raises(
        ConfigError, match=r"unknown range of writing 'opne' \(did you mean 'open'\?\); choose from easy, open"
    ):
        Writing("opne")
    with pytest.raises(ConfigError, match="train = -1; give 0 or more problems"):
        Writing(train=-1)
