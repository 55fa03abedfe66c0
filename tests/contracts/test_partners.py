"""Every partner keeps its word: its role, its settings; a program is right, or wrong in the share it is told."""

from __future__ import annotations

import asyncio
import inspect
import random
from dataclasses import is_dataclass
from typing import get_args

import pytest

from sparring.common.errors import ConfigError
from sparring.common.registry import first_sentence
from sparring.config.factory import PARTNERS, ROLES, make_partner, partner_table
from sparring.core.chat import LEARNER
from sparring.core.task import Offer, Problem
from sparring.parsing.steps import Fault
from sparring.parsing.thought import NONE, Answer
from sparring.partners.task_author import TaskAuthor
from sparring.partners.task_critic import TaskCritic
from sparring.partners.task_discussant import TaskDiscussant
from sparring.partners.task_editor import TaskEditor
from sparring.partners.task_judge import TaskJudge
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.word_sorting import WordSorting

NAMES = sorted(
    [
        f"{way}_{role}"
        for way in ("model", "task", "function")
        for role in ("author", "critic", "discussant", "editor", "judge")
    ]
    + ["placebo", "reward_judge"]
)
PROTOCOLS = {role: kind for kind, role in ROLES.items()}
SIZES = {"train": 40, "development": 5, "test": 5}
TASKS = {
    "arithmetic-easy": MultistepArithmetic(**SIZES),
    "arithmetic-paper": MultistepArithmetic(range="paper", **SIZES),
    "sorting-easy": WordSorting(**SIZES),
    "sorting-paper": WordSorting(range="paper", **SIZES),
}


@pytest.fixture(params=list(PARTNERS))
def name(request) -> str:
    return request.param


@pytest.fixture(params=list(TASKS))
def task(request):
    return TASKS[request.param]


def run(work):
    return asyncio.run(work)


def answer(text: str) -> Answer:
    return NONE.split(text).answer


def slipped(task, problem: Problem) -> tuple[str, Fault]:
    """A worked answer with one character miswritten, so that the checker finds a fault."""
    rng = random.Random(problem.id)
    for _ in range(200):
        place = rng.randrange(len(problem.rationale))
        letter = problem.rationale[place]
        if letter.isalnum():
            other = rng.choice("0123456789" if letter.isdigit() else "abcdefghijklmnopqrstuvwxyz")
            attempt = problem.rationale[:place] + other + problem.rationale[place + 1 :]
            fault = task.first_error(problem, attempt)
            if fault is not None:
                return attempt, fault
    raise AssertionError(f"no slip in 200 was found: {problem.rationale}")


def as_author(question):
    return question


def as_critic(answer):
    return answer


def as_discussant(answer, stance):
    return f"{stance}: {answer}"


def as_editor(kept, fault):
    return f"{kept}not {fault.part}"


def as_judge(answer):
    return len(answer)


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────


def role_of(name: str) -> str:
    return "discussant" if name == "placebo" else name.partition("_")[2]


def test_the_catalogue_holds_seventeen_partners_three_for_each_role_a_judge_and_a_placebo():
    assert list(PARTNERS) == NAMES
    assert set(PROTOCOLS) == {"author", "critic", "discussant", "editor", "judge"}


def test_it_satisfies_its_role_and_says_in_a_line_what_it_is(name):
    role, found = role_of(name), PARTNERS[name]
    kind = PROTOCOLS[role]
    verb = next(attribute for attribute in vars(kind) if not attribute.startswith("_"))
    assert inspect.iscoroutinefunction(getattr(found, verb))
    assert inspect.signature(getattr(found, verb)) == inspect.signature(getattr(kind, verb))
    assert is_dataclass(found)
    assert found.__dataclass_params__.frozen
    assert found.needs <= set(get_args(Offer))
    assert first_sentence(found).endswith(".")


def test_a_recipe_makes_it_and_it_tells_the_table_that_makes_it_again(name):
    way, role = name.partition("_")[0], role_of(name)
    task = TASKS["arithmetic-easy"]
    tables = {"task": {"by": "task"}, "reward": {"by": "reward", "model": "owner/model"}, "placebo": {"by": "placebo"}}
    tables["function"] = {"by": f"{__name__}.as_{role}"}
    table = tables.get(way, {"by": "scripted", "replies": ["words"]})
    made = make_partner(role, PROTOCOLS[role], table, task, role)
    assert type(made) is PARTNERS[name]
    assert isinstance(made, PROTOCOLS[role])
    assert make_partner(role, PROTOCOLS[role], partner_table(made), task, role) == made


def test_it_is_no_partner_for_another_role(name):
    role = role_of(name)
    has_no_speaker = name.startswith("task") or name == "placebo"
    table = {"by": name} if has_no_speaker else {"by": name, "speaker": {"by": "scripted", "replies": ["a"]}}
    if name.startswith("function"):
        table = {"by": name, "function": f"{__name__}.as_{role}"}
    task = TASKS["arithmetic-easy"]
    assert isinstance(make_partner(role, PROTOCOLS[role], table, task, role), PROTOCOLS[role])
    for other in set(PROTOCOLS) - {role}:
        with pytest.raises(ConfigError, match=f"in the phase: '{name}' cannot be the {other}: it has no"):
            make_partner(other, PROTOCOLS[other], table, task, "the phase")


# ── programs, right and wrong ───────────────────────────────────────────────────────────────────────────────


def test_a_critic_by_program_names_the_first_fault_or_another_step(task):
    for problem in task.problems("train"):
        attempt, fault = slipped(task, problem)
        right, wrong = TaskCritic(task), TaskCritic(task, wrong=1.0)
        assert run(right.feedback(problem, attempt, random.Random(0))) == fault
        assert run(right.feedback(problem, problem.rationale, random.Random(0))) is None
        mistaken = run(wrong.feedback(problem, attempt, random.Random(0)))
        assert mistaken is None or not mistaken.agrees_with(fault)
        claimed = run(wrong.feedback(problem, problem.rationale, random.Random(0)))
        assert claimed is not None
        labels = {step.label: step.text for step in task.layout.split(problem.rationale)}
        assert claimed.part in labels[claimed.step]


def test_a_discussant_by_program_hints_truly_and_claims_falsely_or_the_other_way_round(task):
    for problem in task.problems("train"):
        attempt, _ = slipped(task, problem)
        chat = problem.chat.say(LEARNER, attempt)
        for stance, wrong, say in (
            ("supportive", 0.0, task.hint),
            ("adversarial", 0.0, task.false_claim),
            ("supportive", 1.0, task.false_claim),
            ("adversarial", 1.0, task.hint),
        ):
            rng = random.Random(3)
            rng.random()  # the draw that decides whether it is wrong
            found = run(TaskDiscussant(task, wrong).remark(problem, chat, stance, random.Random(3)))
            assert found == say(problem, attempt, rng)


def test_an_editor_by_program_mends_or_slips_and_keeps_the_steps_before(task):
    for problem in task.problems("train"):
        attempt, fault = slipped(task, problem)
        kept = task.layout.before(attempt, fault.step)
        mended = run(TaskEditor(task).improve(problem, attempt, fault, random.Random(1)))
        assert task.is_right(problem, mended)
        assert task.first_error(problem, mended) is None
        assert task.layout.refusal(attempt, fault, mended) is None
        for seed in range(5):
            slip = run(TaskEditor(task, wrong=1.0).improve(problem, attempt, fault, random.Random(seed)))
            assert slip.startswith(kept)
            assert task.first_error(problem, slip) is not None, (problem.chat.text, slip)


def test_an_author_by_program_writes_the_worked_answer_or_slips_in_any_of_its_steps(task):
    faulty, rng = set(), random.Random(0)
    for problem in task.problems("train"):
        assert run(TaskAuthor(task, wrong=0.0).attempt(problem, rng)) == problem.rationale
        slip = run(TaskAuthor(task, wrong=1.0).attempt(problem, rng))
        assert sum(a != b for a, b in zip(slip, problem.rationale, strict=True)) == 1
        faulty.add(task.first_error(problem, slip).step)
    assert len(faulty) > 2


@pytest.mark.parametrize("mode", ["pointwise", "pairwise"])
def test_a_judge_by_program_prefers_what_is_right_or_what_is_wrong(task, mode):
    problem = task.problems("train")[0]
    answers = [answer(problem.gold), answer("no idea"), answer(problem.rationale)]
    good = run(TaskJudge(task, mode).score(problem, answers, random.Random(0)))
    bad = run(TaskJudge(task, mode, wrong=1.0).score(problem, answers, random.Random(0)))
    assert not good.failures
    assert not bad.failures
    assert good.values[0] == pytest.approx(good.values[2])
    assert good.values[0] > good.values[1]
    assert bad.values[0] < bad.values[1]


@pytest.mark.parametrize("role", ["author", "critic", "discussant", "editor", "judge"])
def test_a_program_is_wrong_in_about_the_share_it_is_told(role):
    task = TASKS["arithmetic-easy"]
    problem = task.problems("train")[0]
    attempt, fault = slipped(task, problem)
    partner = PARTNERS[f"task_{role}"](task=task, wrong=0.3)

    def is_wrong(rng: random.Random) -> bool:
        if role == "author":
            return run(partner.attempt(problem, rng)) != problem.rationale
        if role == "critic":
            return run(partner.feedback(problem, attempt, rng)) != fault
        if role == "discussant":
            state = rng.getstate()
            said = run(partner.remark(problem, problem.chat.say(LEARNER, attempt), "supportive", rng))
            rng.setstate(state)
            rng.random()
            return said != task.hint(problem, attempt, rng)
        if role == "editor":
            return not task.is_right(problem, run(partner.improve(problem, attempt, fault, rng))) or (
                task.first_error(problem, run(partner.improve(problem, attempt, fault, rng))) is not None
            )
        return run(partner.score(problem, [answer(problem.gold)], rng)).values == (0.0,)

    count = sum(is_wrong(random.Random(seed)) for seed in range(400))
    assert 80 <= count <= 220 if role == "editor" else 80 <= count <= 160
