"""Learners that discuss: what each is shown, who votes, and the figures of each turn by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from sparring.common.errors import ConfigError, CutOff, Unavailable
from sparring.core.chat import LEARNER, Chat
from sparring.core.partner import Nobody
from sparring.core.protocol import Participant, SingleReply
from sparring.core.speaker import Reply, Sampling, text_reply
from sparring.methods.tripost import TriPosT
from sparring.parsing.steps import LINES
from sparring.protocols.discussion import LOOK_AGAIN, OTHERS, Discussion
from tests.protocols.asking import heard, measure, participant, texts

QUESTION = "((3+7)+5)="
LONG = "3+7=10\n" * 400 + "15"


@dataclass
class Chorus:
    """A learner whose copies have lines of their own: `lines[copy][turn]`; None fails."""

    lines: list[list[str | None]]
    heard: list[tuple[int, Chat, Sampling]] = field(default_factory=list)

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        copy = sample // 1000
        turn = sum(other == copy for other, _, _ in self.heard)
        self.heard.append((copy, chat, sampling))
        if (line := self.lines[copy][turn]) is None:
            raise Unavailable("no line")
        return text_reply(line, LEARNER)


def chorus(*lines: list[str | None]) -> Participant:
    return Participant("learner", Chorus(list(lines)), SingleReply(), LINES)


def others(*answers: str) -> str:
    return OTHERS.replace("{answers}", "\n\n".join(f"Answer {n}:\n{text}" for n, text in enumerate(answers, start=1)))


def test_two_learners_read_each_other_word_by_word():
    one, two = participant("14", "15", "15"), participant("15", f"It is {LONG}", "16")
    found = measure(Discussion(), one, two)
    assert texts(found.transcripts) == [
        [("user", QUESTION), (LEARNER, "14"), ("user", others("15")), (LEARNER, "15"),
         ("user", others(f"It is {LONG}")), (LEARNER, "15")],
        [("user", QUESTION), (LEARNER, "15"), ("user", others("14")), (LEARNER, f"It is {LONG}"),
         ("user", others("15")), (LEARNER, "16")],
    ]  # fmt: skip
    assert heard(one)[-1] == found.transcripts[0].messages[-2].text
    assert found.measures == {
        "accuracy": True,  # one of each: the earlier answer
        "turn_0": 0.5,
        "turn_1": 1,
        "turn_2": 0.5,
        "majority_0": False,
        "majority_1": True,
        "majority_2": True,
        "agreement_0": 0,
        "agreement_1": 1,
        "agreement_2": 0,
        "fixed": 0.5,
        "broken": 0.5,
    }
    assert found.response == "15"


def test_three_copies_agree_in_pairs_and_the_majority_counts():
    learner = chorus(["15", "16", "16"], ["16", "15", "16"], ["14", "15", "17"])
    found = measure(Discussion(), learner)
    assert [name for name, value in found.measures.items() if value is True] == ["majority_0", "majority_1"]
    assert [round(found.measures[f"turn_{turn}"], 3) for turn in range(3)] == [0.333, 0.667, 0]
    assert [round(found.measures[f"agreement_{turn}"], 3) for turn in range(3)] == [0, 0.333, 0.333]
    assert (found.measures["fixed"], round(found.measures["broken"], 3)) == (0, 0.333)
    assert found.response == "16"
    assert found.transcripts[1].messages[2].text == others("15", "14")


def test_copies_are_sampled_and_different_learners_are_greedy():
    copies, single, warm = chorus(["15"] * 3, ["15"] * 3, ["15"] * 3), chorus(["15"] * 3), chorus(["15"] * 3)
    measure(Discussion(top_p=0.9), copies)
    measure(Discussion(copies=1), single)
    measure(Discussion(copies=1, temperature=0.3), warm)
    assert {(s.temperature, s.top_p) for _, _, s in copies.speaker.heard} == {(0.8, 0.9)}
    assert {copy for copy, _, _ in copies.speaker.heard} == {0, 1, 2}
    assert {s.temperature for _, _, s in single.speaker.heard} == {0}
    assert {s.temperature for _, _, s in warm.speaker.heard} == {0.3}
    mixed = [chorus(["15"] * 3), chorus(["15"] * 3)]
    measure(Discussion(), *mixed)
    assert {s.temperature for one in mixed for _, _, s in one.speaker.heard} == {0}


def test_several_learners_may_have_several_copies_each_with_its_own_draws():
    lines = [["15", "15"]] * 4
    one, two = chorus(*lines), chorus(*lines)
    found = measure(Discussion(copies=2, turns=1), one, two)
    assert ({c for c, _, _ in one.speaker.heard}, {c for c, _, _ in two.speaker.heard}) == ({0, 1}, {2, 3})
    assert len(found.transcripts) == 4


def test_one_learner_on_its_own_looks_again():
    learner = participant("16", "15")
    found = measure(Discussion(copies=1, turns=1), learner)
    assert heard(learner) == [QUESTION, LOOK_AGAIN]
    assert found.measures == {
        "accuracy": True, "turn_0": 0, "turn_1": 1, "majority_0": False, "majority_1": True, "fixed": 1, "broken": 0
    }  # fmt: skip


def test_a_learner_that_fails_keeps_its_last_answer_and_forgets_the_turn():
    found = measure(Discussion(), chorus(["15", None, "16"], ["14", "14", "14"], ["13", "13", "13"]))
    assert [(failure.kind, failure.who) for failure in found.failures] == [("Unavailable", LEARNER)]
    assert texts(found.transcripts)[0] == [
        ("user", QUESTION), (LEARNER, "15"), ("user", others("14", "13")), (LEARNER, "16")
    ]  # fmt: skip
    assert texts(found.transcripts)[1][-2] == ("user", others("15", "13"))  # still held after the failure
    assert round(found.measures["turn_1"], 3) == 0.333


def test_a_learner_that_fails_at_once_stays_silent_and_counts_as_wrong():
    silent = chorus([None, "15", "15"], ["15", "15", "15"])
    found = measure(Discussion(copies=2), silent)
    assert [copy for copy, _, _ in silent.speaker.heard] == [0, 1, 1, 1]
    assert texts(found.transcripts) == [
        [("user", QUESTION)],
        [("user", QUESTION), (LEARNER, "15"), *[("user", LOOK_AGAIN), (LEARNER, "15")] * 2],
    ]
    assert (found.measures["accuracy"], found.measures["turn_2"]) == (True, 0.5)
    assert not any(name.startswith("agreement") for name in found.measures)


def test_without_any_answer_the_problem_is_wrong_and_all_failures_are_kept():
    found = measure(Discussion(), replace(chorus([None]), name="a"), chorus([None]))
    assert found.measures["accuracy"] is False
    assert [failure.who for failure in found.failures] == ["learner a", "learner learner"]
    assert found.response == ""
    assert not any(found.measures.values())


def test_a_cut_reply_is_a_failure_and_no_answer():
    class Long:
        async def reply(self, chat, sampling, sample=0):
            return Reply(text_reply("15", LEARNER).parts, "length")

    found = measure(Discussion(copies=1), Participant("learner", Long(), SingleReply(), LINES))
    assert [failure.kind for failure in found.failures] == [CutOff.__name__]


def test_prompts_can_be_reworded_and_text_of_others_is_never_a_template():
    one, two = participant("{answers} {gold}", "15"), participant("15", "15")
    measure(Discussion(turns=1, prompt="Others said: {answers}"), one, two)
    assert heard(two)[-1] == "Others said: Answer 1:\n{answers} {gold}"
    with pytest.raises(ConfigError, match=r"unknown placeholder \{gold\}"):
        Discussion(prompt="It is {gold}")
    with pytest.raises(ConfigError, match=r"unknown placeholder \{answers\}"):
        Discussion(self_prompt="{answers}")


def test_fixed_less_broken_is_what_the_turns_gained():
    for first in ("15", "16", None):
        for last in ("15", "16", None):
            found = measure(Discussion(copies=2, turns=1), chorus([first, last], ["15", "14"]))
            gained = found.measures["turn_1"] - found.measures["turn_0"]
            assert found.measures["fixed"] - found.measures["broken"] == gained


def test_others_read_the_response_of_a_learner_that_revises_and_it_keeps_its_own_feedback():
    feedback = "The final response is also correct."
    reviser = participant("16", feedback, "16", feedback, answers=TriPosT(Nobody(), Nobody()))
    other = participant("15", "15")
    found = measure(Discussion(turns=1), reviser, other)
    assert heard(other)[-1] == others("16")
    assert texts(found.transcripts)[0][1] == (LEARNER, f"16\nFeedback: {feedback}")
