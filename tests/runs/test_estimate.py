"""What a run may cost, said beforehand: a bound on the calls, and nothing is sent."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sparring.cli.main import main
from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER
from sparring.core.speaker import text_reply
from sparring.ledger import Price, totals
from sparring.ledger.schema import Entry
from sparring.ledger.store import Store
from sparring.runs.estimate import EstimateRow, caps, estimate, print_estimate
from sparring.runs.run import train
from sparring.speakers.command import Command
from sparring.speakers.endpoint import Endpoint
from sparring.training.learner import Learner
from tests.runs.test_paid_run import QUIET, recipe, server

NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _nothing_is_sent(monkeypatch, request):
    async def sent(self, chat, sampling, sample=0):
        raise AssertionError("something was sent")

    if "run" not in request.fixturenames:
        monkeypatch.setattr(Endpoint, "reply", sent)
        monkeypatch.setattr(Command, "reply", sent)


def judged(*, table=None, **changes) -> Recipe:
    """A recipe with a judge alone: 8 problems, 3 samples."""
    judge = {"by": "endpoint", "model": "m", "base_url": NOWHERE, **changes}
    phase = {"method": "response_preference", "problems": 8, "samples": 3, "max_tokens": 8, "judge": judge}
    return Recipe.read({"task": {"kind": "multistep_arithmetic", "train": 16}, "phase": [phase], **(table or {})})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Recipe]:
    """What a run's partners were really asked, and its recipe."""
    folder = tmp_path_factory.mktemp("estimated")
    with server() as (url, _):
        paid = recipe(url, folder / "ledger.sqlite")
        train(paid, folder / "run", display=QUIET)
    return folder / "ledger.sqlite", paid


def test_the_calls_bound_what_the_run_made(run):
    path, paid = run
    made: Counter[tuple[str, str]] = Counter()
    for total in totals(path):
        made[total.phase, total.role] += total.calls
    found = {(line.phase, line.role): line.calls * line.rounds for line in estimate(paid, 4).lines}
    assert found.keys() == made.keys()
    assert len(made) == 4
    assert all(made[key] <= calls for key, calls in found.items()), (made, found)
    assert found["2-saie", "discussant"] == 2 * 8  # a remark for each problem of two rounds
    assert found["3-tripost", "editor"] == 8 * 5  # so many updates
    assert found["3-tripost", "critic"] == 8 * (1 + 2 * 5)  # the attempt, each own update and each edited one
    assert found["4-response_preference", "judge"] == 8 * 3 * 2  # all pairs in both orders


def test_what_was_said_before_a_question_is_counted_with_it(tmp_path):
    """Of each call: the judge is shown all of it."""
    asked, before = [{"role": "user", "content": "1+1?"}], [
        {"role": "system", "content": "s" * 20},
        {"role": "user", "content": "u" * 30},
        {"role": "assistant", "content": "a" * 40},
    ]  # fmt: skip

    def tokens(name: str, messages) -> int:
        rows = [[*messages[:-1], {**messages[-1], "content": f"{n} {messages[-1]['content']}"}] for n in range(10, 40)]
        (tmp_path / name).write_text("".join(json.dumps({"messages": row, "answer": "2"}) + "\n" for row in rows))
        table = judged(table={"task": {"kind": "table", "train": str(tmp_path / name)}})
        (line,) = estimate(table, 2).lines
        assert line.calls == 48
        return line.prompt

    more = tokens("long.jsonl", before + asked) - tokens("short.jsonl", asked)
    assert more >= 48 * (20 + 30 + 40)  # tiny has a token for each byte


def test_replies_as_long_as_earlier_ones_are_told_beside_the_bound(run):
    path, paid = run
    lines = estimate(paid, 2).lines
    assert {line.usual for line in lines if line.role == "judge"} == {48 * 5}  # the server says 5 tokens a reply
    assert all(line.usual < line.completion for line in lines)
    with_ledger_off = Recipe.read({**paid.table(), "ledger": {"path": str(path), "mode": "off"}})
    assert {line.usual for line in estimate(with_ledger_off, 2).lines} == {None}


def test_a_call_without_a_result_tells_nothing_of_the_length_of_replies(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with closing(Store(path)) as store:
        call = {"key": b"1", "request": "{}", "problem": "p", "model": "m", "sample": 0}
        store.send(1, Entry(**call, run="run", role="judge", phase="1", round=1, completion_tokens=10**6)).result()
    (line,) = estimate(judged(table={"ledger": {"path": str(path)}}), 1).lines
    assert line.usual is None


def test_nobody_is_asked_and_no_program_need_be_there():
    (line,) = estimate(judged(), 2).lines
    assert (line.role, line.model, line.calls, line.completion) == ("judge", "m", 48, 48 * 1024)
    assert line.prompt > 0
    command = {"by": "command", "command": ["no-such-program"]}
    phase = {"method": "saie", "problems": 5, "rounds": 3, "max_tokens": 8, "discussant": command}
    (line,) = estimate(Recipe.read({"task": {"kind": "multistep_arithmetic", "train": 16}, "phase": [phase]})).lines
    assert (line.calls, line.rounds, line.prompt, line.completion) == (5, 3, 0, 0)


def test_samples_that_are_alike_now_are_taken_to_differ_later():
    recipe_ = judged()
    method = replace(recipe_.phases[0].method, temperature=1e-4)  # as good as greedy: all samples are one
    alike = replace(recipe_, phases=(replace(recipe_.phases[0], method=method),))
    assert estimate(alike, 2).lines[0].calls == 48


class TwoLines:
    """A learner that does not number its lines."""

    def __init__(self, *scope, **options) -> None:
        pass

    async def reply(self, chat, sampling, sample=0):
        return text_reply("1 + 1 = 2\nSo it is 2.", LEARNER)


def test_a_learner_that_cannot_number_its_steps_yet_is_taken_to_learn_it(monkeypatch):
    """Its updates would be refused, and an episode would end with the first."""
    monkeypatch.setattr(Learner, "speaker", TwoLines)
    endpoint = {"by": "endpoint", "model": "m", "base_url": NOWHERE}
    phase = {"method": "tripost", "problems": 4, "max_tokens": 8, "critic": endpoint, "editor": endpoint}
    for layout in ({"range": "paper"}, {"range": "easy"}):
        task = {"kind": "multistep_arithmetic", "train": 16, **layout}
        found = estimate(Recipe.read({"task": task, "phase": [phase]}), 2)
        assert {line.role: line.calls for line in found.lines} == {"critic": 4 * (1 + 2 * 5), "editor": 4 * 5}
        assert not [note for note in found.notes if "retries" in note]


def test_a_program_that_finds_the_same_fault_again_gets_another_update(monkeypatch):
    """An update that says the same as the attempt would be refused, and the episode would end."""
    monkeypatch.setattr(Learner, "speaker", TwoLines)
    editor = {"by": "endpoint", "model": "m", "base_url": NOWHERE}
    phase = {"method": "tripost", "problems": 4, "max_tokens": 8, "critic": {"by": "task"}, "editor": editor}
    found = estimate(Recipe.read({"task": {"kind": "word_sorting", "train": 16}, "phase": [phase]}), 2)
    assert [line.calls for line in found.lines] == [4 * 5]


def brevity(answer: str) -> float:
    return -len(answer)


def test_programs_of_the_task_cost_nothing():
    found = estimate(Recipe.read("tripost"))
    assert found.lines == ()
    assert found.notes == ("the run costs nothing: no partner is a model behind an API",)


def test_what_a_function_pays_for_is_not_known():
    phase = {"method": "response_preference", "problems": 8, "max_tokens": 8, "judge": {"by": f"{__name__}.brevity"}}
    found = estimate(Recipe.read({"task": {"kind": "multistep_arithmetic", "train": 16}, "phase": [phase]}), 2)
    assert found.notes == (f"no call is counted; if {__name__}.brevity pays for something, add that yourself",)


def test_problems_that_a_method_consults_are_counted():
    phase = {"method": "response_preference", "problems": 8, "samples": 3, "max_tokens": 8, "length_penalty": "auto",
             "auto_problems": 5, "judge": {"by": "endpoint", "model": "m", "base_url": NOWHERE}}  # fmt: skip
    (line,) = estimate(Recipe.read({"task": {"kind": "multistep_arithmetic", "train": 16}, "phase": [phase]}), 2).lines
    assert line.calls == (8 + 5) * 6


def test_thoughts_are_told_apart_so_that_the_judge_is_asked():
    phase = {"method": "thought_preference", "problems": 4, "samples": 2, "max_tokens": 8,
             "judge": {"by": "endpoint", "model": "m", "base_url": NOWHERE, "mode": "pointwise"}}  # fmt: skip
    (line,) = estimate(Recipe.read({"task": {"kind": "multistep_arithmetic", "train": 16}, "phase": [phase]}), 2).lines
    assert line.calls == 8


def test_where_the_stand_in_cannot_be_read_asking_once_more_is_counted_and_said():
    found = estimate(judged(pattern="VERDICT: ([ABC])"), 2)
    assert found.lines[0].calls == 2 * 48
    assert re.search(r"12 of the 24 simulated calls of the judge are retries", found.notes[0])


def test_money_is_counted_by_the_price_table_and_a_missing_price_is_said():
    budget = {"prices": {"m": [1.0, 2.0]}, "run": {"money": 0.05}}
    (line,) = estimate(judged(table={"budget": budget}), 2).lines
    assert line.price == Price(1.0, 2.0)
    assert line.cost(line.completion) == pytest.approx((line.prompt + 2 * line.completion) / 1e6)
    assert (
        "budget.run.money = 0.05 may be reached in phase 1-response_preference, round 1"
        in estimate(judged(table={"budget": budget}), 2).notes
    )
    unpriced = estimate(judged(table={"budget": {"run": {"money": 1.0}}}), 2).notes
    assert unpriced[0].startswith(
        "the price of 'm' is unknown, so all costs leave it out; add it to budget.prices; because"
    )
    assert unpriced[1] == "budget.run.money = 1.0: prices are missing, so it is unknown whether this is enough"


def test_where_one_price_is_not_known_nothing_is_said_as_if_it_were(monkeypatch, capsys):
    endpoint = {"by": "endpoint", "base_url": NOWHERE}
    phase = {"method": "tripost", "problems": 4, "max_tokens": 8, "critic": {"model": "priced-1.5", **endpoint},
             "editor": {"model": "other", **endpoint}}  # fmt: skip
    table = {"task": {"kind": "multistep_arithmetic", "train": 16}, "phase": [phase]}
    budget = {"run": {"money": 1e9, "calls": 10**6}, "prices": {"priced-1": {"5": [1.0, 2.0]}}}
    monkeypatch.setenv("COLUMNS", "140")
    print_estimate(Recipe.read({**table, "budget": budget}), 2)
    out = capsys.readouterr().out
    assert re.search(r"critic\s+priced-1.5 .* [\d.]+ *\n", out)
    assert re.search(r"editor\s+other .* \? *\n", out)
    assert re.search(r"total .* [\d.]+ \+ \? *\n", out)
    assert "the price of 'other' is unknown" in out
    assert "budget.run.money = 1,000,000,000.0: prices are missing, so it is unknown whether this is enough" in out
    assert "budget.run.calls = 1,000,000 is enough" in out
    assert "priced-1.5'" not in out


def test_a_cap_is_reached_where_the_sums_pass_it():
    lines = [
        EstimateRow("2-saie", 3, "discussant", "m", 100, 10, 0, None),
        EstimateRow("3-tripost", 2, "critic", "m", 150, 1, 0, None),
        EstimateRow("3-tripost", 2, "editor", "m", 50, 1, 0, None),
    ]

    def told(**budget) -> list[str]:
        return list(caps(lines, judged(table={"budget": budget})))

    assert told(run={"calls": 299}) == ["budget.run.calls = 299 may be reached in phase 2-saie, round 3"]
    assert told(run={"calls": 300}) == ["budget.run.calls = 300 may be reached in phase 3-tripost, round 1"]
    assert told(run={"calls": 500}) == ["budget.run.calls = 500 may be reached in phase 3-tripost, round 2"]
    assert told(run={"calls": 700}) == ["budget.run.calls = 700 is enough: the run uses at most 700"]
    assert told(round={"calls": 199, "tokens": 10}) == [
        "budget.round.calls = 199 may be reached in phase 3-tripost, round 1",
        "budget.round.tokens = 10 is enough: the run uses at most 10",
    ]


def test_the_verb_shows_a_table_with_what_is_a_bound_and_what_a_guess(tmp_path, monkeypatch, capsys):
    (tmp_path / "r.toml").write_text(judged().toml())
    words = ["sparring", "estimate", str(tmp_path / "r.toml"), "--episodes", "2", "--set", "budget.run.calls=40"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setenv("COLUMNS", "140")
    with pytest.raises(SystemExit) as end:
        main()
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert re.search(r"1-response_preference\s+1\s+judge\s+m\s+48\s+[\d,]+\s+49,152\s+\?", out)
    assert re.search(r"total\s+48\s", out)
    assert "calls ≤: an upper bound" in out
    assert "tokens in ≈: an estimate from 2 simulated episodes" in out
    assert "budget.run.calls = 40 may be reached in phase 1-response_preference, round 1" in out
    assert out.index("budget.run.calls") < out.index("time ≈ ")  # what needs no training comes first


def test_a_mistaken_recipe_is_refused_before_anything_is_played():
    with pytest.raises(ConfigError, match="unknown key 'prices_'"):
        judged(table={"budget": {"prices_": {}}})
