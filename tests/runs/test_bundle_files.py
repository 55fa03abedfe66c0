"""Which files of a recipe a bundle takes along, and what is named instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError
from sparring.common.schema import FilePath
from sparring.config.recipe import Recipe
from sparring.partners.task_discussant import TaskDiscussant
from sparring.runs.bundle import Packing, from_hub
from tests.runs.test_bundle import JUDGE


def packed(**tables) -> Packing:
    phase = {"method": "saie", "discussant": {"by": "command", "command": ["data/partner.py"]}}
    table = {"task": {"kind": "multistep_arithmetic"}, "phase": [phase], **tables}
    return Packing(Recipe.of(table), table)


def test_what_the_recipe_reads_is_packed_and_what_its_speakers_read_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/partner.py",
        "model/config.json",
        "model/a/b.safetensors",
        "chat.jinja",
        "saie",
        "tiny",
        "table",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    rows = "".join(f'{{"prompt": "{n}+1=", "answer": "{n + 1}"}}\n' for n in range(20))
    (tmp_path / "data" / "rows.jsonl").write_text(rows)
    (tmp_path / "data" / "right.py").write_text(JUDGE)
    task = {"kind": "table", "train": "data/rows.jsonl", "right": "data/right.py:right", "system": "data/rows.jsonl"}
    found = packed(learner={"model": "model", "chat_template": "chat.jinja"}, task=task)
    assert {name: Path(path).read_text() for name, path in found.files.items()} == {
        "files/learner.model/model/config.json": "# model/config.json",
        "files/learner.model/model/a/b.safetensors": "# model/a/b.safetensors",
        "files/learner.chat_template/chat.jinja": "# chat.jinja",
        "files/task.train/rows.jsonl": rows,
        "files/task.right/right.py": JUDGE,
        "files/task.right/partner.py": "# data/partner.py",
    }
    assert found.table["learner"] == {
        "model": "bundle:learner.model/model",
        "chat_template": "bundle:learner.chat_template/chat.jinja",
    }
    assert found.table["task"] == {
        **task, "train": "bundle:task.train/rows.jsonl", "right": "bundle:task.right/right.py:right"
    }  # fmt: skip
    assert found.table["phase"][0]["discussant"]["command"] == ["data/partner.py"]
    assert packed(learner={"model": "tiny"}).files == {}
    Path("number").write_text("a file named like a rule")
    assert packed(task={**task, "right": "number"}).table["task"]["right"] == "number"
    with pytest.raises(ConfigError, match=r"the learner's initial model runs/x/final does not exist"):
        packed(learner={"model": "runs/x/final"})


@dataclass(frozen=True)
class Noted(TaskDiscussant):
    """A partner from outside the package that reads files of its own."""

    notes: FilePath | None = None
    pages: tuple[FilePath, ...] = ()
    title: str = ""


def test_a_class_from_outside_states_which_of_its_fields_name_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("notes.txt", "first.txt", "title.txt"):
        Path(name).write_text(name)
    noted = {"by": f"{__name__}.Noted", "notes": "notes.txt", "pages": ["first.txt", "lost.txt"], "title": "title.txt"}
    found = packed(phase=[{"method": "saie", "discussant": noted}])
    assert {name: Path(path).read_text() for name, path in found.files.items()} == {
        "files/phase.1.discussant.notes/notes.txt": "notes.txt",
        "files/phase.1.discussant.pages.1/first.txt": "first.txt",
    }
    assert found.table["phase"][0]["discussant"] == {
        **noted,
        "notes": "bundle:phase.1.discussant.notes/notes.txt",
        "pages": ["bundle:phase.1.discussant.pages.1/first.txt", "lost.txt"],
    }


def test_adapters_of_a_base_that_lies_elsewhere_are_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "adapted").mkdir()
    adapted = tmp_path / "adapted" / "adapter_config.json"
    adapted.write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "base")}))
    with pytest.raises(ConfigError, match=r"holds adapters of .*base; merge them with sparring export"):
        packed(learner={"model": "adapted"})
    adapted.write_text(json.dumps({"base_model_name_or_path": "owner/name"}))
    assert list(packed(learner={"model": "adapted"}).files) == ["files/learner.model/adapted/adapter_config.json"]


def test_what_is_on_the_hub_is_named_with_its_revision_where_that_is_known(monkeypatch):
    cached = {"owner/name": "/cache/snapshots/4f2c/config.json"}
    monkeypatch.setattr("sparring.runs.bundle.try_to_load_from_cache", lambda name, *_, **__: cached.get(name))
    task = {"kind": "table", "train": "hub:people/rows/main:train[:9]", "prompt_column": "a/b"}
    assert from_hub({"learner": {"model": "owner/name"}, "task": task}) == {
        "learner.model": "owner/name@4f2c",
        "task.train": "people/rows/main:train[:9]",
    }
    assert from_hub({"learner": {"model": "tiny"}, "task": {"kind": "gsm8k", "source": "openai/gsm8k"}}) == {
        "task.source": "openai/gsm8k"
    }
