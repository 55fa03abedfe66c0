"""Every baseline of docs/baselines.md runs by its command, and teaches what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sparring.common.files import read_jsonl
from sparring.core.chat import Chat
from sparring.core.episode import Episode
from sparring.core.experience import Experience
from tests.cli.program import sparring_

PAGE = Path(__file__).parent.parent / "docs" / "baselines.md"
COMMANDS = dict(re.findall(r"^\| [^|]+ \| ([^|]+) \| `sparring (train [^`]+)` \|$", PAGE.read_text(), re.MULTILINE))
TASK = ["task.train=32", "task.development=4", "task.test=4", "run.threads=1", "run.evaluate_every=0",
        "run.max_learner_failures=1", "trainer.batch_size=4"]  # fmt: skip
TINY = {  # so small that a run takes a second
    "sft": ["phase.2.rounds=2"],
    "saie": ["phase.saie.rounds=3", "phase.saie.problems=8"],
    "tripost": ["phase.tripost.rounds=1"],
    "lmsi": ["phase.lmsi.epochs=1"],
    "response_preference": ["phase.response_preference.rounds=1", "phase.response_preference.problems=8"],
}
SAME_TOKENS, SAME_TIME = "plain fine-tuning, as many gradient tokens", "plain fine-tuning, as much wall time"
FROZEN = "discussions of a frozen learner"
SMALLER = {
    SAME_TOKENS: ["phase.2.rounds=99", "phase.2.max_gradient_tokens=900"],
    SAME_TIME: ["phase.2.rounds=99", "phase.2.max_seconds=0.2"],
    FROZEN: ["phase.saie.rounds=1", "phase.saie.problems=40", "phase.saie.updates_per_round=5"],
}


def run(words: str, folder: Path, *changes: str) -> Path:
    said = sparring_(*words.split(), "--run", folder, *(word for change in changes for word in ("--set", change)))
    assert said.code == 0, said
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run the command of a baseline, made small, with a learner that has learnt to end its replies."""
    folder = tmp_path_factory.mktemp("baselines")
    warm = run("train sft", folder / "warm", *TASK, "phase.1.epochs=40", "phase.2.problems=1", "phase.2.rounds=1")
    start = [f"learner.model={warm / 'checkpoints' / 'final'}", "phase.1.epochs=1", "phase.1.problems=4"]

    def train(name: str, baseline: str, *settings: str) -> Path:
        command = COMMANDS[baseline]
        small = TINY[command.split()[1]] + SMALLER.get(baseline, [])
        return run(command, folder / name, *TASK, *start, *small, *settings)

    return train


def rounds(folder: Path) -> list[Path]:
    """The folders of the rounds of the last phase."""
    return sorted(max((folder / "rounds").iterdir()).iterdir())


def played(folder: Path) -> list[Episode]:
    return [episode for path in rounds(folder) for episode in read_jsonl(path / "episodes.jsonl", Episode)]


def learnt(folder: Path) -> list[Experience]:
    return [piece for path in rounds(folder) for piece in read_jsonl(path / "experience.jsonl", Experience)]


def figures(folder: Path, kind: str) -> list[dict]:
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if (line["kind"], line["phase"]) == (kind, 2)]


def remark(chat: Chat) -> str:
    return "".join(message.text for message in chat.messages if message.author == "discussant")


def test_the_page_has_eleven_baselines_and_names_those_that_train_nothing():
    assert len(COMMANDS) == 11
    assert set(SMALLER) <= set(COMMANDS)
    for words in ("seed model", "protocol `thinking`", "`self_improvement` with `prompted = true`"):
        assert words in " ".join(PAGE.read_text().split())


def test_plain_fine_tuning_gets_as_many_gradient_tokens(trained):
    folder = trained("tokens", SAME_TOKENS)
    *before, last = figures(folder, "round")
    assert last["gradient_tokens"] >= 900
    assert all(line["gradient_tokens"] < 900 for line in before)
    assert {piece.group for piece in learnt(folder)} == {"gold"}


def test_plain_fine_tuning_gets_as_much_time(trained):
    *before, last = figures(trained("time", SAME_TIME), "round")
    assert last["seconds"] >= 0.2
    assert all(line["seconds"] < 0.2 for line in before)


@pytest.mark.parametrize("stance", ["supportive", "adversarial"])
def test_one_stance_only(stance, trained):
    episodes = played(trained(stance, f"{stance} remarks only"))
    assert {e.notes["adversarial"] for e in episodes if not e.failed} == {stance == "adversarial"}


def test_a_placebo_says_the_same_to_everybody(trained):
    pieces = learnt(trained("placebo", "a placebo: the same sentence to everybody"))
    assert {(piece.group, remark(piece.chat)) for piece in pieces} == {
        ("discussion", "Please look again."), ("gold", "")
    }  # fmt: skip


def test_shuffled_remarks_come_from_other_problems_of_the_round(trained):
    for path in rounds(trained("shuffled", "shuffled remarks: each made for another problem")):
        episodes = read_jsonl(path / "episodes.jsonl", Episode)
        made = {episode.problem.id: remark(episode.chat) for episode in episodes if not episode.failed}
        pieces = read_jsonl(path / "experience.jsonl", Experience)
        taught = {piece.problem: remark(piece.chat) for piece in pieces if piece.group == "discussion"}
        assert len(taught) > 2
        assert sorted(taught.values()) == sorted(made.values())
        assert sum(taught[problem] == made[problem] for problem in taught) <= 1  # two remarks may say the same


def test_a_frozen_learner_plays_all_discussions_before_its_first_update(trained):
    """So no learning rate changes them; on-line, the discussions after the first update are others."""
    frozen = trained("frozen", FROZEN)
    faster = trained("faster", FROZEN, "phase.saie.trainer.learning_rate=1e-2")
    live = trained("live", FROZEN, "phase.saie.rounds=5", "phase.saie.problems=8", "phase.saie.updates_per_round=1")
    assert len(played(frozen)) == 40
    assert len(figures(frozen, "step")) == len(figures(live, "step")) == 5
    assert played(frozen) == played(faster)
    assert [e.problem for e in played(live)] == [e.problem for e in played(frozen)]
    assert played(live)[:8] == played(frozen)[:8]
    assert played(live)[8:] != played(frozen)[8:]
    attempts: dict[str, set] = {}  # of the problems that come twice: all 40 are from a split of 32
    for episode in played(frozen):
        attempts.setdefault(episode.problem.id, set()).add((episode.problem.visit, episode.chat.messages[1:]))
    assert any(len({words for _, words in found}) == 2 for found in attempts.values())


def test_fine_tuning_on_rationales(trained):
    assert [piece.group for piece in learnt(trained("rationales", "fine-tuning on rationales"))] == ["gold"] * 64


def test_demonstrations_by_others_hold_no_word_of_the_learner(trained):
    pieces = learnt(trained("others", "self-improvement demonstrations by others"))
    parts = [part for piece in pieces for part in piece.chat.last.parts]
    assert {part.writer for part in parts} == {"author", "critic", "editor", "gold", "marker"}
    assert not any(part.ids for part in parts)
    groups = [piece.group for piece in pieces]
    assert groups.count("other") == -(-groups.count("self_improvement") * 2 // 3)  # 1.5 : 1


def test_lmsi_imitates_its_own_right_answers_in_two_forms(trained):
    pieces = learnt(trained("lmsi", "LMSI: its own right answers, at temperature 1.2"))
    assert pieces
    assert [piece.group for piece in pieces] == ["chain_of_thought", "direct"] * (len(pieces) // 2)
    assert all(piece.chat.last.parts[0].ids for piece in pieces[::2])


def test_direct_responses_are_preferred_without_a_thought(trained):
    folder = trained("direct", "preference training of direct responses")
    assert [len(episode.candidates) for episode in played(folder)] == [8] * 8
    assert learnt(folder)
    assert all(piece.prompt in [episode.problem.chat for episode in played(folder)] for piece in learnt(folder))
