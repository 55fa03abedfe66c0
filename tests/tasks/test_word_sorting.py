"""Word sorting: its problems, and which answers are right."""

from __future__ import annotations

import json
import re
from itertools import islice

import pytest
from tests.tasks.sortings import (
    EASY,
    PAPER,
    PLAIN,
    WORKED,
)

from sparring.common.errors import ConfigError
from sparring.core.task import Checks, Claims, Endless, Solves, Task, offers
from sparring.tasks.word_sorting import WordSorting


@pytest.mark.parametrize("task", [PAPER, EASY, WordSorting(range="paper", seed=7, train=50, development=50, test=50)])
def test_splits_are_disjoint_and_every_gold_and_rationale_is_right(task):
    seen = []
    for split in ("train", "development", "test"):
        assert len(task.problems(split)) == getattr(task, split)
        assert task.problems(split) is task.problems(split)
        for problem in task.problems(split):
            seen.append(problem.chat.text)
            assert task.is_right(problem, problem.gold)
            assert task.is_right(problem, problem.rationale)
            assert not task.is_right(problem, "")
            assert task.first_error(problem, problem.rationale) is None
            words = problem.data["words"]
            assert problem.gold.split() == sorted(words)
            assert len(set(words)) == len(words)
    assert len(set(seen)) == len(seen)
    assert len({p.id for split in ("train", "development", "test") for p in task.problems(split)}) == len(seen)


def test_training_problems_go_on_without_end_and_stay_clear_of_the_held_out_ones():
    problems = list(islice(EASY.endless(), 400))
    held_out = {p.id for split in ("development", "test") for p in EASY.problems(split)}
    assert problems[:60] == list(EASY.problems("train"))
    assert len({p.id for p in problems}) == 400
    assert not held_out & {p.id for p in problems}


def test_the_same_settings_give_the_same_problems_and_another_seed_gives_others():
    assert WordSorting(train=9).problems("train") == WordSorting(train=9).problems("train")
    assert WordSorting(train=9, seed=1).problems("train") != WordSorting(train=9).problems("train")


def test_training_draws_seen_bins_only_and_the_held_out_splits_draw_both():
    assert {p.bin for p in PAPER.problems("train")} == {"seen, 2-7 words"}
    for split in ("development", "test"):
        assert {p.bin for p in PAPER.problems(split)} == {"seen, 2-7 words", "unseen, 8-20 words"}
    assert all(("unseen" in p.bin) == (len(p.data["words"]) > 7) for p in PAPER.problems("test"))
    assert {p.bin for p in EASY.problems("test")} == {"3 words", "4 words", "5 words"}


def test_easy_words_are_short_and_paper_lists_reach_twenty_with_deep_ties():
    assert all(2 <= len(w) <= 4 for p in EASY.problems("train") for w in p.data["words"])
    many = WordSorting(range="paper", train=0, development=0, test=200).problems("test")
    assert max(len(p.data["words"]) for p in many) == 20
    for ordinal in ("second", "third", "fourth"):
        assert any(f"their {ordinal} letters" in p.rationale for p in many)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"range": "papre"}, "did you mean 'paper'"),
        ({"range": "hard"}, "choose from easy, paper"),
        ({"train": -1}, "train = -1; give 0 or more"),
        ({"test": -5}, "test = -5"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(settings, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        WordSorting(**settings)


def test_it_offers_all_that_a_task_can():
    assert all(isinstance(EASY, ability) for ability in (Task, Endless, Checks, Solves, Claims))
    assert offers(EASY) == {"question", "worked", "thoughts", "gold", "rationale", "first_error", "solution", "claims"}


def test_the_paper_range_asks_and_works_out_as_published():
    assert PLAIN.chat.text == "Sort the following words alphabetically: List: sing song apple sink bee bat"
    assert PLAIN.rationale == WORKED


def test_the_easy_range_picks_one_word_after_another():
    problem = EASY.ask(["dog", "ant", "cat", "bee"])
    assert problem.chat.text == "sort: dog ant cat bee"
    assert problem.rationale == "ant\nbee\ncat\nant bee cat dog"


@pytest.mark.parametrize(
    "response",
    [
        "ant bee cat",
        "So the answer is: ant bee cat.",
        "The answer is ant, bee, cat",
        'I have now sorted all the words. The answer is "ant", "bee" and "cat".',
        "The answer is 'ant bee cat'!",
        "**Answer**: ant, bee, and cat.\n\nI hope that helps.",
        "The sorted list is:\n- ant\n- bee\n- cat",
        "Sorted alphabetically:\n1. Ant\n2. Bee\n3. Cat\n",
        "The words in alphabetical order are: ant bee cat (all three).",
        "The answer is: ant < bee < cat",
        "cat comes last.\nant bee cat",
        "The answer is: cat ant bee.\nNo, the answer is: ant bee cat.",
        "#### ant bee cat",
    ],
)
def test_a_right_list_is_right_in_any_ordinary_wording(response):
    assert EASY.is_right(EASY.ask(["cat", "ant", "bee"]), response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n",
        "The answer is:",
        "ant bee",
        "ant bee bee cat",
        "ant bee cat dog",
        "antbeecat",
        "ant cat bee",
        "The answer is: ant bee.\nThere is a cat too.",
        "The answer is: ant bee cat.\nNo, the answer is: cat bee ant.",
        "- ant\n- bee\n- cow\n- cat",
        'Hence, we have "ant" < "bee" < "cat".',
    ],
)
def test_a_wrong_a_missing_and_an_unstated_list_are_wrong(response):
    assert not EASY.is_right(EASY.ask(["cat", "ant", "bee"]), response)


def test_words_that_sentences_are_made_of_are_words_of_a_list_too():
    problem = PAPER.ask(["we", "have", "the", "first", "letter", "and", "order"])
    assert PAPER.is_right(problem, problem.gold)
    assert PAPER.is_right(problem, f"So the answer is: {problem.gold}.")
    assert PAPER.first_error(problem, problem.rationale) is None
    assert PAPER.first_error(problem, problem.rationale.replace('"', "")) is None


def test_the_order_is_that_of_big_bench(data):
    rows = json.loads((data / "bbh" / "word_sorting.json").read_text())["examples"]
    assert len(rows) == 250
    for row in rows:
        problem = PAPER.ask(row["input"].partition("List: ")[2].split())
        assert problem.chat.text == row["input"]
        assert problem.gold == row["target"]
        assert PAPER.is_right(problem, row["target"])
        assert PAPER.is_right(problem, problem.rationale)
        assert PAPER.first_error(problem, problem.rationale) is None
