"""Whatever a model says, every reader of replies either reads it rightly or fails with a name.

Replies are drawn by a seed: nonsense that by construction holds nothing to be read; and replies that could be read,
mutated until most of them no longer can. Each reader comes with a check, written apart from it, of what may have been
read out of which words. Near misses, at the end, are never read.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sparring.client.completion import ServerQuirks, error_message, read_completion
from sparring.client.trouble import Trouble, retry_after
from sparring.common.errors import ConversationError, Unreadable
from sparring.core.speaker import Sampling
from sparring.core.task import Problem
from sparring.parsing import answers
from sparring.parsing.steps import COMPACT, LINES, NUMBERED, Fault, StepFormat
from sparring.parsing.thought import GENERIC, NONE, SPECIFIC, THINK
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.partners.reward_judge import RewardJudge
from sparring.speakers import command
from sparring.speakers.scripted import Scripted
from sparring.synthesis.instructions import parse_list
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.word_sorting import WordSorting
from tests.fault_server import completion
from tests.partners.speaking import ATTEMPT, FAULT, PROBLEM, TASK, at_once, thinking
from tests.replies import mutated, nonsense
from tests.reply_checks import (
    anything,
    are_steps,
    is_choice,
    is_fault,
    is_feedback,
    is_final,
    is_item_list,
    is_judged,
    is_number,
    is_printed,
    is_remark,
    is_reply,
    is_reward,
    is_score,
    is_thinking,
    is_update,
    is_verdict,
    none,
)

EACH = 6_000  # replies for each reader
TYPED = (ConversationError, Trouble)


@dataclass(frozen=True)
class Reader:
    """`read` raises one of TYPED or gives what was read, which `check` holds against the reply. `words`: what may be
    read out of nonsense, which otherwise is a typed failure."""

    name: str
    read: Callable[[str], Any]
    seeds: list[str]
    check: Callable[[str, Any], None]
    words: Callable[[Any], bool] | None = None
    count: int = EACH


POINTWISE = ModelJudge(Scripted(("x",)), mode="pointwise")
PAIRWISE = ModelJudge(Scripted(("x",)))


def split_whole(layout: StepFormat) -> Callable[[str], Any]:
    """Steps, and the words before each of them."""
    return lambda reply: [(step, layout.before(reply, step.label)) for step in layout.split(reply)]


def judged(task: Any, problem: Problem) -> Callable[[str], Any]:
    """Whether a reply is right, and its first fault."""
    return lambda reply: (task.is_right(problem, reply), task.first_error(problem, reply))


def wrong(result: tuple[bool, Fault | None]) -> bool:
    """Nonsense is wrong, and that has a place."""
    return not result[0] and result[1] is not None


def checked(name: str, task: Any, count: int) -> Reader:
    """Reads worked answers to a problem of `task`."""
    problem, *others = task.problems("train")
    seeds = [problem.rationale] * 3 + [other.rationale for other in others[:2]]
    return Reader(
        name, judged(task, problem), seeds, is_judged(problem), lambda result: not result[0] and result[1], count
    )


def read_server(body: str) -> Any:
    """A body as the endpoint reads it; and what it says of itself as words of an error."""
    raw = body.encode("utf-8", "surrogatepass")
    error_message(body).encode()
    quirks = ServerQuirks()
    quirks.learn(body)
    assert "messages" in quirks.apply({"messages": [], "temperature": 1})
    assert retry_after({"retry-after": body[:20]}) >= 0
    return read_completion(raw, [{"role": "user", "content": "?"}], Sampling(), "partner")


BODIES = [
    json.dumps(completion("Score: 7")),
    json.dumps(completion(None, message={"reasoning_content": "hm"})),
    json.dumps(completion("x", finish_reason="length", usage={"prompt_tokens": 7, "completion_tokens": 10**30})),
    json.dumps(completion("x", finish_reason=None, usage=None, message={"reasoning": "so"}, model=None)),
    json.dumps({"error": {"message": "temperature is not supported", "code": 400}}),
    '{"choices": [{"message": {"content": "\\ud83d", "tool_calls": []}}], "model": "m\\ud83d"}',
    "[" * 30 + "1" + "]" * 30,
]
SORTING = WordSorting(train=5, development=5, test=5)
SUMS = MultistepArithmetic(range="paper", train=5, development=5, test=5)
FEEDBACK = [
    "All steps are correct.",
    "Step (1) to (2) are correct. The final response is also correct.",
    'In step (2) the part "10+5=16" is incorrect. This is because ten and five are fifteen.',
    'Step (1) is correct. In step (3), the part "16" is incorrect.',
    "ok",
    "2 10+5=16",
]
CHOICES = [
    "The answer is B.", "(C)", "Answer: dark blue", "A", "B. green", "#### D", "I choose option B, or A", "\\boxed{C}",
]  # fmt: skip
NUMBERS = [
    "The answer is 18.", "#### 1,800.50", "5 + 3 = 8", "$3.50", "\\boxed{\\frac{1}{2}}", "-7 apples", "3 1/2", "1e3",
]  # fmt: skip
THOUGHTS = [
    "<think>a b</think>c",
    "Here is my thought process: a\nHere is my response: b",
    "draft\n<R>the response",
    "no thought at all",
]
OPTIONS = ("red", "green", "blue", "dark blue")


def _reward(reply: str) -> float:
    result = asyncio.run(RewardJudge(Scripted((reply,))).score(PROBLEM, [NONE.split("15").answer], random.Random(0)))
    if result.values[0] is None:
        raise Unreadable(result.failures[0].reason)
    return result.values[0]


def _critic(reply: str) -> Fault | None:
    return at_once(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))


def _editor(reply: str) -> str:
    return at_once(ModelEditor(Scripted((reply,)), TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0)))


def _discussant(reply: str) -> str:
    return at_once(ModelDiscussant(Scripted((reply,))).remark(PROBLEM, thinking(), "supportive", random.Random(0)))


def read_program(output: str) -> str:
    return command.read_output(output.encode("utf-8", "surrogatepass"))


STEPS = [ATTEMPT, "(1) a\n(1.2) b\n(Final response) c"]
EDITS = ["10+5=15\n15", "3+7=10\n10+5=15\n15", ATTEMPT, "10+5=16\n16"]
READERS = [
    Reader("judge, pointwise", POINTWISE.rating, ["Score: 7", "so\nScore: 10", "**score: 2.5**"], is_score),
    Reader("judge, pairwise", PAIRWISE.verdict, ["so [[A]]", "[[B]]", "[[C]] hm", "[A] [[B]]"], is_verdict),
    Reader("judge, reward", _reward, ["0.25", "-1.5e-3", "7", "1e308"], is_reward),
    Reader("critic", _critic, FEEDBACK, is_fault),
    Reader("editor", _editor, EDITS, is_update, anything),
    Reader("discussant", _discussant, ["Look again.", " Mind the sum.\n"], is_remark, anything),
    *(Reader(f"feedback, {f.name}", f.read_feedback, FEEDBACK, is_feedback) for f in (NUMBERED, LINES, COMPACT)),
    *(Reader(f"steps, {form.name}", split_whole(form), STEPS, are_steps, anything) for form in (NUMBERED, LINES)),
    *(Reader(f"thought, {form.name}", form.split, THOUGHTS, is_thinking(form)) for form in (GENERIC, SPECIFIC, THINK)),
    Reader("thought, none", lambda reply: NONE.split(reply).answer.text, THOUGHTS, is_remark, anything),
    Reader("list", parse_list, ["1. a b\n2. c d", "Here you are:\n1) e f\n\n2) g h"], is_item_list),
    Reader("choice", lambda reply: answers.chosen(reply, OPTIONS), CHOICES, is_choice, none),
    Reader("number", answers.stated_number, NUMBERS, is_number, none),
    Reader("final", answers.final, NUMBERS + CHOICES, is_final, anything),
    checked("arithmetic", SUMS, EACH // 6),
    checked("sorting", SORTING, EACH),
    Reader("server", read_server, BODIES, is_reply),
    Reader("program", read_program, ['{"text": "a"}'], is_printed),
]


def heard(reader: Reader, reply: str) -> bool:
    """Whether `reply` was read; raises what is neither that nor a typed failure, with the reply."""
    try:
        result = reader.read(reply)
        reader.check(reply, result)
    except TYPED:
        return False
    except Exception as error:
        raise AssertionError(f"{reader.name}: {reply!r}") from error
    return True


def read_through(reader: Reader, count: int, seed: int) -> tuple[int, int]:
    """How many of `count` replies were read, and how many were typed failures."""
    rng = random.Random(f"{seed} {reader.name}")
    outcomes = [heard(reader, mutated(rng, reader.seeds)) for _ in range(count - count // 6)]
    for _ in range(count // 6):
        reply = nonsense(rng)
        try:
            result = reader.read(reply)
        except TYPED:
            outcomes.append(False)
        else:
            assert reader.words, (reader.name, reply, result)
            assert reader.words(result), (reader.name, reply, result)
            outcomes.append(True)
    return sum(outcomes), len(outcomes) - sum(outcomes)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_whatever_is_said_is_read_rightly_or_fails_with_a_name(reader):
    read_, failed = read_through(reader, reader.count, seed=0)
    assert read_ + failed == reader.count
    assert read_ > reader.count / 50  # not all of it is beyond reading
    assert failed or reader.words


def test_that_makes_a_hundred_thousand_replies():
    assert sum(reader.count for reader in READERS) >= 100_000


@pytest.mark.long
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_million_replies_are_read_rightly_or_fail_with_a_name(reader):
    assert sum(reader.count for reader in READERS) * 8 >= 1_000_000
    assert sum(read_through(reader, reader.count * 8, seed=1)) == reader.count * 8


MISSES: list[tuple[Callable[[str], Any], list[str]]] = [
    (POINTWISE.rating, ["", "7", "Score: 7\nScore: 8", "Score: 7\n\nscore: 7", "My score is 7", "Points: 7"]),
    (lambda words: POINTWISE.rating(f"so\nScore: {words}"), [
        "", "7/10", "7 of 10", "7-8", "7 or 8", "7,5", ".5", "−7", "-7", "+-7", "0", "11", "10.01", "1e1", "1_0", "0x7",
        "NaN", "nan", "inf", "-inf", "seven", "VII", "½", "²", "٣", "７", "⑦", "7 ٣", "high", "<number>", ">7",
    ]),
    (PAIRWISE.verdict, [
        "A", "[A]", "[[a]]", "[[D]]", "[[А]]", "［［A］］", "[[A]", "[[ A ]]", "[[AB]]", "[[A/B]]", "[[A]] [[A]]",
        "[[1]]", "[[A]] or [[B]]", "not [[A]], not [[B]]", "[[]]", "((A))", "[[A\n]]", "[[tie]]", "\\[\\[A\\]\\]",
    ]),
    (_reward, ["", "nan", "inf", "-Infinity", "1_0", "٣", "7,5", "0x7", "7 8", "1e999"]),
    (_critic, [
        "All steps are correct except for step (2).", "All steps are correct, but for the last one.", "correct", "ok",
        "All steps are correct?", "Not all steps are correct.", "Step (2) is wrong.", "It is correct.", "2", "",
        *(f'In step ({label}) the part "16" is incorrect.' for label in ("1", "4", "none", "2 or 3", "", "9" * 400)),
        'In step (2) the part "10+5=17" is incorrect.', 'In step (2) the part "10 + 5" is incorrect.',
    ]),
    (_editor, ["", " ", "10+5=16", "10+5=16\n16", "10+5=16  \n16", "3+7=10", "3+7=10\n10+5=16\n16"]),
    (GENERIC.split, [
        "", " ", "Here is my thought process: a", "Here is my response: a", "a Here is my response: b",
        "a Here is my thought process: b Here is my response: c", "Here is my thought process: a Here is my response: ",
    ]),
    (SPECIFIC.split, ["", "a", "a <R>", "a <R> b <R> c", "a <r> b"]),
    (THINK.split, [
        "", "a", "<think>a", "<think>a</think>", "a</think>b", "<think>a</think>b</think>c", "<think><think>a</think>b",
    ]),
    (NONE.split, ["", " \n"]),
    (parse_list, ["", "1.", "2. a", "1. a\n3. b", "1. a\nb", "- a", "1. a\n1. b", "Here:"]),
    (read_server, [json.dumps(completion("Score: 7"))[:length] for length in range(0, 200, 3)]),
    (read_server, [json.dumps(completion(**changes)) for changes in (
        {"text": None}, {"text": 7}, {"text": ["Score: 7"]}, {"choices": []}, {"choices": None}, {"choices": ["7"]},
        {"finish_reason": "content_filter"}, {"finish_reason": 7}, {"error": "no"}, {"message": {"reasoning": 7}},
    )]),
    (read_program, ['{"text": 7}', '{"text": "a", "b": 1}', "a", "[]", ""]),
]  # fmt: skip


@pytest.mark.parametrize(("read_", "reply"), [(read_, reply) for read_, replies in MISSES for reply in replies])
def test_a_near_miss_is_a_typed_failure(read_, reply):
    with pytest.raises(TYPED):
        read_(reply)


def test_a_wrong_answer_that_nearly_is_the_right_one_is_wrong():
    gold = "18"
    for words in (
        "1 8",
        "118",
        "180",
        "18.5",
        "-18",
        "−18",
        "1.8",
        "l8",
        "eighteen",
        "18/2",
        "17 + 1",
        "18e1",
    ):
        for form in ("{}", "The answer is {}.", "#### {}", "\\boxed{{{}}}", "18\nThe answer is {}"):
            assert not answers.number(gold, form.format(words)), form.format(words)
    assert all(answers.number(gold, words) for words in ("１８", "١٨"))  # the same number in other digits
