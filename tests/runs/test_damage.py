"""Run folders that were damaged: each is gone on with as if nothing had happened, or refused in one line."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparring.common.errors import RunStopped
from sparring.common.files import json_lines, writing
from sparring.config.recipe import Recipe
from sparring.inference.journal import Journal
from sparring.runs.display import Display
from sparring.runs.metrics import Metrics
from sparring.runs.run import train
from tests.cli.program import sparring_
from tests.runs.test_run import assert_as_if_never_stopped

QUIET = Display(quiet=True)
TEXT = """
[task]
kind = "multistep_arithmetic"
range = "easy"
train = 24
development = 4
test = 4

[[phase]]
method = "sft"
replay = 8
rounds = 2
epochs = 3
max_tokens = 24

[[phase]]
method = "response_preference"
rounds = 2
replay = 8
problems = 16
samples = 4
max_tokens = 16
auto_problems = 4
length_penalty = "auto"
trainer.batch_size = 2

[phase.judge]
by = "task"
wrong = 0.3

[trainer]
learning_rate = 2e-3
batch_size = 4

[run]
threads = 1
save_every = 4
evaluate_every = 8
max_learner_failures = 1.0
"""
STOP = ("step", 2, 2, 5)  # after a step of the last round, with checkpoints in that round


class Plug(Exception):
    """A process that dies: nothing is tidied up."""


def recipe() -> Recipe:
    import tomllib

    return Recipe.of(tomllib.loads(TEXT))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "whole"
    train(recipe(), folder, display=QUIET)
    return folder


@pytest.fixture(scope="module")
def dead(tmp_path_factory) -> Path:
    """A run that died after some steps of its last round."""
    folder = tmp_path_factory.mktemp("damage") / "dead"
    real = Metrics.record

    def record(self, key, values):
        line = real(self, key, values)
        if key == STOP:
            raise Plug
        return line

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Metrics, "record", record)
        with pytest.raises(Plug):
            train(recipe(), folder, display=QUIET)
    (folder / "recipe-given.toml").write_text(TEXT)
    return folder


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: bytes(range(256)) * 8,
    "other shape": lambda content: b'{"weights": [1, 2]}\n',
    "a list": lambda content: b"[1, 2]\n",
}
LAST = "rounds/2-response_preference/0002"
NEWEST = "checkpoints/newest"
FILES = [
    "recipe.toml", "run.json", "metrics.jsonl", "rounds/1-sft/0001/episodes.jsonl",
    *(f"{LAST}/{name}" for name in ("episodes.jsonl", "experience.jsonl", "reference.json")),
    *(f"{NEWEST}/{name}" for name in (
        "state/position.json", "state/training.pt", "state/memory.jsonl", "model.safetensors", "config.json",
        "sparring.json", "tokenizer.json")),
    *(f"checkpoints/best/{name}" for name in ("model.safetensors", "config.json", "sparring.json")),
]  # fmt: skip
SILENT = (f"{NEWEST}/state/memory.jsonl", "empty")  # reads as a memory of nothing
REFUSED = {"recipe.toml", "metrics.jsonl", *FILES[4:7], *FILES[-3:]}


def place(folder: Path, name: str) -> Path:
    newest = max(path.name for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    return folder / name.replace("newest", newest)


def gone_on_with(folder: Path) -> tuple[int, list[str]]:
    said = sparring_("train", folder / "recipe-given.toml", "--run", folder, "--resume")
    assert "Traceback" not in said.err
    return said.code, [line for line in said.err.splitlines() if line.startswith("error: ")]


CASES = [
    pytest.param(
        name,
        damage,
        id=f"{name}-{damage}",
        marks=() if row % len(DAMAGES) == column or (name, damage) == SILENT else pytest.mark.long,
    )
    for row, name in enumerate(FILES)
    for column, damage in enumerate(DAMAGES)
]


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_file_is_a_line_or_no_loss(name, damage, dead, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(dead, folder)
    path = place(folder, name)
    content = path.read_bytes()
    damaged = DAMAGES[damage](content)
    path.unlink() if damaged is None else path.write_bytes(damaged)
    code, errors = gone_on_with(folder)
    if code == 2:
        assert name in REFUSED
        assert len(errors) == 1
        assert str(path.parent) in errors[0] or path.name in errors[0]
        _mend(folder, path, content, errors[0])
        assert gone_on_with(folder)[0] == 0
    assert_as_if_never_stopped(folder, whole)


def _mend(folder: Path, path: Path, content: bytes, error: str) -> None:
    """What the line says is to be done."""
    if "remove" in error and "checkpoints" in error.split("remove", 1)[1]:
        shutil.rmtree(folder / "checkpoints")
        if "remove it and" in error:
            path.unlink(missing_ok=True)
    else:
        assert "put that file back" in error or "restore that file" in error or "resume with the same recipe" in error
        path.write_bytes(content)


# ── files that are only ever added to ───────────────────────────────────────────────────────────────────────


def test_whole_lines_are_read_from_anywhere_on_and_a_line_under_way_is_none(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 1}\n[2]\nnonsense\n\xff\n{"a": 3}\n{"a": 4')
    found = list(json_lines(path))
    assert [row.value for row in found] == [{"a": 1}, None, None, None, {"a": 3}]
    assert path.read_bytes()[found[-1].start : found[-1].end] == b'{"a": 3}\n'
    with path.open("ab") as file:
        file.write(b"}\n")
    assert [row.value for row in json_lines(path, found[-1].end)] == [{"a": 4}]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"key": 3}\n', b'{"key": "k", "reply": [1]}\n', b'{"k'])
def test_a_reply_that_is_damaged_is_sampled_again_and_the_others_are_kept(line, tmp_path):
    from sparring.inference.sequence import Completion

    one, two = Completion((1, 2), (0.1, 0.2), "stop", True), Completion((3,), (0.5,), "length", True)
    with Journal(tmp_path / "j") as journal:
        journal.put("one", one)
    with (tmp_path / "j").open("ab") as file:
        file.write(line)
    with Journal(tmp_path / "j") as again:
        assert (again.get("one"), again.get("two")) == (one, None)
        again.put("two", two)
    with Journal(tmp_path / "j") as last:
        assert (last.get("one"), last.get("two")) == (one, two)


def test_what_follows_a_damaged_line_of_metrics_is_put_aside(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path)
    for step in range(3):
        metrics.record(("step", 1, 1, step), {"loss": float(step)})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"nonsense\n" + lines[2])
    assert [line["loss"] for line in Metrics(path)] == [0.0]
    assert path.read_bytes() == lines[0]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == b"nonsense\n" + lines[2]


# ── a full disk ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(3))
def test_a_disk_that_fills_at_any_write_is_one_line_and_the_run_goes_on_afterwards(seed, whole, tmp_path, monkeypatch):
    """Every write is refused from some write on, three times; then the disk has room again."""
    rng, folder, said = random.Random(seed), tmp_path / "run", []
    for _ in range(3):
        with monkeypatch.context() as patch:
            _fill(patch, rng.randrange(2, 120))
            try:
                train(recipe(), folder, resume=True, display=QUIET)
            except RunStopped as error:
                said.append(str(error))
        assert not [path for path in folder.rglob("*") if path.name.endswith((".partial", ".old"))]
    assert said
    for line in said:
        assert "No space left on device" in line
        assert "; free space" in line
    train(recipe(), folder, resume=True, display=QUIET)
    assert_as_if_never_stopped(folder, whole)


def _fill(patch: pytest.MonkeyPatch, after: int) -> None:
    """So many times a file is opened for writing; from then on the disk is full."""
    from safetensors import SafetensorError
    from transformers import modeling_utils

    count = 0

    def counted(real, error):
        def write(*args, **more):
            nonlocal count
            count += 1
            if count > after:
                raise error
            return real(*args, **more)

        return write

    real = Path.open

    def opened(self, mode="r", *args, **more):
        nonlocal count
        count += "r" not in mode
        if "w" in mode and count > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        if "r" not in mode and count > after:
            return open("/dev/full", mode, *args, **more)
        return real(self, mode, *args, **more)

    patch.setattr(Path, "open", opened)
    rust = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    patch.setattr(modeling_utils, "safe_save_file", counted(modeling_utils.safe_save_file, rust))


def test_what_libraries_in_rust_say_of_a_full_disk_is_one_line_too(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(RunStopped, match=r"cannot write .*tokenizer.json: No space left on device"), writing(path):
        raise Exception("No space left on device (os error 28)")
    with pytest.raises(ValueError, match="of its own"), writing(tmp_path):
        raise ValueError("a fault of its own")
