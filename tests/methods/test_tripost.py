import asyncio
import random
from collections import Counter

from sparring.common.errors import Unavailable
from sparring.core.chat import LEARNER, Chat, question
from sparring.core.experience import Demonstration
from sparring.core.task import Problem
from sparring.methods.tripost import GOLD, IMPROVED, OTHER, TriPosT, balanced
from sparring.parsing.steps import COMPACT, LINES, NUMBERED, Fault
from sparring.partners.task_critic import TaskCritic
from sparring.partners.task_editor import TaskEditor
from tests.methods.conftest import account, play

GOOD = "3+7=10\n10+5=15\n15"
FIRST, SECOND = "3+7=11\n11+5=16\n16", "3+7=10\n10+5=16\n16"


def tripost(task, **settings) -> TriPosT:
    return TriPosT(TaskCritic(task), TaskEditor(task), **settings)


def test_foreign_feedback_and_edit_of_a_wrong_attempt(problem, arithmetic, script, golden):
    method = tripost(arithmetic)
    episode = play(method, problem, arithmetic, script([FIRST, "nonsense", "ok"]))
    golden("tripost", account(episode, method.harvest([episode], [], COMPACT, random.Random(0))))


def test_own_feedback_and_own_updates_are_kept_where_they_are_right(problem, arithmetic, script, golden):
    method = tripost(arithmetic)
    lines = [FIRST, "1 3+7=11", SECOND, "2 10+5=16", GOOD, "ok"]
    episode = play(method, problem, arithmetic, script(lines))
    golden("tripost_own", account(episode, method.harvest([episode], [], COMPACT, random.Random(0))))
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
    turns = method.harvest([episode], [], COMPACT, random.Random(0))
    assert [turn.group for turn in turns] == [OTHER, GOLD]
    assert [(p.writer, p.weight) for p in turns[0].chat.last.parts] == [(LEARNER, 1), ("marker", 1), ("critic", 1)]


def test_gold_carries_the_feedback_that_it_is_right(problem, arithmetic, script):
    method = tripost(arithmetic)
    episode = play(method, problem, arithmetic, script([FIRST, "x", "ok"]))
    [gold] = [t for t in method.harvest([episode], [], COMPACT, random.Random(0)) if t.group == GOLD]
    parts = gold.chat.last.parts
    assert [(p.text, p.weight) for p in parts] == [(GOOD, 1), ("\n?", 1), ("ok", 1)]
    [numbered] = [t for t in method.harvest([episode], [], NUMBERED, random.Random(0)) if t.group == GOLD]
    assert numbered.chat.last.text.endswith(
        "\nFeedback: Step (1) to (2) are correct. The final response is also correct."
    )


def test_fault_and_ok_are_taught_in_the_authors_proportion(arithmetic, script):
    method, problems = tripost(arithmetic), arithmetic.problems("train")
    wrong = [play(method, p, arithmetic, script(["99=98\n98", "x", "x"])) for p in problems[:9]]
    right = [play(method, p, arithmetic, script([p.rationale, "ok"])) for p in problems[9:]]
    turns = method.harvest([*wrong, *right], [], COMPACT, random.Random(0))
    feedback = Counter("ok" if t.chat.last.parts[-1].text in ("ok",) else "fault" for t in turns)
    assert feedback == {"fault": 9, "ok": 12}  # 1.5 : 2, of improved : other and gold


def test_a_lucky_answer_is_an_error_with_a_first_wrong_step(problem, arithmetic, script):
    lucky = "3+7=11\n10+5=15\n15"
    assert arithmetic.is_right(problem, lucky)
    method = tripost(arithmetic)
    episode = play(method, problem, arithmetic, script([lucky, "ok", "ok"]))
    assert (episode.notes["right"], episode.notes["lucky"]) == (True, True)
    improved, other, _ = method.harvest([episode], [], COMPACT, random.Random(0))
    assert [(p.text, p.weight) for p in improved.chat.last.parts][:3] == [(lucky, 0), ("\n?", 1.5), ("1 3+7=11", 1.5)]
    assert other.chat.last.parts[0].text == GOOD


def test_where_no_checker_is_there_the_final_response_agrees_with_the_last_step(script):
    class Unchecked:
        """Whole numbers, one a line, and no checker."""

        layout = LINES

        def is_right(self, problem, response):
            return response.endswith(problem.gold)

    class Nobody:
        async def feedback(self, problem, attempt, rng):
            return Fault("1", "17")

        async def improve(self, problem, attempt, fault, rng):
            return attempt.replace("= 17", "= 18")

    problem = Problem("p", question("9 + 9?"), "18", "9 + 9 = 18\nThe answer is 18")
    for answer, lucky in (("9 + 9 = 17\nThe answer is 18", True), ("9 + 9 = 18 apples\nThe answer is 18", False)):
        episode = play(TriPosT(Nobody(), Nobody()), problem, Unchecked(), script([answer, "x", "x"]))
        assert (episode.notes["lucky"], episode.failed) == (lucky, False)


def test_of_a_trajectory_with_an_update_that_got_no_further_the_first_feedback_alone_is_learnt(
    problem, arithmetic, script
):
    class Roundabout:
        """Mends the last step first, wrongly, and then all."""

        async def improve(self, problem, attempt, fault, rng):
            return GOOD if "=12" in attempt else "3+7=12\n12+5=17\n17"

    method = TriPosT(TaskCritic(arithmetic), Roundabout())
    episode = play(method, problem, arithmetic, script([FIRST, "x", "x", "x"]))
    assert not episode.failed
    other, gold = method.harvest([episode], [], COMPACT, random.Random(0))
    assert (other.group, gold.group) == (OTHER, GOLD)
    assert [(p.text, p.weight) for p in other.chat.last.parts] == [(FIRST, 0), ("\n?", 1.5), ("1 3+7=11", 1.5)]


def test_an_editor_that_changes_nothing_is_refused(problem, arithmetic, script):
    class Lazy:
        async def improve(self, problem, attempt, fault, rng):
            return attempt

    method = TriPosT(TaskCritic(arithmetic), Lazy())
    episode = play(method, problem, arithmetic, script([FIRST, "x"]))
    assert episode.failed
    assert episode.failures[0].who == "editor"
    assert "does not change step (1)" in episode.failures[0].reason
    assert [t.group for t in method.harvest([episode], [], COMPACT, random.Random(0))] == [GOLD]


def test_trajectories_that_never_become_right_are_dropped(problem, arithmetic, script):
    class Slow:
        """Mends one character at a time, never to the end."""

        async def improve(self, problem, attempt, fault, rng):
            return attempt.replace("16", "17") if "16" in attempt else attempt.replace("17", "16")

    method = TriPosT(TaskCritic(arithmetic), Slow(), updates=3)
    episode = play(method, problem, arithmetic, script([SECOND, "x"]))
    assert episode.failed
    assert not episode.notes["edited_right"]
    assert sum(p.writer == "marker" for p in episode.chat.last.parts) == 2 * 3 + 1


def test_the_groups_are_balanced_by_what_the_self_improvement_turns_call_for():
    turns = [Demonstration(str(n), Chat(), group) for n in range(100) for group in (IMPROVED, OTHER, GOLD)][:-90]
    kept = balanced(turns, (1.5, 1.0, 1.0), random.Random(0))
    assert Counter(t.group for t in kept) == {IMPROVED: 70, OTHER: 47, GOLD: 47}
    assert list(kept) == [t for t in turns if t in kept]
    none = [t for t in turns if t.group != IMPROVED]
    assert balanced(none, (1.5, 1.0, 1.0), random.Random(0)) == none
    few = [t for t in turns if t.group != OTHER] + [t for t in turns if t.group == OTHER][:5]
    assert Counter(t.group for t in balanced(few, (1.5, 1.0, 1.0), random.Random(0))) == {
        IMPROVED: 70,
        OTHER: 5,
        GOLD: 5,
    }


def test_it_is_used_with_its_own_feedback_and_updates(problem, arithmetic, script):
    learner = script([FIRST, "1 3+7=11", SECOND, "2 10+5=16", GOOD, "ok"])
    found = asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT))
    assert found.attempts == (FIRST, SECOND, GOOD)
    assert found.response == GOOD
    prompts = [chat.last.full_text if chat.last.author == LEARNER else "" for chat, _, _ in learner.heard]
    assert prompts[3] == SECOND + "\n?"  # only the newest attempt is in view
    assert all(sampling.temperature == 0 for _, sampling, _ in learner.heard)


def test_use_takes_no_update_that_mends_nothing(problem, arithmetic, script):
    fault = "2 10+5=16"
    for update in ("10+5=15\n15", SECOND, "3+7=10\n10+5=16 \n15", ""):  # drops a good step, repeats, changes nothing
        learner = script([SECOND, fault, update, "ok"])
        assert asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT)).attempts == (SECOND,)


def test_use_takes_no_update_in_which_own_feedback_finds_a_fault_as_early(problem, arithmetic, script):
    other = SECOND.replace("16", "17")
    learner = script([SECOND, "2 10+5=16", other, "2 10+5=17", GOOD])
    assert asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT)).attempts == (SECOND,)
    assert len(learner.heard) == 4


def test_use_ends_where_the_feedback_names_what_the_attempt_does_not_hold(problem, arithmetic, script):
    for said in ("7 10+5=16", "2 10+6=16"):
        learner = script([SECOND, said, GOOD])
        assert asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT)).attempts == (SECOND,)
        assert len(learner.heard) == 2


def test_use_ends_where_the_feedback_finds_nothing_wrong_or_cannot_be_read(problem, arithmetic, script):
    for said in ("ok", "gibberish"):
        learner = script([FIRST, said, GOOD])
        found = asyncio.run(tripost(arithmetic).answer(problem.chat, learner, COMPACT))
        assert found.attempts == (FIRST,)
        assert len(learner.heard) == 2


# ── demonstrations written by others ────────────────────────────────────────────────────────────────────────


class Writer:
    """Writes the same attempt."""

    def __init__(self, attempt):
        self.text = attempt

    async def attempt(self, problem, rng):
        return self.text


def test_of_an_author_the_learner_writes_nothing_and_learns_the_same_turns(problem, arithmetic, script, golden):
    method, learner = tripost(arithmetic, author=Writer(FIRST)), script(["never asked"])
    episode = play(method, problem, arithmetic, learner)
    assert learner.heard == []
    taught = method.harvest([episode], [], COMPACT, random.Random(0))
    golden("tripost_author", account(episode, taught))
    own = tripost(arithmetic)
    as_learner = play(own, problem, arithmetic, script([FIRST, "nonsense", "ok"]))
    assert [(p.text, p.weight) for t in taught for p in t.chat.last.parts] == [
        (p.text, p.weight) for t in own.harvest([as_learner], [], COMPACT, random.Random(0)) for p in t.chat.last.parts
    ]


def test_a_right_attempt_of_an_author_is_kept_with_its_feedback(problem, arithmetic, script):
    method = tripost(arithmetic, author=Writer(GOOD))
    other, _ = method.harvest([play(method, problem, arithmetic, script(["x"]))], [], COMPACT, random.Random(0))
    assert [(p.writer, p.text) for p in other.chat.last.parts] == [
        ("author", GOOD), ("marker", "\n?"), ("critic", "ok")
    ]  # fmt: skip


def test_an_author_without_a_reply_is_a_failure_of_the_author(problem, arithmetic, script):
    class Silent:
        async def attempt(self, problem, rng):
            raise Unavailable("the line is dead")

    episode = play(tripost(arithmetic, author=Silent()), problem, arithmetic, script(["x"]))
    assert episode.failed
    assert [(f.who, f.kind) for f in episode.failures] == [("author", "Unavailable")]
