"""Partners that are speakers: what they are told, how strictly they are read, and that nonsense is never a score."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.chat import LEARNER, Chat, Message, Part, question
from sparring.errors import ConfigError, CutOff, Unavailable, Unreadable
from sparring.partner import Scores, ask
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.speaker import Reply, Sampling, said
from sparring.speakers.scripted import Scripted
from sparring.steps import Fault
from sparring.task import Problem
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.thought import NONE, Answer

TASK = MultistepArithmetic(train=20, development=5, test=5)
PROBLEM = Problem("sum", question("What is (3+7)+5 ?"), gold="15", rationale="3+7=10\n10+5=15\n15")
ATTEMPT = "3+7=10\n10+5=16\n16"
FAULT = Fault("2", "10+5=16", "ten and five are fifteen")
ALL_RIGHT = "All steps are correct."
FOUND = 'In step (2) the part "10+5=16" is incorrect. This is because ten and five are fifteen.'
CANARY = "my secret thought"


def run(work):
    return asyncio.run(work)


def answers(*texts: str) -> list[Answer]:
    return [NONE.split(text).answer for text in texts]


def thinking(text: str = ATTEMPT) -> Chat:
    """The problem, answered with a thought."""
    parts = (Part(CANARY, LEARNER, thought=True), Part(text, LEARNER))
    return PROBLEM.chat.then(Message(LEARNER, parts))


def prompts(speaker: Scripted) -> list[str]:
    return [chat.text for chat in speaker.heard]


class Cut:
    """A speaker whose replies are cut at their limit; `whole` ones come after the first `times`."""

    def __init__(self, text: str, times: int) -> None:
        self.text, self.times, self.calls = text, times, 0

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.calls += 1
        return Reply((Part(self.text, "cut"),), "length" if self.calls <= self.times else "stop")


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_read_is_asked_for_once_more_with_the_reason():
    def read(reply: str) -> int:
        if not reply.isdecimal():
            raise Unreadable(f"{reply!r} is no number")
        return int(reply)

    speaker = Scripted(("seven", "7"))
    assert run(ask(speaker, "How many?", read, Sampling())) == 7
    again = speaker.heard[1]
    assert [(m.author, m.text) for m in again.messages[:2]] == [("user", "How many?"), ("partner", "seven")]
    assert "'seven' is no number" in again.text
    speaker = Scripted(("seven", "eight", "9"))
    with pytest.raises(Unreadable, match="'eight' is no number"):
        run(ask(speaker, "How many?", read, Sampling()))
    assert len(speaker.heard) == 2


def test_a_reply_cut_at_its_limit_is_never_read_and_asked_for_once_more():
    mended = Cut("7", times=1)
    assert run(ask(mended, "?", int, Sampling())) == 7
    assert mended.calls == 2
    with pytest.raises(CutOff, match="cut at its limit"):
        run(ask(Cut("7", times=2), "?", int, Sampling()))


def test_who_does_not_reply_is_not_asked_again_by_the_partner():
    class Dead:
        calls = 0

        async def reply(self, chat, sampling, sample=0):
            self.calls += 1
            raise Unavailable("nobody there")

    dead = Dead()
    with pytest.raises(Unavailable):
        run(ModelCritic(dead, TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    assert dead.calls == 1


def test_words_of_a_model_or_a_data_set_are_never_a_template():
    problem = Problem("x", question("What is {answer} or {gold} or {nothing}?"), gold="{question}")
    speaker = Scripted(("A remark.",))
    chat = problem.chat.say(LEARNER, "It is {question} {gold} {0}.")
    run(ModelDiscussant(speaker).remark(problem, chat, "supportive", random.Random(0)))
    (prompt,) = prompts(speaker)
    assert "What is {answer} or {gold} or {nothing}?" in prompt
    assert "It is {question} {gold} {0}." in prompt
    assert "The correct final answer is {question}." in prompt


# ── the discussant ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stance", ["supportive", "adversarial"])
@pytest.mark.parametrize("told_gold", [True, False])
def test_a_discussant_is_told_gold_only_if_it_may_know(stance, told_gold):
    speaker = Scripted(("  Look at the sum again.\n",))
    partner = ModelDiscussant(speaker, told_gold=told_gold)
    assert run(partner.remark(PROBLEM, thinking(), stance, random.Random(0))) == "Look at the sum again."
    (prompt,) = prompts(speaker)
    assert PROBLEM.chat.text in prompt
    assert ATTEMPT in prompt
    assert ("The correct final answer is 15." in prompt) == told_gold
    assert "15" in prompt or not told_gold
    assert ("challenges" in prompt) == (stance == "adversarial")
    assert len(speaker.heard[0].messages) == 1


def test_a_problem_without_gold_has_none_to_tell():
    speaker = Scripted(("Hm.",))
    open_question = Problem("x", question("Why?"))
    chat = open_question.chat.say(LEARNER, "So.")
    run(ModelDiscussant(speaker).remark(open_question, chat, "supportive", random.Random(0)))
    assert "correct final answer" not in prompts(speaker)[0]
    assert "None" not in prompts(speaker)[0]


def test_a_discussant_sees_thoughts_only_if_it_may():
    for sees in (False, True):
        speaker = Scripted(("Well.",))
        partner = ModelDiscussant(speaker, sees_thoughts=sees)
        run(partner.remark(PROBLEM, thinking(), "supportive", random.Random(0)))
        assert (CANARY in prompts(speaker)[0]) == sees


def test_a_discussant_sees_what_was_said_before_but_no_earlier_thought():
    speaker = Scripted(("And now?",))
    chat = thinking("16").say("discussant", "Are you sure?").say(LEARNER, "It is 15.")
    run(ModelDiscussant(speaker).remark(PROBLEM, chat, "adversarial", random.Random(0)))
    (prompt,) = prompts(speaker)
    places = [prompt.index(words) for words in (PROBLEM.chat.text, "16", "Are you sure?", "It is 15.")]
    assert places == sorted(places)
    assert CANARY not in prompt


def test_an_empty_remark_is_asked_for_once_more_and_then_a_failure():
    assert run(ModelDiscussant(Scripted((" ", "Well."))).remark(PROBLEM, thinking(), "supportive", None)) == "Well."
    with pytest.raises(Unreadable, match="the remark is empty"):
        run(ModelDiscussant(Scripted((" ",))).remark(PROBLEM, thinking(), "supportive", None))


# ── the critic ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("told_gold", [True, False])
def test_a_critic_is_shown_numbered_steps_and_gold_only_if_it_may_know(told_gold):
    speaker = Scripted((FOUND,))
    assert run(ModelCritic(speaker, TASK, told_gold=told_gold).feedback(PROBLEM, ATTEMPT, random.Random(0))) == FAULT
    (prompt,) = prompts(speaker)
    assert PROBLEM.chat.text in prompt
    for line in ("(1) 3+7=10", "(2) 10+5=16", "(3) 16"):
        assert line in prompt
    assert ("The correct final answer is 15." in prompt) == told_gold
    assert ("15" in prompt) == told_gold


def test_a_critic_says_that_all_is_right():
    assert run(ModelCritic(Scripted((ALL_RIGHT,)), TASK).feedback(PROBLEM, PROBLEM.rationale, None)) is None


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("It looks fine to me.", "names no step"),
        ('In step (7) the part "16" is incorrect.', r"there is no step \(7\)"),
        ('In step (2) the part "10+6=16" is incorrect.', "does not contain the part '10\\+6=16'"),
        ('In step (two) the part "16" is incorrect.', "there is no step|names no step"),
        ("", "names no step"),
    ],
)
def test_a_critic_is_read_strictly_and_asked_once_more_with_the_reason(reply, reason):
    speaker = Scripted((reply, FOUND))
    assert run(ModelCritic(speaker, TASK).feedback(PROBLEM, ATTEMPT, random.Random(0))) == FAULT
    assert len(speaker.heard) == 2
    with pytest.raises(Unreadable, match=reason):
        run(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    told = speaker.heard[1].text
    assert told.startswith("That could not be read: ")


@pytest.mark.parametrize(
    "reply",
    [
        "I would not say that all steps are correct.",
        "Not all steps are correct.",
        "It is not true that the final response is also correct.",
    ],
)
def test_a_critic_that_denies_that_all_is_right_is_not_read_as_saying_so(reply):
    with pytest.raises(Unreadable):
        run(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))


# ── the editor ──────────────────────────────────────────────────────────────────────────────────────────────


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


# ── the judge ───────────────────────────────────────────────────────────────────────────────────────────────


def pointwise(*replies: str, **more) -> Scores:
    judge = ModelJudge(Scripted(replies), mode="pointwise", **more)
    return run(judge.score(PROBLEM, answers("15", "16"), random.Random(0)))


def test_a_pointwise_judge_scores_each_answer_and_sees_nothing_but_answers():
    speaker = Scripted(("Good.\nScore: 9", "Bad.\nScore: 2"))
    found = run(ModelJudge(speaker, mode="pointwise").score(PROBLEM, answers("15", "16", "15"), random.Random(0)))
    assert found == Scores((9.0, 2.0, 9.0))
    assert len(speaker.heard) == 2  # equal answers are asked about once
    for prompt, response in zip(prompts(speaker), ("15", "16"), strict=True):
        assert PROBLEM.chat.text in prompt
        assert response in prompt
        assert "correct final answer" not in prompt


@pytest.mark.parametrize(
    "reply",
    [
        "Score: 11", "Score: 0", "Score: -3", "Score: ten", "Score: 3\nScore: 9", "It is an 8.", "", "Score:",
        "Score: nan", "Score: 1e400", "Score: 1/10 or 2", "I give Score: 7 of 10 for style",
    ],
)  # fmt: skip
def test_a_pointwise_verdict_that_is_not_one_number_on_the_scale_is_a_failure_and_no_score(reply):
    found = pointwise(reply)
    assert found.values == (None, None)
    assert [(failure.kind, failure.who) for failure in found.failures] == [("Unreadable", "judge")] * 2


def test_one_unreadable_score_does_not_spoil_the_others():
    speaker = Scripted(("Score: 9", "??", "?!"), loop=False)  # asked side by side: 9 for one, two tries for the other
    found = run(ModelJudge(speaker, mode="pointwise").score(PROBLEM, answers("15", "16"), random.Random(0)))
    assert found.values == (9.0, None)
    assert len(found.failures) == 1


@pytest.mark.parametrize("reply", ["Score: 7.5", "**Score: 7.5**", "because …\nscore: 7.5 ", "Score = 7.5"])
def test_a_pointwise_verdict_may_be_dressed_up(reply):
    assert pointwise(reply).values == (7.5, 7.5)


def test_a_pattern_and_a_scale_of_ones_own():
    assert pointwise("rating=0.25", pattern=r"rating=(\S+)", lowest=0.0, highest=1.0).values == (0.25, 0.25)
    assert pointwise("rating=x", pattern=r"rating=(\S+)", lowest=0.0, highest=1.0).values == (None, None)
    assert pointwise("rating=inf", pattern=r"rating=(\S+)", lowest=0.0, highest=1.0).values == (None, None)


class PairJudge:
    """Prefers the response with more letters x, and looks at nothing else."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.asked.append(chat.text)
        first, second = chat.text.split("Response A:")[1].split("Response B:")
        first, second = first.strip(), second.strip().split("\n")[0]
        better = "C" if first.count("x") == second.count("x") else "A" if first.count("x") > second.count("x") else "B"
        return said(f"[[{better}]]", "judge")


def test_a_pairwise_judge_is_asked_about_all_pairs_in_both_orders():
    speaker = PairJudge()
    found = run(ModelJudge(speaker).score(PROBLEM, answers("x", "xxx", "xx", "x"), random.Random(0)))
    assert len(speaker.asked) == 6  # three distinct answers
    assert found.values[1] > found.values[2] > found.values[0] == found.values[3]
    assert not found.failures


@pytest.mark.parametrize("always", ["A", "B", "C"])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_judge_that_always_says_the_same_ties_all(always, count):
    speaker = Scripted((f"Hm. [[{always}]]",))
    found = run(ModelJudge(speaker).score(PROBLEM, answers(*map(str, range(count))), random.Random(0)))
    assert found.values == pytest.approx([found.values[0]] * count, abs=1e-9)


@pytest.mark.parametrize("reply", ["A", "[[D]]", "[[A]] or [[B]]", "", "[A]", "[[a]]"])
def test_a_pairwise_verdict_that_cannot_be_read_is_a_failure_and_no_score(reply):
    found = run(ModelJudge(Scripted((reply,))).score(PROBLEM, answers("15", "16"), random.Random(0)))
    assert found.values == (None, None)
    assert len(found.failures) == 2


def test_equal_answers_need_no_judge_by_pairs():
    speaker = Scripted(("[[A]]",))
    found = run(ModelJudge(speaker).score(PROBLEM, answers("15", "15"), random.Random(0)))
    assert not speaker.heard
    assert found.values[0] == found.values[1]


# ── nonsense ────────────────────────────────────────────────────────────────────────────────────────────────

BITS = [
    "Score:", "score", "[[A]]", "[[B]]", "[[C]]", "[[", "]]", "A", "B", "In step (", "1", "2", "(2)", ")", 'the part "',
    '" is incorrect.', "This is because", "10+5=16", "16", "All steps are correct.",
    "The final response is also correct.",
    "Final response", "\n", "\n\n", " ", "ok", "-", ".", "1e999", "nan", "inf", "٣", "²", "\x00", "\u2028", "<think>",
    "{gold}", "\\1", "(", "'", '"', "7", "10", "11", "3+7=10", "10+5=15",
]  # fmt: skip


def babble(count: int):
    """Replies made of the words that parsers look for, and of letters that they do not."""
    draw = random.Random(0)
    for _ in range(count):
        bits = draw.choices(BITS, k=draw.randrange(0, 9))
        if draw.random() < 0.2:
            bits.append("".join(chr(draw.choice((draw.randrange(32, 127), draw.randrange(0x2FFF)))) for _ in range(9)))
        yield draw.choice(("", " ")).join(bits)


COUNT = 10_000


def outcomes(attempt, replies=None) -> tuple[int, int]:
    """How many replies were read, and how many were typed failures; anything else is raised."""

    async def all_() -> tuple[int, int]:
        read = failed = 0
        for reply in babble(COUNT) if replies is None else replies:
            try:
                await attempt(Scripted((reply,)), reply)
                read += 1
            except Unreadable:
                failed += 1
        return read, failed

    return run(all_())


def test_ten_thousand_replies_never_make_a_critic_stumble():
    async def attempt(speaker: Scripted, reply: str) -> None:
        fault = await ModelCritic(speaker, TASK).feedback(PROBLEM, ATTEMPT, random.Random(0))
        if fault is None:
            assert "correct" in reply.lower()
        else:
            assert fault.step in ("1", "2", "3")
            assert fault.part in TASK.layout.split(ATTEMPT)[int(fault.step) - 1].text

    read, failed = outcomes(attempt)
    assert read + failed == COUNT
    assert read
    assert failed


def test_ten_thousand_replies_never_make_an_editor_stumble():
    async def attempt(speaker: Scripted, reply: str) -> None:
        update = await ModelEditor(speaker, TASK).improve(PROBLEM, ATTEMPT, FAULT, random.Random(0))
        assert update.startswith("3+7=10\n")
        assert TASK.layout.refusal(ATTEMPT, FAULT, update) is None

    assert sum(outcomes(attempt)) == COUNT


def test_ten_thousand_replies_never_make_a_discussant_stumble():
    async def attempt(speaker: Scripted, reply: str) -> None:
        remark = await ModelDiscussant(speaker).remark(PROBLEM, thinking(), "supportive", random.Random(0))
        assert remark
        assert remark == reply.strip()

    assert sum(outcomes(attempt)) == COUNT


def test_ten_thousand_replies_never_become_a_score_that_was_not_given():
    judge = ModelJudge(Scripted(("x",)), mode="pointwise")
    scored = 0
    for reply in babble(COUNT):
        try:
            value = judge._number(reply)
        except Unreadable:
            continue
        scored += 1
        assert 1 <= value <= 10
        assert "score" in reply.lower()
        assert str(int(value)) in reply or "٣" in reply
    assert scored


def test_ten_thousand_replies_never_become_a_verdict_that_was_not_given():
    judge = ModelJudge(Scripted(("x",)))
    given_ = 0
    for reply in babble(COUNT):
        marks = sum(reply.count(f"[[{letter}]]") for letter in "ABC")
        try:
            verdict = judge._verdict(reply)
        except Unreadable:
            assert marks != 1
            continue
        given_ += 1
        assert marks == 1
        assert {"first": "[[A]]", "second": "[[B]]", "tie": "[[C]]"}[verdict] in reply
    assert given_


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_typed_failure_or_a_score_on_the_scale(reply):
    for value in pointwise(reply).values:
        assert value is None or 1 <= value <= 10
    for value in pointwise(reply, pattern="(?s)(.*)", lowest=0.0, highest=1.0).values:
        assert value is None or 0 <= value <= 1


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "blank", "known"),
    [
        (lambda p: ModelDiscussant(Scripted(("x",)), supportive_prompt=p), "thought", "{answer}, {gold}, {question}"),
        (lambda p: ModelDiscussant(Scripted(("x",)), adversarial_prompt=p), "thought", "{answer}, {gold}, {question}"),
        (lambda p: ModelCritic(Scripted(("x",)), TASK, prompt=p), "answer", "{gold}, {question}, {steps}"),
        (lambda p: ModelEditor(Scripted(("x",)), TASK, prompt=p), "gold", "{kept}, {question}, {reason}, {step}"),
        (lambda p: ModelJudge(Scripted(("x",)), mode="pointwise", prompt=p), "gold", "{question}, {response}"),
        (lambda p: ModelJudge(Scripted(("x",)), prompt=p), "response", "{a}, {b}, {question}"),
    ],
)
def test_a_prompt_with_a_blank_that_is_not_filled_is_refused_at_once(make, blank, known):
    with pytest.raises(ConfigError) as error:
        make(f"Say {{{blank}}} please")
    assert f"has the blank {{{blank}}}; the blanks here are {known}" in str(error.value)


def test_a_prompt_of_ones_own_is_used():
    speaker = Scripted(("Denk noch einmal nach.",))
    partner = ModelDiscussant(speaker, supportive_prompt="Hilf: {question} / {answer} / {gold}")
    run(partner.remark(PROBLEM, thinking("16"), "supportive", random.Random(0)))
    assert prompts(speaker)[0].startswith(f"Hilf: {PROBLEM.chat.text} / 16 / ")
    critic = Scripted((ALL_RIGHT,))
    run(ModelCritic(critic, TASK, prompt="{steps}").feedback(PROBLEM, ATTEMPT, random.Random(0)))
    assert prompts(critic)[0] == "(1) 3+7=10\n(2) 10+5=16\n(3) 16"


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"lowest": 5.0, "highest": 5.0}, "lowest = 5.0 is not below highest = 5.0"),
        ({"pattern": "(a"}, "is not a regular expression"),
        ({"pattern": "a"}, "has 0 groups; one group"),
        ({"pattern": "(a)(b)"}, "has 2 groups; one group"),
    ],
)
def test_a_judge_whose_settings_make_no_sense_is_refused_at_once(settings_, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        ModelJudge(Scripted(("x",)), **settings_)


def test_temperature_and_limit_reach_the_speaker(script):
    speaker = script([FOUND])
    run(ModelCritic(speaker, TASK, temperature=0.3, max_tokens=77).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    assert speaker.heard[0][1] == Sampling(0.3, max_tokens=77)
