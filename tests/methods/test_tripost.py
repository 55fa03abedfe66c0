import asyncio
import random
from collections import Counter

from sparring.chat import LEARNER, Chat
from sparring.experience import Demonstration
from sparring.methods.tripost import GOLD, MENDED, RIGHT, TriPosT, balanced
from sparring.partners.task_critic import TaskCritic
from sparring.partners.task_editor import TaskEditor
from sparring.steps import COMPACT
from tests.methods.conftest import account, play

GOOD = "3+7=10\n10+5=15\n15"
FIRST, SECOND = "3+7=11\n11+5=16\n16", "3+7=10\n10+5=16\n16"


def tripost(task, **settings) -> TriPosT:
    return TriPosT(TaskCritic(task), TaskEditor(task), **settings)


def test_foreign_feedback_and_edit_of_a_wrong_attempt(problem, arithmetic, script, golden):
    method = tripost(arithmetic)
    episode = play(method, problem, arithmetic, script([FIRST, "nonsense", "ok"]))
    golden("tripost", account(episode, method.harvest([episode], [], random.Random(0))))


def test_own_feedback_and_own_updates_are_kept_where_they_are_right(problem, arithmetic, script, golden):
    method = tripost(arithmetic)
    lines = [FIRST, "1 3+7=11", SECOND, "2 10+5=16", GOOD, "ok"]
    episode = play(method, problem, arithmetic, script(lines))
    golden("tripost_own", account(episode, method.harvest([episode], [], random.Random(0))))
    assert {part.writer for part in episode.chat.last.parts} == {LEARNER, "marker"}
    assert episode.notes["own_updates"] == episode.notes["own_feedback"] == 1


def test_an_own_update_that_gets_no_further_is_edited(problem, arithmetic, script):
    method = tripost(arithmetic)
    episode = play(method, problem, arithmetic, script([FIRST, "1 3+7=11", "3+7=12\n12+5=17\n17", "ok"]))
    assert [p.writer for p in episode.chat.last.parts] == [
        LEARNER,
        "marker",
        LEARNER,
        "marker",
        "editor",
        "marker",
        LEARNER,
    ]
    assert episode.chat.last.parts[4].text == GOOD


def test_a_right_attempt_is_kept_as_it_is(problem, arithmetic, script):
    method = tripost(arithmetic)
    episode = play(method, problem, arithmetic, script([GOOD, "1 3+7=10"]))
    turns = method.harvest([episode], [], random.Random(0))
    assert [turn.group for turn in turns] == [RIGHT, GOLD]
    assert [(p.writer, p.weight) for p in turns[0].chat.last.parts] == [
        (LEARNER, 1.0),
        ("marker", 1.5),
        ("critic", 1.5),
    ]


def test_an_editor_that_changes_nothing_is_refused(problem, arithmetic, script):
    class Lazy:
        async def improve(self, problem, attempt, fault, draw):
            return attempt

    method = TriPosT(TaskCritic(arithmetic), Lazy())
    episode = play(method, problem, arithmetic, script([FIRST, "x"]))
    assert episode.failed
    assert episode.failures[0].who == "editor"
    assert "does not change step (1)" in episode.failures[0].reason
    assert [t.group for t in method.harvest([episode], [], random.Random(0))] == [GOLD]


def test_trajectories_that_never_become_right_are_dropped(problem, arithmetic, script):
    class Slow:
        """Mends one character at a time, never to the end."""

        async def improve(self, problem, attempt, fault, draw):
            return attempt.replace("16", "17") if "16" in attempt else attempt.replace("17", "16")

    method = TriPosT(TaskCritic(arithmetic), Slow(), updates=3)
    episode = play(method, problem, arithmetic, script([SECOND, "x"]))
    assert episode.failed
    assert not episode.notes["edited_right"]
    assert sum(p.writer == "marker" for p in episode.chat.last.parts) == 2 * 3 + 1


def test_the_groups_are_balanced_by_what_the_self_improvement_turns_call_for():
    turns = [Demonstration(str(n), Chat(), group) for n in range(100) for group in (MENDED, RIGHT, GOLD)][:-90]
    kept = balanced(turns, {MENDED: 1.5, RIGHT: 1.0, GOLD: 1.0}, random.Random(0))
    assert Counter(t.group for t in kept) == {MENDED: 70, RIGHT: 47, GOLD: 47}
    assert list(kept) == [t for t in turns if t in kept]
    none = [t for t in turns if t.group != MENDED]
    assert balanced(none, {MENDED: 1.5, RIGHT: 1.0, GOLD: 1.0}, random.Random(0)) == none


def test_it_is_used_with_its_own_feedback_and_updates(problem, arithmetic, script):
    learner = script([FIRST, "1 3+7=11", SECOND, "2 10+5=16", GOOD])
    found = asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT))
    assert found.attempts == (FIRST, SECOND, GOOD)
    assert found.response == GOOD
    prompts = [chat.last.full_text if chat.last.author == LEARNER else "" for chat, _, _ in learner.heard]
    assert prompts[3] == SECOND + "\n?"  # only the newest attempt is in view
    assert all(sampling.temperature == 0 for _, sampling, _ in learner.heard)


def test_use_ends_where_the_feedback_finds_nothing_wrong_or_cannot_be_read(problem, arithmetic, script):
    for said in ("ok", "gibberish"):
        learner = script([FIRST, said, GOOD])
        found = asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT))
        assert found.attempts == (FIRST,)
        assert len(learner.heard) == 2
