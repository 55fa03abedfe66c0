"""An editor that asks a speaker: the steps that it keeps, and the updates that it rejects."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import Unreadable
from sparring.parsing.steps import Fault
from sparring.partners.model_editor import ModelEditor
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import ATTEMPT, COUNT, FAULT, PROBLEM, TASK, outcomes, prompts, run


@pytest.mark.parametrize("reply", ["10+5=15\n15", "3+7=10\n10+5=15\n15", "\n10+5=15\n15\n"])
def test_an_editor_goes_on_from_the_steps_before_which_stay_as_they_are(reply):
    speaker = Scripted((reply,))
    assert run(ModelEditor(speaker, TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0))) == PROBLEM.rationale
    (prompt,) = prompts(speaker)
    for words in (PROBLEM.chat.text, "3+7=10", "step (2)", '"10+5=16"', "ten and five are fifteen"):
        assert words in prompt
    assert "\n16" not in prompt  # what stands after the fault is not shown
    assert "15" not in prompt  # nor is gold


def test_an_update_that_changes_nothing_is_refused():
    speaker = Scripted(("10+5=16\n16", "10+5=15\n15"))
    assert run(ModelEditor(speaker, TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0))) == PROBLEM.rationale
    assert "does not change step (2)" in speaker.heard[1].text
    with pytest.raises(Unreadable, match=r"the update is refused: it does not change step \(2\)"):
        run(ModelEditor(Scripted(("10+5=16\n16",)), TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0)))
    with pytest.raises(Unreadable, match="refused"):
        run(ModelEditor(Scripted(("",)), TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0)))


def test_ten_thousand_replies_never_make_an_editor_stumble():
    async def attempt(speaker: Scripted, reply: str) -> None:
        update = await ModelEditor(speaker, TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0))
        assert update.startswith("3+7=10\n")
        assert TASK.layout.refusal(ATTEMPT, FAULT, update) is None

    assert sum(outcomes(attempt)) == COUNT


@pytest.mark.parametrize(
    ("reply", "update"),
    [
        ("\n    y += n\n    z = y\n", "for n in x:\n    y += n\n    z = y"),
        ("\ty += n", "for n in x:\n\ty += n"),
        (" y += n", "for n in x:\ny += n"),  # models begin with a space that means nothing
        ("  \n\n    y += n", "for n in x:\n    y += n"),
        ("for n in x:\n    y += n", "for n in x:\n    y += n"),
    ],
)
def test_an_editor_of_code_may_begin_with_an_indented_line(reply, update):
    attempt, fault = "for n in x:\n    y += 1", Fault("2", "y += 1")
    assert run(ModelEditor(Scripted((reply,)), TASK).improve(PROBLEM, attempt, fault, random.Random(0))) == update
