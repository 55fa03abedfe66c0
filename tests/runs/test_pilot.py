"""How long a run takes, from a pilot: scaled to all problems by a clock that the tests set, and nothing is made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER
from sparring.core.episode import Episode
from sparring.core.speaker import text_reply
from sparring.runs import pilot
from sparring.runs.pilot import PhaseTime, Pilot, time_in_words
from sparring.training.learner import Learner
from sparring.training.trainer import StepResult, Trainer

JUDGE = {"by": "endpoint", "model": "m", "base_url": "http://127.0.0.1:9/v1"}


def recipe(*phases: dict, **task) -> Recipe:
    table = {"kind": "multistep_arithmetic", "range": "easy", "train": 64, "development": 6, "test": 5, **task}
    run = {"evaluate_problems": 4, "evaluate_every": 32, "threads": 1}
    return Recipe.read({"task": table, "phase": list(phases), "trainer": {"batch_size": 8}, "run": run})


def preference(**changes) -> dict:
    return {"method": "response_preference", "problems": 16, "samples": 2, "max_tokens": 8, "judge": JUDGE, **changes}


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that advances by `play` seconds for each episode and `answer` seconds for each answer, and their counts.

    The first episodes are slow: a warm-up.
    """
    found = SimpleNamespace(now=0.0, play=0.5, answer=0.25, counts=[])

    async def play(method, task, problems, *_, **__):
        found.now += found.play * len(problems) + (0.0 if found.counts else 3.0)
        found.counts.append(len(problems))
        return [Episode(problem, problem.chat, failed=True) for problem in problems]

    async def answer(self, method, problems):
        found.now += found.answer * len(problems)

    monkeypatch.setattr(pilot, "play", play)
    monkeypatch.setattr(Pilot, "_answer", answer)
    monkeypatch.setattr(pilot, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def times(found: Recipe) -> list[PhaseTime]:
    return Pilot(found, Learner.load(found.learner), 2).times()


def test_seconds_of_the_pilot_are_scaled_to_all_problems_and_rounds(clock):
    [phase] = times(recipe(preference(rounds=5)))
    assert phase.playing == 5 * 16 * 0.5
    # After each 32 of 80 problems and at the end, each on 4 problems; then two tests on 5.
    assert phase.evaluating == (3 * 4 + 2 * 5) * 0.25
    assert phase.learning is None


def test_the_first_try_is_a_warm_up_even_if_it_has_all_problems(clock):
    [phase] = times(recipe(preference(problems=2)))
    assert phase.playing == 2 * 0.5


def test_problems_that_a_method_consults_are_played_too(clock):
    [phase] = times(recipe(preference(length_penalty="auto", auto_problems=3)))
    assert phase.playing == (16 + 3) * 0.5


def test_only_the_last_phase_is_followed_by_tests(clock):
    first, last = times(recipe(preference(), preference()))
    assert (first.evaluating, last.evaluating) == (4 * 0.25, (4 + 2 * 5) * 0.25)


def test_a_pilot_grows_until_it_takes_some_seconds(clock):
    clock.play = 0.01
    times(recipe(preference(problems=64)))
    assert clock.counts == [2, 8, 32, 64]
    clock.play, clock.counts[:] = 1.0, [0]
    times(recipe(preference(problems=64)))
    assert clock.counts == [0, 2, 8]


def test_a_step_counts_for_its_pieces_and_the_first_for_none(clock, monkeypatch):
    """12 examples, so steps of 8 and of 4; three epochs of 64 examples in each of two rounds, and 10 more again."""
    seconds = [100.0, 0.5, 0.75, 0.5]

    def learn(self, training_set):
        assert training_set.steps == 4
        for number, took in enumerate(seconds, start=1):
            yield StepResult(number, 1, 0.0, {}, 0, 0, 0.0, 0.0, took)

    monkeypatch.setattr(Trainer, "learn", learn)
    monkeypatch.setattr(pilot, "PIECES", 12)
    [phase] = times(recipe({"method": "sft", "epochs": 3, "rounds": 2, "replay": 10, "max_tokens": 8}))
    assert phase.learning == pytest.approx((0.5 + 0.75 + 0.5) / (4 + 8 + 4) * 3 * (2 * 64 + 10))


def test_what_was_not_measured_is_named_and_not_counted():
    """Each reply is truncated, so there is nothing to compare and to learn from."""
    found = recipe(preference(max_tokens=1))
    line, _, note = time_in_words(found, Learner.load(found.learner), 2)
    assert "learning" not in line
    assert "from 16 problems of each phase" in line
    assert "(cpu): playing" in line
    assert note == (
        "1-response_preference: no pilot problem gave an example to learn from; the time of its training is not counted"
    )


def test_a_machine_that_lacks_the_memory_gives_no_time(monkeypatch):
    def full(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(Pilot, "_learn", full)
    found = recipe({"method": "sft", "max_tokens": 8})
    assert list(time_in_words(found, Learner.load(found.learner), 2)) == [
        "time: unknown; the pilot stopped: CUDA out of memory."
    ]


def test_a_phase_that_a_budget_ends_is_said_to_count_one_round():
    found = recipe({"method": "sft", "max_tokens": 8, "max_gradient_tokens": 10**6})
    *_, note = time_in_words(found, Learner.load(found.learner), 2)
    assert note == "1-sft: a budget ends the phase; the time counts one round"


class TwoLines:
    """A learner with a wrong first step."""

    def __init__(self, *scope, **options) -> None:
        pass

    async def reply(self, chat, sampling, sample=0):
        return text_reply("one\ntwo", LEARNER)


def test_stand_ins_are_right_at_once_and_send_nothing(monkeypatch):
    monkeypatch.setattr(Learner, "speaker", TwoLines)
    found = recipe({"method": "tripost", "problems": 4, "max_tokens": 8, "critic": JUDGE, "editor": JUDGE})
    seen: list[Episode] = []
    monkeypatch.setattr(Pilot, "_learn", lambda self, phase, episodes, *_: seen.extend(episodes))
    times(found)
    assert [(episode.failures, episode.notes["edited_right"]) for episode in seen] == [((), True)] * 4


def test_scores_differ_so_that_there_is_a_pair_to_learn_from():
    [phase] = times(recipe(preference(max_tokens=200)))
    assert phase.learning


def test_seconds_are_written_in_a_unit_that_suits_them():
    assert [pilot._duration(seconds) for seconds in (1.2, 89, 90, 5_399, 5_400, 36_000)] == [
        "1 s", "89 s", "2 min", "90 min", "1.5 h", "10.0 h",
    ]  # fmt: skip
