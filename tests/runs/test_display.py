"""Where there is no bar, a run that lasts long says now and then how far it is; a short one says nothing more."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from sparring.runs import display as shown
from sparring.runs.display import SILENCE, Display


class Clock:
    """A clock that a test sets."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(shown, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


def steps(clock: Clock, count: int, seconds: float, **options) -> list[str]:
    """What a display prints of `count` training steps, each of which takes `seconds`."""
    file = io.StringIO()
    console = Console(file=file, width=200, force_terminal=options.pop("terminal", False))
    with Display(console, **options) as display:
        display.stage("phase 1 (sft), round 1: steps", count)
        for number in range(count):
            clock.now += seconds
            display.step(number + 1, 2.5)
    return file.getvalue().splitlines()


def test_a_long_round_says_its_progress_and_loss_once_a_minute(clock):
    assert steps(clock, 200, 1.0) == [
        f"  phase 1 (sft), round 1: steps {done} of 200, loss 2.500" for done in (60, 120, 180)
    ]
    assert SILENCE == 60


def test_a_slow_step_is_one_line(clock):
    assert len(steps(clock, 3, 500.0)) == 3


def test_a_short_round_prints_nothing_more(clock):
    assert steps(clock, 59, 1.0) == []


def test_the_minute_begins_with_the_last_line(clock):
    file = io.StringIO()
    display = Display(Console(file=file, width=200))
    clock.now += 600  # before the run begins
    with display:
        display.stage("round 1: episodes", 1_000)
        display.advance("7 tokens/s")
        clock.now += 59
        display.say("a line")
        clock.now += 59
        display.advance("8 tokens/s")
        assert file.getvalue() == "a line\n"
        clock.now += 1
        display.advance("9 tokens/s")
        clock.now += 60
        display.advance()
    assert file.getvalue().splitlines()[1:] == [
        "  round 1: episodes 3 of 1,000, 9 tokens/s",
        "  round 1: episodes 4 of 1,000",
    ]


def test_a_run_with_a_bar_prints_no_such_line(clock):
    assert "200, loss" not in "".join(steps(clock, 200, 1.0, terminal=True))


def test_a_quiet_run_prints_nothing(clock, capsys):
    with Display(quiet=True) as display:
        display.stage("round 1: steps", 10)
        clock.now += 100
        display.step(1, 2.5)
    assert capsys.readouterr() == ("", "")


def test_no_line_breaks_into_what_a_person_types(clock):
    assert len(steps(clock, 200, 1.0, live=False)) == 3  # nobody types while the learner learns
    file = io.StringIO()
    with Display(Console(file=file), live=False) as display:
        display.stage("round 1: episodes", 10)
        for _ in range(10):
            clock.now += 100
            display.advance("8 tokens/s")
    assert file.getvalue() == ""


ROUND = {"experience": 0, "dropped": 0, "tokens_per_second": 0}


@pytest.mark.parametrize(
    ("line", "failures", "printed"),
    [
        ({"partner_failed": 1.0}, "8 × judge: Unavailable: m: 500",
         "round 1: 0 examples, nothing learnt (8 × judge: Unavailable: m: 500)  partner_failed 1.00"),
        ({"partner_failed": 0.0}, "", "round 1: 0 examples, nothing learnt"),
        ({"partner_failed": 0.25, "right": 0.5, "experience": 4, "loss": 1.0}, "1 × judge: Unavailable: m: 500",
         "round 1: 4 examples, loss 1.000  right 0.50  partner_failed 0.25"),
    ],
)  # fmt: skip
def test_a_round_without_examples_says_which_failures_are_the_reason(line, failures, printed):
    file = io.StringIO()
    Display(Console(file=file, width=200)).round("round 1", ROUND | line, failures)
    assert file.getvalue() == f"{printed}\n"
