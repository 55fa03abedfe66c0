"""Small modules without models: seeds, files, templates, tables, catalogues."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Interval

from sparring.common.errors import ConfigError, RunStopped
from sparring.common.files import read_jsonl, write_jsonl, write_whole
from sparring.common.registry import Catalogue, first_sentence
from sparring.common.schema import build, differences, plain
from sparring.common.seeds import digest, named_rng, stream
from sparring.core.chat import LEARNER, Chat, Message, Part, question
from sparring.core.experience import Demonstration, Experience, Memory, Preference
from sparring.core.prompt import check_placeholders, fill

# ── seeds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_streams_depend_on_their_names_alone():
    assert stream(0, "a", 1) == stream(0, "a", 1) == 7_174_685_544_028_397_518
    assert len({stream(0, "a", n) for n in range(1000)}) == 1000
    assert digest("a", "b") != digest("ab")
    assert named_rng(1).random() == named_rng(1).random()


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────

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


def test_memory_replays_the_newest_of_earlier_rounds():
    memory: Memory = Memory(3)
    a, b, c, d = ([Demonstration(name, Chat())] * 2 for name in "abcd")
    for fresh, replayed in ((a, a), (b, [*b, *a]), (c, [*c, a[0], *b])):
        assert memory.replay(fresh) == replayed
        assert memory.replay(fresh) == replayed  # a round that is begun again replays the same
        memory.remember(fresh)
    none = Memory(0)
    none.remember(d)
    assert none.replay(d) == d


# ── templates ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_goes_into_a_blank_is_never_a_template():
    assert fill("Q: {question} {gold}", question="{gold} {x}", gold="4") == "Q: {gold} {x} 4"
    assert fill('{"json": [1]} {question}', question="a") == '{"json": [1]} a'


def test_a_blank_without_words_is_an_error():
    with pytest.raises(ConfigError, match=r"\{qestion\}.*\{question\}"):
        fill("Q: {qestion}", question="a")
    with pytest.raises(ConfigError, match="answer"):
        check_placeholders("{answer}", ("question",))


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Inner:
    rank: int = 4


@dataclass(frozen=True)
class Outer:
    size: int
    share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    mode: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    inner: Inner | None = None


def test_a_table_becomes_a_dataclass_and_back():
    table = {"size": 3, "share": 1, "mode": "b", "names": ["x"], "inner": {"rank": 8}}
    found = build(Outer, table, "[outer]")
    assert found == Outer(3, 1.0, "b", ("x",), Inner(8))
    assert build(Outer, plain(found), "[outer]") == found


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"sise": 3}, r"in \[outer\]: unknown key 'sise' \(did you mean 'size'\?\)"),
        ({}, "the key size is missing"),
        ({"size": "3"}, "size = '3': input should be a valid integer"),
        ({"size": 3, "share": 1.5}, "share = 1.5: input should be less than or equal to 1"),
        ({"size": 3, "mode": "c"}, "mode = 'c': input should be 'a' or 'b'"),
        ({"size": 3, "inner": {"rnk": 1}}, "did you mean 'rank'"),
    ],
)
def test_a_mistake_is_one_line_with_value_and_remedy(table, told):
    with pytest.raises(ConfigError, match=told):
        build(Outer, table, "[outer]")


def test_differences_name_the_key_and_both_values():
    old = {"phase": [{"method": "sft"}, {"rounds": 1}], "run": {"seed": 0}}
    new = {"phase": [{"method": "sft"}, {"rounds": 2}], "run": {"seed": 0}}
    assert differences(old, new) == ["phase.2.rounds: 1 → 2"]
    assert differences(old, old) == []


# ── catalogues ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_name_is_told_with_all_known_ones():
    with pytest.raises(
        ConfigError, match=r"unknown method 'tripos' \(did you mean 'tripost'\?\); choose from .*saie.*sft"
    ):
        Catalogue("sparring.methods", "method")["tripos"]


def test_a_dotted_path_admits_things_from_outside():
    methods = Catalogue("sparring.methods", "method")
    assert methods["sparring.parsing.steps.Fault"].__name__ == "Fault"
    with pytest.raises(ConfigError, match="not a dataclass"):
        methods["fractions.Fraction"]
    with pytest.raises(ConfigError, match=r"no_such"):
        methods["no_such.Thing"]
    with pytest.raises(ConfigError, match="not a dataclass"):
        methods["math.pi"]


def test_a_summary_is_the_first_sentence_of_the_docstring():
    assert first_sentence(Catalogue("sparring.partners", "partner")["model_critic"]) == (
        "Asks a speaker where an attempt first goes wrong."
    )
