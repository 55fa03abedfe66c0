"""A run whose demonstrations an endpoint writes: estimated, paid once, packed and repeated for nothing."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from sparring.common.files import read_jsonl
from sparring.config.recipe import Recipe
from sparring.core.experience import Experience
from sparring.ledger import entries
from sparring.runs.bundle import bundle
from sparring.runs.display import Display
from sparring.runs.estimate import estimate
from sparring.runs.replay import replay
from sparring.runs.run import train
from tests.fault_server import Request
from tests.runs.test_paid_run import server

QUIET = Display(quiet=True)
WORKED = re.compile(r"Question:\n(.+)\n\nAnswer:\n(.+\n.+\n.+)")


def partner(request: Request) -> str:
    """Return a wrong attempt, a fault in the first step, or the right answer."""
    right = {problem.chat.text: problem.rationale for problem in TASK.problems("train")}
    asked = next(question for question in right if f"Question:\n{question}\n\n" in request.asked.split("layout of")[-1])
    if "Check a student's answer" in request.asked:
        return 'In step (1) the part "1+1=3" is incorrect. This is because the sum is too large.'
    if "goes wrong at step" in request.asked:
        return right[asked]
    return "1+1=3\n3"


def recipe(url: str, **phase) -> Recipe:
    endpoint = {"by": "endpoint", "model": "m", "base_url": url, "retries": 0, "timeout": 5}
    roles = dict.fromkeys(("author", "critic", "editor"), endpoint)
    return Recipe.of({
        "task": {"kind": "multistep_arithmetic", "train": 12, "development": 2, "test": 2},
        "phase": [{"method": "tripost", **roles, "rounds": 2, "max_tokens": 24, **phase}],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1},
    })  # fmt: skip


TASK = recipe("http://127.0.0.1:9/v1").task


@pytest.fixture(scope="module")
def paid(tmp_path_factory):
    """A finished run, the requests at the server, and its URL, which is served no longer."""
    folder = tmp_path_factory.mktemp("author") / "run"
    with server(partner) as (url, heard):
        train(recipe(url), folder, display=QUIET)
    return folder, heard, url


def test_an_endpoint_writes_all_and_each_round_another_attempt(paid):
    folder, heard, _ = paid
    calls = Counter((entry["role"], entry["round"]) for entry in entries(folder / "ledger.sqlite"))
    assert calls == {(role, 1): 12 for role in ("author", "critic", "editor")} | {("author", 2): 12}
    assert len(heard) == sum(calls.values())  # equal attempts have the same feedback and update, paid once
    for round_ in (1, 2):
        pieces = read_jsonl(folder / f"rounds/1-tripost/{round_:04d}/experience.jsonl", Experience)
        improved = [piece.chat.last.parts for piece in pieces if piece.group == "self_improvement"]
        assert len(improved) == 12
        assert {tuple(part.writer for part in parts) for parts in improved} == {
            ("author", "marker", "critic", "marker", "editor")
        }


def test_the_author_sees_worked_answers_to_other_problems(paid):
    _, heard, _ = paid
    prompts = [request.asked for request in heard if request.asked.startswith("Answer a question")]
    worked = {problem.chat.text: problem.rationale for problem in TASK.problems("train")}
    for prompt in prompts:
        shown = WORKED.findall(prompt)
        assert len(shown) == 3
        assert all(worked[question] == answer for question, answer in shown)
        assert prompt.rsplit("Question:\n", 1)[1].partition("\n")[0] not in dict(shown)


def test_without_examples_the_second_visit_is_another_sample(tmp_path):
    with server(partner) as (url, heard):
        plan = recipe(url)
        table = plan.table()
        table["phase"][0]["author"]["examples"] = 0
        train(Recipe.of(table), tmp_path / "run", display=QUIET)
    assert sum(request.asked.startswith("Answer a question") for request in heard) == 24


def test_an_estimate_bounds_the_calls_of_each_role(paid):
    folder, _, url = paid
    found = {line.role: line.calls * line.rounds for line in estimate(recipe(url), 4).lines}
    assert found["author"] == 24
    made = Counter(entry["role"] for entry in entries(folder / "ledger.sqlite"))
    assert all(made[role] <= calls for role, calls in found.items())
    assert set(found) == {"author", "critic", "editor"}


def test_its_bundle_is_repeated_for_nothing_and_to_the_bit(paid, tmp_path):
    folder, heard, _ = paid
    before = len(heard)
    bundle(folder, tmp_path / "run.tar.gz")
    again = replay(tmp_path / "run.tar.gz", tmp_path / "again", display=QUIET)
    assert again.same
    assert again.replies == 48
    assert len(heard) == before
