"""`sparring exam` as a user types it."""

from __future__ import annotations

import json

import pytest

from tests.cli.program import refused, sparring_

SMALL = ("--set", "task.development=20", "--set", "task.train=20", "--calls", "24")


def test_it_prints_the_measures_and_writes_every_reply(tmp_path):
    said = sparring_("exam", "tripost", *SMALL, "--role", "critic", "--output", tmp_path / "exam.json")
    assert said.code == 0, said
    assert "phase 2 (tripost): critic, task_critic; exam critic: 24 calls on 12 problems" in said.out
    rows = [line.split() for line in said.out.splitlines()]
    assert ["score", "100.0%", "86.2%", "–", "100.0%", "24", "100%"] in rows  # Wilson's lower bound: 24 / (24 + 3.84)
    assert ["false", "alarms", "0.0%", "0.0%", "–", "24.2%", "12", "0%"] in rows
    assert "price of 100 calls: 0.0000" in said.out
    (told,) = json.loads((tmp_path / "exam.json").read_text())
    assert len(told["items"]) == 24
    assert set(told["items"][0]) >= {"problem", "probe", "given", "expected", "reply", "verdict", "marks"}


def test_a_partner_that_is_wrong_half_the_time_shows(tmp_path):
    said = sparring_("exam", "saie", *SMALL, "--set", "phase.saie.discussant.wrong=1.0", "--run", tmp_path / "exam")
    assert said.code == 0, said
    assert ["score", "0.0%"] in [line.split()[:2] for line in said.out.splitlines()]
    (told,) = json.loads((tmp_path / "exam" / "exam.json").read_text())
    named = next(measure for measure in told["measures"] if measure["name"] == "wrong step named")
    assert (named["n"], named["value"], named["low"]) == (0, None, None)  # easy remarks name no step: no figure


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("exam",), ("Missing argument",)),
        (("exam", "tripst"), ("'tripst'", "did you mean 'tripost'")),
        (("exam", "sft"), ("names no partner",)),
        (("exam", "tripost", "--role", "teacher"), ("'teacher'", "'critic'")),
        (("exam", "tripost", "--role", "judge"), ("no phase of the recipe has a judge",)),
        (("exam", "tripost", "--calls", "0"), ("--calls", "greater than or equal to 1")),
        (("exam", "response_preference", "--preferences", "no.json"), ("there is no file no.json",)),
        (("exam", "tripost", "--output", "/proc/no/exam.json"), ("cannot write", "/proc/no")),
    ],
)
def test_a_mistake_is_one_line(words, says):
    refused(*words, says=says)
