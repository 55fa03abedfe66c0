"""A synthesis in its folder: stopped, killed, resumed, replayed; and the command `sparring write`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from sparring.cli.ledger import ledger
from sparring.common.errors import ConfigError
from sparring.common.schema import keys
from sparring.config.recipe import Recipe
from sparring.ledger import BudgetReached, NotRecorded, totals
from sparring.runs.display import Display
from sparring.runs.run import train
from sparring.synthesis import SynthesisRecipe, synthesize
from sparring.synthesis.recipe import WRITERS
from tests.cli.program import refused, sparring_
from tests.fault_server import late, say
from tests.synthesis.test_instructions import SEEDS, new

QUIET = Console(quiet=True)
KEY = "sk-canary-0123456789"


@pytest.fixture
def table(tmp_path):
    """Return a function that makes a table for 40 new instructions."""
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps({"instruction": text}) + "\n" for text in SEEDS))

    def make(speaker, **more):
        task = {"kind": "instructions", "train": str(tmp_path / "seeds.jsonl"), "development_size": 0, "test_size": 0}
        return {"task": task, "speaker": speaker, "instructions": {"count": 40}, **more}

    return make


def order(table, *settings) -> SynthesisRecipe:
    return SynthesisRecipe.read("instructions", table, settings)


def told(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_an_order_told_as_toml_is_the_same_order(table, tmp_path):
    found = order(table({"by": "scripted", "replies": ["x"]}), "instructions.count=3", "budget.run.money=1.5")
    (tmp_path / "order.toml").write_text(found.toml())
    assert SynthesisRecipe.read("instructions", tmp_path / "order.toml") == found


def test_at_the_cap_it_stops_with_what_it_has_and_goes_on_paying_nothing_twice(table, tmp_path, writer):
    with writer(new) as server:
        mine = table(server.speaker)
        with pytest.raises(BudgetReached, match=r"has spent 6 of its budget of 6 calls .* raise budget.run.calls"):
            synthesize(order(mine, "budget.run.calls=6"), tmp_path / "new", console=QUIET)
        assert len(server.heard) == 6
        assert (told(tmp_path / "new")["status"], told(tmp_path / "new")["rows"]) == ("stopped", 24)
        first = (tmp_path / "new" / "instructions.jsonl").read_bytes()
        synthesize(order(mine, "budget.run.calls=600"), tmp_path / "new", resume=True, console=QUIET)
        whole = (tmp_path / "new" / "instructions.jsonl").read_bytes()
        assert whole.startswith(first)
        assert told(tmp_path / "new")["status"] == "finished"
        bodies = [json.dumps(request.body, sort_keys=True) for request in server.heard]
        assert len(bodies) == len(set(bodies))
        synthesize(order(mine), tmp_path / "other", console=QUIET)
    assert (tmp_path / "other" / "instructions.jsonl").read_bytes() == whole


def test_stopped_again_before_it_came_as_far_it_keeps_what_was_there(table, tmp_path, writer, monkeypatch):
    with writer(new) as server:
        mine = table(server.speaker)
        synthesize(order(mine), tmp_path / "new", console=QUIET)
        before = (tmp_path / "new" / "instructions.jsonl").read_bytes()

        async def interrupt(*args, **more):
            raise KeyboardInterrupt

        monkeypatch.setattr("sparring.ledger.Ledger.reply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            synthesize(order(mine), tmp_path / "new", resume=True, console=QUIET)
    assert (tmp_path / "new" / "instructions.jsonl").read_bytes() == before
    assert (told(tmp_path / "new")["status"], told(tmp_path / "new")["rows"]) == ("stopped", 40)


def test_a_replay_asks_nobody_and_names_what_was_not_recorded(table, tmp_path, writer):
    ledger = f"ledger.path={tmp_path / 'shared.sqlite'}"
    with writer(new) as server:
        mine = table(server.speaker)
        synthesize(order(mine, ledger), tmp_path / "new", console=QUIET)
    synthesize(order(mine, ledger, "ledger.mode=replay"), tmp_path / "again", console=QUIET)
    assert (tmp_path / "again" / "instructions.jsonl").read_bytes() == (
        tmp_path / "new" / "instructions.jsonl"
    ).read_bytes()
    with pytest.raises(NotRecorded, match=r"no reply for sample .* of writer at m, problem"):
        synthesize(order(mine, ledger, "ledger.mode=replay", "instructions.seed=1"), tmp_path / "else", console=QUIET)


def test_a_folder_that_holds_something_is_gone_on_with_only_on_purpose_and_only_by_the_same_order(table, tmp_path):
    mine = table({"by": "scripted", "replies": ["1. " + " ".join("abcdefg")]}, instructions={"count": 1})
    synthesize(order(mine), tmp_path / "new", console=QUIET)
    with pytest.raises(ConfigError, match="new holds a run already; resume it with --resume"):
        synthesize(order(mine), tmp_path / "new", console=QUIET)
    with pytest.raises(ConfigError, match=r"was started with other settings \(instructions.shots: 8 → 7\)"):
        synthesize(order(mine, "instructions.shots=7"), tmp_path / "new", resume=True, console=QUIET)
    synthesize(
        order(mine, "instructions.at_once=2", "budget.run.calls=9"), tmp_path / "new", resume=True, console=QUIET
    )


def test_the_ledger_of_a_writing_is_shown_and_holds_no_key(table, tmp_path, writer, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with writer(new) as server:
        synthesize(order(table(server.speaker)), tmp_path / "new", console=QUIET)
    assert server.heard[0].headers["authorization"] == f"Bearer {KEY}"
    ledger(tmp_path / "new", failures=True, output=None)
    said = capsys.readouterr().out
    assert "writer" in said
    assert f"{len(server.heard)} calls, 0 failed" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_killed_it_goes_on_and_ends_as_if_it_had_never_stopped(table, tmp_path, writer):
    with writer(lambda request: late(0.02, say(new(request)))) as server:
        mine = order(table(server.speaker), "instructions.count=400", "speaker.in_flight=2")
        (tmp_path / "order.toml").write_text(mine.toml())
        words = ("write", "instructions", str(tmp_path / "order.toml"), "--run", str(tmp_path / "killed"))
        with subprocess.Popen([sys.executable, "-m", "sparring.cli.main", *words], start_new_session=True) as program:
            begun = time.monotonic()
            while len(server.heard) < 30 and time.monotonic() - begun < 60:
                time.sleep(0.01)
            os.kill(program.pid, signal.SIGKILL)
        paid = totals(tmp_path / "killed" / "ledger.sqlite")[0].calls
        assert 20 <= paid < 100
        assert not (tmp_path / "killed" / "instructions.jsonl").exists()
        heard = len(server.heard)
        again = sparring_(*words, "--resume")
        assert again.code == 0, again
        assert "400 rows in" in again.out
        assert "replies: read" in again.out
        total = totals(tmp_path / "killed" / "ledger.sqlite")[0].calls
        assert len(server.heard) - heard == total - paid  # all that was recorded was not asked again
        synthesize(mine, tmp_path / "whole", console=QUIET)
    assert (tmp_path / "killed" / "instructions.jsonl").read_bytes() == (
        tmp_path / "whole" / "instructions.jsonl"
    ).read_bytes()


def test_the_verb_takes_all_keys_from_the_command_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "What is 2 + 3?", "answer": 5}\n')
    settings = (
        "task.kind=table", f"task.train={tmp_path / 'rows.jsonl'}", "task.development_size=0", "task.test_size=0",
        "task.right=number", "speaker.by=scripted", 'speaker.replies=["Two and three.\\nThe answer is 5."]',
    )  # fmt: skip
    options = [word for setting in settings for word in ("--set", setting)]
    said = sparring_("write", "rationales", "--run", tmp_path / "out", *options)
    assert said.code == 0, said
    assert said.out.splitlines() == [
        f"1 rows in {tmp_path / 'out' / 'rationales.jsonl'}",
        "replies: right 1",
        "found: written 1",
    ]


SCRIPTED = ("--set", "speaker.by=scripted", "--set", 'speaker.replies=["x"]')
TASK = ("--set", "task.kind=multistep_arithmetic")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("write", "poems", "--run", "x"), ("'poems'", "'instructions', 'rationales'")),
        (("write", "instructions"), ("--run",)),
        (("write", "instructions", "--run", "x"), ("[task]", "the key kind is missing")),
        (("write", "instructions", "--run", "x", *TASK), ("[speaker]", "the key by is missing", "endpoint")),
        (("write", "instructions", "--run", "x", *TASK, "--set", "speaker.by=endpont"), ("did you mean 'endpoint'",)),
        (
            ("write", "instructions", "--run", "x", "--set", "rationales.tries=2"),
            ("unknown table for writing instructions",),
        ),
        (("write", "instructions", "--run", "x", "--set", "task=3"), ("task must be a table (got 3)", "[task]")),
        (("write", "instructions", "no.toml", "--run", "x"), ("no.toml", "No such file")),
        (
            ("write", "instructions", "--run", "x", *TASK, "--set", "speaker.by=reward", "--set", "speaker.model=m"),
            ("[speaker]: by = 'reward' can only be a judge",),
        ),
        (("write", "rationales", "--run", "x", *TASK, *SCRIPTED), ("lacks a rationale", "only_missing = false")),
        (
            ("write", "rationales", "--run", "x", *TASK, *SCRIPTED, "--set", "rationales.tries=0"),
            ("[rationales]: tries = 0", "greater than 0"),
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*words, says=says)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, writer, table):
    (tmp_path / "file").write_text("precious")
    with writer(new) as server:
        (tmp_path / "order.toml").write_text(order(table(server.speaker)).toml())
        refused(
            "write", "instructions", tmp_path / "order.toml", "--run", tmp_path / "file" / "new",
            says=("cannot write", "choose another folder"),
        )  # fmt: skip
    assert not server.heard


def test_there_are_two_kinds_of_data():
    assert list(WRITERS) == ["instructions", "rationales"]


LONGER = """import json, sys
asked = json.load(sys.stdin)["messages"][-1]["content"]
said = asked.split("Response:\\n")[1].split("\\n\\nReason")[0]
assert "<R>" not in said
print(json.dumps({"text": f"Score: {min(10, len(said))}"}))
"""


def test_from_a_few_instructions_to_a_learner_that_a_judge_has_taught_to_think(table, tmp_path, writer):
    """No answer is written by a person: programs and models make instructions, thoughts and scores."""
    with writer(new) as server:
        synthesize(order(table(server.speaker)), tmp_path / "new", console=QUIET)
    asked = [json.loads(line) for line in (tmp_path / "new" / "instructions.jsonl").read_text().splitlines()]
    shaped = [  # a warm-up in the form of a reply alone
        {"prompt": row["instruction"], "answer": "a", "rationale": f"hm<R>{'abcd'[n % 4] * (1 + n % 3)}"}
        for n, row in enumerate(asked)
    ]
    (tmp_path / "warm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shaped))
    (tmp_path / "judge.py").write_text(LONGER)
    judge = {"by": "command", "command": [sys.executable, str(tmp_path / "judge.py")], "mode": "pointwise"}
    runs = {"threads": 1, "evaluate_problems": 0, "test_problems": 0}
    warm = {
        "task": {"kind": "table", "train": str(tmp_path / "warm.jsonl"), "right": "regex"},
        "phase": [{"method": "sft", "epochs": 16, "max_tokens": 16}],
        "trainer": {"learning_rate": 3e-3, "batch_size": 8},
        "run": runs,
    }
    train(Recipe.read(warm), tmp_path / "warm", display=Display(quiet=True))
    taught = {
        "learner": {"model": str(tmp_path / "warm" / "checkpoints" / "final")},
        "task": {"kind": "instructions", "train": str(tmp_path / "new" / "instructions.jsonl")},
        "phase": [
            {
                "method": "thought_preference", "thought_format": "specific", "thought_prompt": "",
                "problems": 8, "samples": 3, "max_tokens": 16, "length_penalty": "auto", "judge": judge,
            }
        ],
        "run": {"threads": 1},
    }  # fmt: skip
    result = train(Recipe.read(taught), tmp_path / "taught", display=Display(quiet=True))
    assert result.test["primary"] == "score"  # nothing but the judge tells good from bad
    metrics = [json.loads(line) for line in (tmp_path / "taught" / "metrics.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in metrics} == {"step", "round", "development", "test", "test_final"}
    [played] = [line for line in metrics if line["kind"] == "round"]
    assert played["readable"] > 0.5
    assert played["experience"] > 0
    assert totals(tmp_path / "taught" / "ledger.sqlite")[0].role == "judge"
    refused("evaluate", tmp_path / "taught", says=("solo needs gold answers", "the task instructions"))


# ---- docs/data.md

PAGE = (Path(__file__).parent.parent.parent / "docs" / "data.md").read_text()
SHOWN = re.findall(r"^```toml[^\n]*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_orders_that_are_shown_are_orders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = [f'{{"instruction": "q{n}", "prompt": "q{n}", "answer": "{n}"}}\n' for n in range(40)]
    for name, text in zip(("instructions", "rationales"), SHOWN, strict=True):
        for path in set(re.findall(r'"(data/[\w.]+)"', text)):
            (tmp_path / path).write_text("".join(rows))
        assert SynthesisRecipe.of(name, tomllib.loads(text)).task.problems("train")


def test_every_key_of_an_order_is_documented():
    for kind in WRITERS.values():
        assert [key for key in keys(kind) if f"`{key}`" not in PAGE] == []
        assert all(f"{name}" in PAGE for name in ("new", "repeated", "similar", "too short", "too long"))
