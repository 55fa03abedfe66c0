"""Files are written whole and read back as they were written."""

from __future__ import annotations

import errno

import pytest

from sparring.common.errors import ConfigError, RunStopped
from sparring.common.files import read_jsonl, write_jsonl, write_whole
from sparring.core.chat import LEARNER, Message, Part, question
from sparring.core.experience import Demonstration, Experience, Preference

PIECES = [
    Demonstration("p1", question("q").then(Message(LEARNER, (Part("é\n", LEARNER, (1, 2), 1.5),))), "gold"),
    Preference("p2", question("q", "s"), Message(LEARNER, (Part("a", LEARNER),)), Message(LEARNER, ())),
]


def test_experience_is_read_as_it_was_written(tmp_path):
    write_jsonl(tmp_path / "e.jsonl", PIECES, Experience)
    assert read_jsonl(tmp_path / "e.jsonl", Experience) == PIECES


def test_a_malformed_row_is_named_by_its_number(tmp_path):
    write_jsonl(tmp_path / "e.jsonl", PIECES, Experience)
    text = (tmp_path / "e.jsonl").read_text().splitlines()
    (tmp_path / "e.jsonl").write_text(text[0] + "\n" + text[1][:-9] + "\n")
    with pytest.raises(ConfigError, match="row 2"):
        read_jsonl(tmp_path / "e.jsonl", Experience)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_whole(tmp_path / "f", "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunStopped, match=r"f: No space left on device"):
        write_whole(tmp_path / "f", "new")
    assert (tmp_path / "f").read_text() == "old"
