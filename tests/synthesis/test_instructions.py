"""New instructions: parsing, filtering, and independence of the order of replies."""

import json
import random
import re

import pytest
from rich.console import Console

from sparring.common.errors import ConfigError, RunStopped, Unreadable
from sparring.core.task import Task
from sparring.ledger import entries
from sparring.synthesis import SynthesisRecipe, synthesize
from sparring.synthesis.instructions import MAX_BARREN_REPLIES, parse_list
from sparring.tasks.instructions import Instructions
from tests.fault_server import late, say, status

SEEDS = [f"Tell me {word} about the {thing}." for word in ("all", "more", "less") for thing in ("sea", "sun", "fog")]
NOUNS = [a + b for a in "bcdfghklmn" for b in ("ake", "ill", "ore", "unt", "eal", "ing", "osh", "arn", "ept", "ood")]


def asked_for(request) -> int:
    return int(re.search(r"Write (\d+) more", request.asked)[1])


def new(request) -> str:
    """Return a list of new instructions that depends only on the prompt."""
    rng = random.Random(request.asked)
    texts = (" ".join(rng.sample(NOUNS, rng.randint(5, 12))) for _ in range(asked_for(request)))
    return "Here you are:\n\n" + "\n".join(f"{n}. {text}" for n, text in enumerate(texts, start=1))


@pytest.fixture
def order(tmp_path):
    """Return a function that makes a recipe for new instructions from SEEDS."""
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps({"instruction": text}) + "\n" for text in SEEDS))
    task = {"kind": "instructions", "train": str(tmp_path / "seeds.jsonl"), "development_size": 0, "test_size": 1}

    def make(speaker, **settings) -> SynthesisRecipe:
        table = {"task": task, "speaker": speaker, "instructions": {"count": 20} | settings}
        return SynthesisRecipe.of("instructions", table)

    return make


def scripted(*replies: str, **more) -> dict[str, object]:
    return {"by": "scripted", "replies": list(replies), **more}


def go(order: SynthesisRecipe, folder, **more):
    return synthesize(order, folder, console=Console(quiet=True), **more)


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "instructions.jsonl").read_text().splitlines()]


# ---- what is read


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("1. Write a poem.", ["Write a poem."]),
        ("Here are two:\n\n1) Write.\n\n2) Sort: b, a.\n", ["Write.", "Sort: b, a."]),
        ("  1.  Say 2. Then 3.\n  2. Go", ["Say 2. Then 3.", "Go"]),
    ],
)
def test_a_numbered_list_is_read(reply, items):
    assert parse_list(reply) == items


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "there is no numbered list"),
        ("Here are four:", "there is no numbered list"),
        ("Write a poem.", "item 1 of a numbered list was expected, not 'Write a poem.'"),
        ("Sure!\n1. Write.", "item 1 .* not 'Sure!'"),
        ("1. Write.\n3. Sort.", "item 2 .* not '3. Sort.'"),
        ("1. Write.\n1. Sort.", "item 2"),
        ("1. Write.\nin rhyme\n2. Sort.", "item 2 .* not 'in rhyme'"),
        ("1. Write.\n\nDo you want more?", "item 2"),
        ("**1.** Write.", "item 1"),
        ("2. Write.", "item 1"),
    ],
)
def test_anything_else_cannot_be_read(reply, reason):
    with pytest.raises(Unreadable, match=reason):
        parse_list(reply)


def test_a_seed_held_out_problem_or_earlier_one_is_not_written_again_and_all_is_counted(order, tmp_path):
    held_out = order(scripted("x")).task.problems("test")[0].chat.text
    told = go(
        order(
            scripted(
                f"1. Name five rivers of Asia.\n2. {held_out.upper()}\n3. Name six rivers of Asia.\n4. Go on.",
                "1. name FIVE rivers of Asia\n2. How do bees sleep at night?\n3. " + "long " * 151,
                "No.",
            ),
            count=2,
            shots=3,
            max_failures=1.0,
        ),
        tmp_path / "new",
    )
    assert rows(tmp_path / "new") == [
        {"instruction": "Name five rivers of Asia.", "reply": 0},
        {"instruction": "How do bees sleep at night?", "reply": 1},
    ]
    assert told.counts["found"] == {"new": 2, "repeated": 2, "similar": 1, "too short": 1}
    assert told.counts["replies"] == {"read": 2}


def test_what_is_too_long_is_counted(order, tmp_path):
    reply = "1. " + "la " * 151 + "\n2. " + "le " * 150
    told = go(order(scripted(reply), count=1, shots=3), tmp_path / "new")
    assert told.counts["found"] == {"too long": 1, "new": 1}


# ---- what is asked


def test_each_reply_is_asked_for_after_seeds_of_its_own_and_never_after_held_out_ones(order, tmp_path, writer):
    with writer(new) as server:
        found = order(server.speaker, count=40, shots=3)
        go(found, tmp_path / "new")
    prompts = [request.asked for request in server.heard]
    shown = [re.findall(r"^- (.+)$", prompt, re.MULTILINE) for prompt in prompts]
    train = {problem.chat.text for problem in found.task.problems("train")}
    assert all(len(set(texts)) == 3 and set(texts) <= train for texts in shown)
    assert len({tuple(texts) for texts in shown}) > 5
    assert {request.body["temperature"] for request in server.heard} == {0.7}


def test_no_more_is_asked_than_could_be_needed(order, tmp_path, writer):
    with writer(new) as server:
        told = go(order(server.speaker, count=40, per_reply=4, at_once=64), tmp_path / "new")
    assert told.rows == 40
    assert len(server.heard) == 10 + (told.counts["found"] != {"new": 40})


def test_the_same_seed_writes_the_same_whoever_answers_first_and_another_seed_another(order, tmp_path, writer):
    def jittered(request):
        return late(random.random() * 0.03, say(new(request)))

    files = []
    for name, changes in (("a", {}), ("b", {"at_once": 3}), ("c", {"seed": 1})):
        with writer(jittered) as server:
            go(order(server.speaker, count=60, **changes), tmp_path / name)
        files.append((tmp_path / name / "instructions.jsonl").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_a_higher_count_goes_on_from_what_is_there(order, tmp_path, writer):
    with writer(new) as server:
        go(order(server.speaker, count=20), tmp_path / "new")
        first, paid = rows(tmp_path / "new"), len(server.heard)
        go(order(server.speaker, count=60), tmp_path / "new", resume=True)
        assert rows(tmp_path / "new")[:20] == first
        assert len(rows(tmp_path / "new")) == 60
        bodies = [json.dumps(request.body, sort_keys=True) for request in server.heard]
        assert len(bodies) == len(set(bodies)) > paid


def test_every_call_is_on_the_ledger_with_the_number_of_its_reply(order, tmp_path, writer):
    with writer(new) as server:
        go(order(server.speaker), tmp_path / "new")
    found = list(entries(tmp_path / "new" / "ledger.sqlite"))
    id_ = json.loads((tmp_path / "new" / "run.json").read_text())["id"]
    assert {(entry["role"], entry["phase"], entry["run"]) for entry in found} == {("writer", "instructions", id_)}
    by_number = {int(entry["problem"]): entry["reply"]["parts"][0]["text"] for entry in found}
    assert all(row["instruction"] in by_number[row["reply"]] for row in rows(tmp_path / "new"))


def test_what_is_written_is_read_as_a_task(order, tmp_path, writer):
    with writer(new) as server:
        go(order(server.speaker), tmp_path / "new")
    task = Instructions(str(tmp_path / "new" / "instructions.jsonl"))
    assert isinstance(task, Task)
    assert [len(task.problems(split)) for split in ("train", "development", "test")] == [16, 2, 2]


# ---- what goes wrong


def test_too_many_failures_stop_it_with_the_commonest_causes_and_keep_what_was_written(order, tmp_path, writer):
    def answer(request):
        good = len(server.heard) < 3
        return new(request) if good else status(500, "no luck") if len(server.heard) % 3 else "I cannot."

    with writer(answer) as server:
        found = order(server.speaker, count=400, at_once=4)
        with pytest.raises(RunStopped, match=r"of 20 replies failed \(max_failures = 20%\): 1\d × Unavai.*no luck"):
            go(found, tmp_path / "new")
    assert len(server.heard) < 30
    told = json.loads((tmp_path / "new" / "run.json").read_text())
    assert told["status"] == "stopped"
    assert told["rows"] == len(rows(tmp_path / "new")) > 0
    assert told["replies"]["unreadable"] + told["replies"]["failed"] > 10


def test_a_few_replies_of_which_most_fail_are_too_many_at_the_end(order, tmp_path):
    replies = ["1. Name five rivers of Asia.", "no", "no", "no", "1. How do bees sleep at night?"]
    with pytest.raises(RunStopped, match="3 of 5 replies failed"):
        go(order(scripted(*replies), count=2, shots=3), tmp_path / "new")


def test_a_reply_that_was_cut_is_not_read(order, tmp_path, writer):
    def answer(request):
        return say(new(request), finish_reason="length" if len(server.heard) == 1 else "stop")

    with writer(answer) as server:
        told = go(order(server.speaker, count=40, at_once=1), tmp_path / "new")
    assert told.counts["replies"] == {"cut off": 1, "read": len(server.heard) - 1}


def test_a_speaker_with_nothing_new_to_say_is_not_asked_for_ever(order, tmp_path, writer):
    with writer(lambda request: "1. Name five rivers of Asia.") as server:
        with pytest.raises(
            RunStopped, match=rf"the last {MAX_BARREN_REPLIES} replies brought no new instruction \(got 1 of"
        ):
            go(order(server.speaker), tmp_path / "new")
        assert MAX_BARREN_REPLIES < len(server.heard) <= MAX_BARREN_REPLIES + 6
    assert len(rows(tmp_path / "new")) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shots": 9}, r"shots = 9, but \[task\] has only 8 training problems of 4 to 150 words; give more"),
        ({"shortest": 9, "longest": 8}, r"\(got shortest = 9, longest = 8\); give a range"),
        ({"prompt": "{shots}"}, r"has the unknown placeholder \{shots\}; choose from \{count\}, \{examples\}"),
        ({"similarity": 0}, "similarity = 0: input should be greater than 0"),
        ({"shot": 3}, r"in \[instructions\]: unknown key 'shot' \(did you mean 'shots'\?\)"),
    ],
)
def test_a_mistaken_setting_is_one_clear_line_before_anything_is_asked(order, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        go(order(scripted("x"), **settings), tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
