"""Exams in their folder: recorded, paid once, resumed, held to a budget; which problems and partners they take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from rich.console import Console

from sparring.common.errors import ConfigError, RunStopped
from sparring.config.recipe import Recipe
from sparring.core.exam import SCORE
from sparring.ledger import BudgetReached, totals
from sparring.runs.examination import candidates, examine
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from tests.fault_server import Request, late, say, standing, status

QUIET = Console(quiet=True)
TASK = {"kind": "multistep_arithmetic", "train": 30, "development": 12, "test": 6}


def recipe(*phases, **tables) -> Recipe:
    return Recipe.of({"task": TASK, "phase": list(phases), **tables})


def tripost(critic, editor=None):
    return {"method": "tripost", "critic": critic, "editor": editor or {"by": "task"}}


def endpoint(url: str, **more):
    return {"by": "endpoint", "model": "m", "base_url": url, "retries": 0, "timeout": 5, **more}


@contextmanager
def replies(answer):
    """A server whose partner replies by `answer`, a function of the request; yields its URL and the requests."""

    async def reply(request: Request, writer):
        await answer(request)(request, writer)

    with standing(reply) as found:
        yield found.url, found.requests


def accepts(request: Request):
    return say("All steps are correct.")


# ── who is examined, and on what ────────────────────────────────────────────────────────────────────────────


def test_every_partner_is_examined_once_and_named_by_its_first_phase():
    wrong = {"by": "task", "wrong": 0.5}
    saie = {"method": "saie", "discussant": {"by": "task"}}
    found = candidates(recipe(tripost({"by": "task"}), saie, tripost({"by": "task"}), tripost(wrong)))
    assert [(one.name, one.role) for one in found] == [
        ("phase 1 (tripost): critic", "critic"),
        ("phase 1 (tripost): editor", "editor"),
        ("phase 2 (saie): discussant", "discussant"),
        ("phase 4 (tripost): critic", "critic"),
    ]


def test_the_shipped_recipes_partners_have_the_full_score():
    for name in ("curriculum", "tripost", "saie", "thought_preference"):
        reports = examine(Recipe.read(name, ["task.development=20", "task.train=20"]), calls=24, console=QUIET)
        assert reports
        assert all(report.measures[0].value == 1.0 for report in reports)
        assert {report.price for report in reports} == {0.0}


def test_test_problems_are_never_used(monkeypatch):
    asked, problems = set(), MultistepArithmetic.problems
    monkeypatch.setattr(MultistepArithmetic, "problems", lambda self, split: asked.add(split) or problems(self, split))
    mine = recipe(tripost({"by": "task"}))
    (report, _) = examine(mine, calls=60, console=QUIET)
    assert asked == {"development", "train"}
    used = [graded.probe.problem.id for graded in report.graded]
    development = {problem.id for problem in problems(mine.task, "development")}
    assert set(used[:24]) == development  # both kinds of probe on each, then training problems
    assert not set(used) & {problem.id for problem in problems(mine.task, "test")}
    assert len(used) == 60


def test_programs_are_examined_without_tensors_and_a_folder():
    program = (
        "import sys; from sparring.config.recipe import Recipe; from sparring.runs.examination import examine;"
        "examine(Recipe.read('tripost', ['task.development=9', 'task.train=9']), calls=8);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("phase", "words", "complaint"),
    [
        ({"method": "sft"}, {}, "the recipe names no partner"),
        (tripost({"by": "task"}), {"role": "judge"}, "no phase of the recipe has a judge; choose from critic, editor"),
        (tripost({"by": "task"}), {"preferences": "x.json"}, r"no judge is examined.*got 'x.json'.*leave them out"),
        (tripost(endpoint("http://localhost:9/v1")), {}, "model_critic endpoint m are recorded; give a folder.*--run"),
    ],
)
def test_what_cannot_be_examined_is_told_in_a_line(phase, words, complaint):
    with pytest.raises(ConfigError, match=complaint):
        examine(recipe(phase), console=QUIET, **words)


def test_a_task_without_answers_has_nothing_to_examine_with_but_preferences(tmp_path):
    (tmp_path / "new.jsonl").write_text("".join(json.dumps({"instruction": f"Say {n}."}) + "\n" for n in range(30)))
    row = {"input": "Say a.", "output_1": "a", "output_2": "b", "label": 1}
    (tmp_path / "experts.json").write_text(json.dumps([row]))
    judge = {"by": "scripted", "replies": ["[[A]]"]}
    table = {
        "task": {"kind": "instructions", "train": str(tmp_path / "new.jsonl")},
        "phase": [{"method": "response_preference", "judge": judge}],
    }
    with pytest.raises(ConfigError, match=r"a judge cannot be examined; .* or give --preferences"):
        examine(Recipe.of(table), console=QUIET)
    (report,) = examine(Recipe.of(table), preferences=str(tmp_path / "experts.json"), console=QUIET)
    assert (report.exam, report.measures[0].value, report.calls) == ("preferences", 0.5, 2)


# ── paid calls ──────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_are_recorded_with_their_seconds_and_price_and_never_paid_twice(tmp_path):
    budget = {"prices": {"m": [100.0, 1000.0]}}
    with replies(lambda request: late(0.02, accepts(request))) as (url, heard):
        mine = recipe(tripost(endpoint(url)), budget=budget)
        (report,) = examine(mine, tmp_path / "exam", role="critic", calls=20, console=QUIET)
        assert len(heard) == report.calls == 20
        (again,) = examine(mine, tmp_path / "exam", role="critic", calls=20, resume=True, console=QUIET)
        assert len(heard) == 20
    assert report.measures[0].value == 0.5  # it accepts everything
    assert report.price == pytest.approx(100 * (10 * 100 + 5 * 1000) / 1e6)  # the server bills 10 and 5 tokens a call
    assert len(report.seconds) == 20
    assert 0.02 <= report.latency[0] <= report.latency[1] < 5
    assert again == report
    (total,) = totals(tmp_path / "exam" / "ledger.sqlite")
    assert (total.role, total.phase, total.calls) == ("critic", "exam: critic", 20)
    assert json.loads((tmp_path / "exam" / "run.json").read_text())["status"] == "finished"
    (told,) = json.loads((tmp_path / "exam" / "exam.json").read_text())
    assert (told["price_per_hundred_calls"], len(told["items"])) == (report.price, 20)
    assert {item["verdict"] for item in told["items"]} == {"right", "wrong"}
    assert all(item["reply"].endswith("ok") and item["expected"] and item["given"] for item in told["items"])


def test_a_model_without_a_price_has_none(tmp_path):
    with replies(accepts) as (url, _):
        (report,) = examine(recipe(tripost(endpoint(url))), tmp_path / "exam", role="critic", calls=4, console=QUIET)
    assert report.price is None


def test_a_cap_stops_the_exam_and_a_raised_cap_resumes_it(tmp_path):
    with replies(accepts) as (url, heard):

        def at(cap: int):
            mine = recipe(tripost(endpoint(url, in_flight=1)), budget={"run": {"calls": cap}})
            return examine(mine, tmp_path / "exam", role="critic", calls=12, resume=cap > 5, console=QUIET)

        with pytest.raises(BudgetReached, match=r"raise budget\.run\.calls"):
            at(5)
        assert len(heard) == 5
        assert json.loads((tmp_path / "exam" / "run.json").read_text())["status"] == "stopped"
        (report,) = at(50)
        assert len(heard) == 12
    assert report.measures[0].n == 12


def test_single_failures_are_graded_and_a_partner_that_never_replies_stops_the_exam(tmp_path):
    def often(request: Request):
        return status(500) if len(request.asked) % 3 == 0 else accepts(request)

    with replies(often) as (url, _):
        (report,) = examine(recipe(tripost(endpoint(url))), tmp_path / "a", role="critic", calls=30, console=QUIET)
    failed = [graded for graded in report.graded if graded.verdict == "failed"]
    assert 0 < len(failed) < 30
    assert {measure.name: measure.n for measure in report.measures}[SCORE] == 30
    with (
        replies(lambda request: status(500)) as (url, heard),
        pytest.raises(RunStopped, match=re.compile(r"critic .*no reply to the first \d+ calls.*--resume", re.S)),
    ):
        examine(recipe(tripost(endpoint(url, in_flight=1))), tmp_path / "b", role="critic", calls=60, console=QUIET)
    assert len(heard) < 20


def test_two_exams_in_one_folder_have_their_own_seconds(tmp_path):
    def answer(request: Request):
        return accepts(request) if "Check a student" in request.asked else late(0.05, say("1+1=2\n2"))

    with replies(answer) as (url, _):
        mine = recipe(tripost(endpoint(url), endpoint(url)))
        critic, editor = examine(mine, tmp_path / "exam", calls=6, console=QUIET)
    assert len(critic.seconds) == 6
    assert min(editor.seconds) > 0.05
    assert editor.measures[0].value < 1


def test_the_folder_of_a_training_run_or_of_another_recipe_is_refused(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds a training run; choose another folder"):
        examine(recipe(tripost({"by": "task"})), tmp_path / "run", console=QUIET)
    examine(recipe(tripost({"by": "task"})), tmp_path / "exam", calls=4, console=QUIET)
    with pytest.raises(ConfigError, match="already contains a run; add --resume"):
        examine(recipe(tripost({"by": "task"})), tmp_path / "exam", calls=4, console=QUIET)
    other = recipe(tripost({"by": "task", "wrong": 0.5}))
    with pytest.raises(ConfigError, match="started with another recipe"):
        examine(other, tmp_path / "exam", calls=4, resume=True, console=QUIET)


def test_a_partner_that_cannot_be_asked_is_told_before_the_folder_is_made(tmp_path):
    mine = recipe(tripost({"by": "local", "model": "./nowhere"}))
    with pytest.raises(ConfigError, match=r"model = '\./nowhere' cannot be loaded"):
        examine(mine, tmp_path / "exam", console=QUIET)
    assert not (tmp_path / "exam").exists()
