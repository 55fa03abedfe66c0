"""Rows as people have them train from the command line, each line of the table in `docs/your_data.md` as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sparring.common.files import read_jsonl
from sparring.core.chat import LEARNER
from sparring.core.experience import Experience, Preference
from sparring.models.renderer import Renderer
from sparring.models.tiny import tiny_tokenizer
from tests.cli.program import refused, rows, sparring_

PAGE = Path(__file__).parents[2] / "docs" / "your_data.md"
LINE = re.compile(r"^\| `([a-z-]+)` \| `(\{.*\})` \| (.*) \|$", re.MULTILINE)
LAYOUTS = [
    pytest.param(name, row, taught, id=f"{number}-{name}")
    for number, (name, row, taught) in enumerate(LINE.findall(PAGE.read_text()))
]
RECIPE = """
[learner]
model = "tiny"

[task]
kind = "table"
train = "{path}"
development_size = 0
test_size = 0

[[phase]]
method = "sft"

[run]
threads = 1
"""


@pytest.fixture
def of_rows(tmp_path):
    """Writes rows to a file and a recipe that trains on them."""

    def write(*lines: object, more: str = "") -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.format(path=rows(tmp_path / "rows.jsonl", *lines)) + more)
        return path

    return write


def trained(tokenizer: Renderer, run: Path) -> str:
    """The trained tokens of the run's only demonstration, as text between «»."""
    [path] = run.glob("rounds/1-sft/0001/experience.jsonl")
    [taught] = read_jsonl(path, Experience)
    found = ""
    for row in tokenizer.rows(taught.chat, LEARNER):
        shown = "".join(
            tokenizer.decode([token]) if weight else "\0" for token, weight in zip(row.ids, row.weights, strict=True)
        )
        found += "".join(f"«{part}»" for part in shown.split("\0") if part)
    return found


def test_the_page_shows_nine_layouts():
    assert len(LAYOUTS) == 9


@pytest.mark.parametrize(("name", "row", "taught"), LAYOUTS)
def test_a_row_of_the_page_trains_unedited_and_teaches_what_the_page_says(of_rows, tmp_path, name, row, taught):
    phase = '\n[[phase]]\nmethod = "dpo"\n' if name == "preference" else ""
    said = sparring_("train", of_rows(json.loads(row), more=phase), "--run", tmp_path / "run")
    assert said.code == 0, said
    assert f"format of the rows: {name} (1), recognised by the columns" in said.err.replace("\n", " ")
    expected = taught.replace("`", "").replace("⏎", "\n").replace(" ", "")
    assert trained(Renderer(tiny_tokenizer()), tmp_path / "run").replace(" ", "") == expected
    if phase:
        [path] = (tmp_path / "run").glob("rounds/2-dpo/0001/experience.jsonl")
        [pair] = read_jsonl(path, Experience)
        assert isinstance(pair, Preference)
        assert (pair.prompt.text, pair.chosen.text, pair.rejected.text) == ("The sky?", "Blue.", "Green.")
        losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        [step] = [line for line in losses if line["kind"] == "step" and line["phase"] == 2]
        assert step["loss"] == pytest.approx(0.6931, abs=1e-3)


IMAGE = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}
PLAIN, QUESTION, PAIR = {"text": "a"}, {"prompt": "a"}, {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    ("lines", "sets", "says"),
    [
        ((PLAIN, IMAGE), (), ("rows.jsonl, row 2: messages, message 1, part 2 is 'image_url'",)),
        ((PLAIN, '{"text": '), (), ("rows.jsonl, row 2: not JSON: Expecting value at column",)),
        ((PLAIN, {"id": 1}), (), ("rows.jsonl, row 2: unknown format of rows (columns id)", "prompt-completion")),
        ((PLAIN,), ("task.format=txt",), ("in [task] (table): format = 'txt'", "'text'")),
        ((PLAIN,), ("phase.1.method=dpo",), ("dpo needs a chosen and a rejected reply in every row and questions",)),
        ((PLAIN,), ("phase.1.thought_format=think",), ("sft needs a thought or a gold answer in every row",)),
        ((QUESTION,), (), ("sft needs replies to imitate", "the task table does not have")),
        (
            (PAIR, PAIR | {"prompt": "c"}, {"prompt": "Why?"}),
            ("task.development_size=0", "task.test_size=0"),
            ("sft needs replies", "1 of 3 training problems lack (the first: 'Why?'); complete or remove them"),
        ),
        ((PLAIN,), ("phase.1.turns=first",), ("turns = 'first'", "'all' or 'last'")),
    ],
)
def test_bad_data_is_one_line_with_its_row(of_rows, tmp_path, lines, sets, says):
    options = [word for setting in sets for word in ("--set", setting)]
    refused("train", of_rows(*lines), "--run", tmp_path / "run", *options, says=says)


def test_a_conversation_that_begins_with_the_assistant_trains_if_the_chat_template_allows_it(of_rows, tmp_path):
    turns = [
        {"role": role, "content": text} for role, text in (("assistant", "Hi."), ("user", "2?"), ("assistant", "Two."))
    ]
    recipe = of_rows({"messages": turns})
    assert sparring_("train", recipe, "--run", tmp_path / "run").code == 0
    assert trained(Renderer(tiny_tokenizer()), tmp_path / "run") == "«Two.<end>»"
    strict = tmp_path / "strict.jinja"
    strict.write_text(
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}"
        + tiny_tokenizer().chat_template
    )
    sets = ("--set", f"learner.chat_template={strict}")
    words = [("--set", "learner.model=" + str(tmp_path / "run/checkpoints/best")), sets]
    options = [word for pair in words for word in pair]
    said = sparring_("train", recipe, "--run", tmp_path / "again", *options)
    assert said.code == 2
    assert "rejects a chat (user first; its roles: assistant, user); change the data" in said.err
    assert "Traceback" not in said.err
    assert "(the conversation begins 'Hi.')" in said.err
    of_rows({"messages": turns[:2], "answer": "Two."})
    of_task = ("--task", "table", "--split", "train", "--set", f"task.train={tmp_path / 'rows.jsonl'}")
    held_out = ("--set", "task.test_size=0", "--set", "task.development_size=0")
    asked = sparring_("evaluate", tmp_path / "run" / "checkpoints" / "best", *of_task, *held_out, *sets)
    assert asked.code == 2, asked
    assert "(the conversation begins 'Hi.')" in asked.err
