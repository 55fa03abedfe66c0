"""Agreement with experts, on rows that a test wrote and on LLMBar's."""

from __future__ import annotations

import json

import pytest

from sparring.common.errors import ConfigError
from sparring.exams.preferences import PreferencesExam
from sparring.partners.model_judge import ModelJudge
from sparring.speakers.scripted import Scripted
from tests.contracts.test_partners import TASKS
from tests.exams.grading import figures
from tests.exams.test_judge import Longest, Places

ROWS = [
    {"input": "Say a.", "output_1": "a", "output_2": "a, of course", "label": 1},
    {"input": "Say more.", "output_1": "a", "output_2": "a and b", "label": 2},
    {"input": "Say b.", "output_1": "b", "output_2": "not b, no", "label": 1},
    {"input": "Say c.", "output_1": "c", "output_2": "d", "label": 1},
]


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    return str(tmp_path / "rows.json")


def test_agreement_is_by_the_label_and_lengths_are_told_for_both(rows):
    """Of the four pairs the longer one is preferred by the experts in one of three, and by this judge in all three; it
    agrees with them there, and half where the lengths are equal."""
    found = figures("preferences", Longest("first"), source=rows)
    assert found["score"] == (1 + 0.5) / 4
    assert (found["longer preferred"], found["longer for the experts"]) == (1.0, 1 / 3)


def test_the_order_of_the_file_is_not_the_order_of_the_question(rows):
    found = figures("preferences", Places("first"), source=rows)
    assert (found["score"], found["first preferred"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**ROWS[0], "label": 3}, "row 1: label is '3', not 1 or 2"),
        ({"input": "a"}, "row 1: unknown column 'output_1'"),
    ],
)
def test_a_malformed_row_is_named(row, says, tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(ConfigError, match=says):
        PreferencesExam(str(tmp_path / "rows.jsonl")).probes(TASKS["arithmetic-easy"], [], 9, 0)


def test_llmbar_is_read_and_a_scripted_judge_is_told_by_its_places(data):
    judge = ModelJudge(Scripted(("[[A]]",)))
    found = figures("preferences", judge, count=100, source=str(data / "llmbar" / "natural.json"))
    assert (found["score"], found["orders contradictory"], found["unusable replies"]) == (0.5, 1.0, 0.0)
    assert 0.3 < found["longer for the experts"] < 0.9
