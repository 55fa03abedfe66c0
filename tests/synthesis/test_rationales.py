"""Rationales written by a speaker: right ones are kept, with their source."""

import json

import pytest
from rich.console import Console

from sparring.common.errors import ConfigError, RunStopped
from sparring.ledger import entries
from sparring.synthesis import SynthesisRecipe, synthesize
from sparring.tasks.table import Table
from tests.fault_server import status

FIVE = "Two and three are to be added, and that is five.\nThe answer is 5."
SUM = {"prompt": "What is 2 + 3?", "answer": 5}


@pytest.fixture
def order(tmp_path):
    """Return a function that makes a recipe for the rationales of some rows."""

    def make(speaker, *found, task=None, **settings) -> SynthesisRecipe:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in found or [SUM]))
        own = {"kind": "table", "train": str(path), "right": "number", "development_size": 0, "test_size": 0}
        return SynthesisRecipe.of(
            "rationales", {"task": own | (task or {}), "speaker": speaker, "rationales": settings}
        )

    return make


def scripted(*replies: str) -> dict[str, object]:
    return {"by": "scripted", "replies": list(replies)}


def go(order: SynthesisRecipe, folder, **more):
    return synthesize(order, folder, console=Console(quiet=True), **more)


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "rationales.jsonl").read_text().splitlines()]


def test_a_problem_is_asked_until_its_answer_is_right(order, tmp_path):
    told = go(order(scripted("Five, no, six.\nThe answer is 6.", FIVE), max_failures=1.0), tmp_path / "out")
    assert rows(tmp_path / "out") == [{"prompt": SUM["prompt"], "answer": "5", "rationale": FIVE, "source": "written"}]
    assert told.counts["replies"] == {"wrong": 1, "right": 1}
    assert told.counts["found"] == {"written": 1}


def test_a_problem_that_stays_wrong_is_left_out_and_counted(order, tmp_path):
    told = go(order(scripted("It is six.\nThe answer is 6."), tries=3), tmp_path / "out")
    assert rows(tmp_path / "out") == []
    assert told.counts["replies"] == {"wrong": 3}
    assert told.counts["found"] == {"without": 1}


def test_an_answer_without_working_is_no_rationale(order, tmp_path):
    told = go(order(scripted("The answer is 5.", FIVE), max_failures=1.0), tmp_path / "out")
    assert told.counts["replies"] == {"unreadable": 1, "right": 1}
    assert "the rationale has no step before its answer" in next(iter(told.counts["causes"]))


def test_rationales_that_are_there_are_copied_and_nobody_is_asked_for_them(order, tmp_path):
    given = {"prompt": "9 + 9?", "answer": 18, "rationale": "9 + 9 = 18", "category": "easy"}
    speaker = scripted(FIVE)
    go(order(speaker, SUM, given), tmp_path / "out")
    assert [row["source"] for row in rows(tmp_path / "out")] == ["written", "data"]
    assert rows(tmp_path / "out")[1] == {
        "prompt": "9 + 9?", "answer": "18", "rationale": "9 + 9 = 18", "source": "data", "category": "easy",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"none of the 1 train problems of .* lacks a rationale; set only_missing"):
        go(order(speaker, given), tmp_path / "none")
    again = go(order(scripted("Nine and nine are 18.\n18"), given, only_missing=False), tmp_path / "anew")
    assert again.counts["found"] == {"written": 1}


def test_the_answer_is_shown_only_after_all_tries_and_the_row_says_so(order, tmp_path, writer):
    def answer(request):
        return FIVE if "the right answer is 5" in request.asked else "It is six.\nThe answer is 6."

    with writer(answer) as server:
        told = go(order(server.speaker, tries=2, hint_tries=2), tmp_path / "out")
    assert ["the right answer is" in request.asked for request in server.heard] == [False, False, True]
    assert rows(tmp_path / "out")[0]["source"] == "hinted"
    assert told.counts["replies"] == {"wrong": 2, "right": 1}
    assert told.counts["found"] == {"hinted": 1}


@pytest.mark.parametrize(
    "leaning",
    [
        "The answer is 5, since two and three come to that.\nThe answer is 5.",  # begins with it
        "Let me add it up.\nThe answer is 5.",  # and nothing in between
        "Two and three are to be added, which agrees with the hint.\nThe answer is 5.",
        "Two and three come to what we were told it should be.\nThe answer is 5.",
    ],
)
def test_a_rationale_that_merely_states_what_it_was_told_is_not_kept(order, tmp_path, leaning):
    told = go(order(scripted("Six.\n6", leaning), tries=1, hint_tries=1), tmp_path / "out")
    assert told.counts["replies"] == {"wrong": 1, "leaning on the hint": 1}
    assert rows(tmp_path / "out") == []
    kept = go(order(scripted(leaning), tries=1), tmp_path / "unhinted")  # without a hint it was its own idea
    assert kept.counts["found"] == {"written": 1}


def test_tries_are_draws_of_their_own_and_on_the_ledger(order, tmp_path, writer):
    with writer(lambda request: "It is six.\nThe answer is 6.") as server:
        go(order({**server.speaker, "seed": 1}, tries=3, hint_tries=2), tmp_path / "out")
    assert len({request.body["seed"] for request in server.heard[:3]}) == 3
    found = list(entries(tmp_path / "out" / "ledger.sqlite"))
    assert [(entry["role"], entry["phase"], entry["sample"]) for entry in found] == [
        ("writer", "rationales", sample) for sample in (0, 1, 2, 0, 1)
    ]


def test_the_rows_are_in_the_order_of_the_problems_and_a_table_reads_them(order, tmp_path, writer):
    sums = [{"prompt": f"What is {n} + {n}?", "answer": 2 * n, "category": f"{n % 2}"} for n in range(20)]

    def answer(request):
        n = int(request.asked.split()[2])
        return f"Twice {n} is {2 * n}.\nThe answer is {2 * n}."

    with writer(answer) as server:
        asked = order(server.speaker, *sums, at_once=7)
        go(asked, tmp_path / "out")
    assert [row["prompt"] for row in rows(tmp_path / "out")] == [row["prompt"] for row in sums]
    read = Table(str(tmp_path / "out" / "rationales.jsonl"), development_size=0, test_size=0, right="number")
    assert [(p.id, p.gold, p.bin) for p in read.problems("train")] == [
        (p.id, p.gold, p.bin) for p in asked.task.problems("train")
    ]
    assert all(read.is_right(problem, problem.rationale) for problem in read.problems("train"))
    assert read.notes[1:] == ()


def test_earlier_turns_and_choices_come_back_as_they_were(order, tmp_path, writer):
    said = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Where is milk kept?")]
    row = {
        "messages": [{"role": role, "content": text} for role, text in said],
        "choices": ["oven", "fridge"], "answer": "B",
    }  # fmt: skip
    with writer(lambda request: "Milk has to be cold.\nThe answer is B.") as server:
        asked = order(server.speaker, row, task={"right": "choice"})
        go(asked, tmp_path / "out")
    roles = [turn["role"] for turn in server.heard[0].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    (read,) = Table(
        str(tmp_path / "out" / "rationales.jsonl"), development_size=0, test_size=0, right="choice"
    ).problems("train")
    assert read.chat == asked.task.problems("train")[0].chat
    assert (read.gold, read.rationale) == ("B", "Milk has to be cold.\nThe answer is B.")


def test_words_of_a_question_are_no_template(order, tmp_path, writer):
    row = {"prompt": "What is {gold} in {question}?", "answer": 5}
    with writer(lambda request: FIVE) as server:
        go(order(server.speaker, row), tmp_path / "out")
    assert server.heard[0].asked.startswith("What is {gold} in {question}?\n\nWork out")


def test_without_right_answers_nothing_can_be_kept(order, tmp_path):
    with pytest.raises(ConfigError, match=r"1 of the 2 train problems of .* have no right answer"):
        go(order(scripted(FIVE), SUM, {"prompt": "Why?"}), tmp_path / "out")
    with pytest.raises(ConfigError, match="none of the 0 test problems"):
        go(order(scripted(FIVE), split="test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failures_past_the_bound_stop_it(order, tmp_path, writer):
    sums = [{"prompt": f"What is {n} + {n}?", "answer": 2 * n} for n in range(40)]
    with writer(lambda request: status(503, "busy")) as server:
        found = order(server.speaker, *sums, tries=1, at_once=8)
        with pytest.raises(RunStopped, match=r"20 of 20 replies failed .* 20 × Unavailable: m: .*busy"):
            go(found, tmp_path / "out")
        assert len(server.heard) < 40
