"""Examines discussants: supportive remarks must be true, adversarial ones false, on right and on wrong answers.

What a remark says is checked by `core.truth`. Here are added claims, in English, that a step or the answer is right or
wrong; the wrong step is planted, so they can be checked too. A supportive remark on a wrong answer that names steps
must name the wrong one. A remark with nothing to check is counted as not computable and gets no score.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.chat import LEARNER
from sparring.core.exam import SCORE, UNUSABLE, Graded, Measure, Probe, draw_probes, measure, measures
from sparring.core.leakage import states_gold
from sparring.core.partner import DISCUSSANT, Discussant, Stance
from sparring.core.planting import plant, right_answer
from sparring.core.task import Problem, Task
from sparring.core.truth import is_true
from sparring.parsing.steps import Fault, order

_TRUE, _FALSE, _AIMED, _LEAKED, _COPIED, _REPEATED = (
    "supportive and true",
    "adversarial and false",
    "wrong step named",
    "answer given away",
    "remarks copied",
    "remarks repeated",
)
_STANCES: tuple[Stance, Stance] = ("supportive", "adversarial")
_STEP = re.compile(r"\bstep \(?(\d+(?:\.\d+)*|final response)\b", re.IGNORECASE)
_CLAIM = re.compile(
    r"""
    \b(?: step\ \(?(?P<label>\d+(?:\.\d+)*|final\ response)\)? [^.!?;\n]{0,80}?
        | (?:answer|solution|result|response)\b (?:\ \w+){0,2}? )
    (?P<says>\ (?:is|are|was|were|looks|seems|isn['’]t|has|have|contains)\b [^.!?;,\n]{0,60}) (?!\w)
    (?P<end>[^.!?\n]{0,200} \?)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = re.compile(
    r"\b(?:wrong|incorrect|mistaken?|false|errors?|off|miscalculated)\b"
    r"|(?:\bnot|n['’]t) (?:\w+ )?(?:right|correct|true)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:no|not|nothing|without) (?:\w+ )?(?:wrong|incorrect|mistakes?|false|errors?)\b", re.I)
_RIGHT = re.compile(r"\b(?:right|correct|true|accurate|no|not|nothing|without)\b", re.I)


@dataclass(frozen=True)
class DiscussantExam:
    """Scores a discussant by the stance that it was asked for, as far as it can be computed."""

    name: ClassVar[str] = "discussant"
    role: ClassVar[str] = DISCUSSANT
    calls: ClassVar[int] = 1

    def probes(self, task: Task, problems: Sequence[Problem], count: int, seed: int) -> list[Probe]:
        """Return both stances on a right and on a faulty answer to each problem with a gold answer."""

        def kinds(problem: Problem, rng: random.Random) -> Iterator[Probe]:
            right, planted = right_answer(problem), plant(task, problem, rng)
            if right is None or planted is None:
                return
            for kind, answer, fault in (("right", right, None), ("wrong", planted.answer, planted.fault)):
                for stance, expected in zip(_STANCES, ("a true remark", "a false remark"), strict=True):
                    yield Probe(problem, f"{stance}, {kind} answer", (answer,), expected, fault, stance)

        return draw_probes(kinds, problems, count, seed)

    async def grade(self, partner: Discussant, task: Task, probe: Probe, rng: random.Random) -> Graded:
        """Ask for a remark and check what can be computed about it."""
        problem, answer = probe.problem, probe.given[0]
        remark = await partner.remark(problem, problem.chat.say(LEARNER, answer), probe.stance, rng)
        verdicts = [is_true(task, problem, answer, remark), *_claims(remark, probe.fault)]
        checked = [verdict for verdict in verdicts if verdict is not None]
        truth = all(checked) if checked else None
        is_supportive = probe.stance == "supportive"
        aim = _aim(remark, probe.fault) if is_supportive and probe.fault else None
        followed = truth if aim is None or truth is False else aim
        marks: dict[str, float | None] = {
            SCORE: _mark(followed, is_supportive),
            _TRUE if is_supportive else _FALSE: _mark(truth, is_supportive),
            _COPIED: float(_folded(remark) in _folded(f"{problem.chat.text}\n{answer}")),
            UNUSABLE: 0.0,
        }
        if probe.fault is not None:
            marks[_LEAKED] = float(states_gold(task, problem, remark))
            if is_supportive:
                marks[_AIMED] = _mark(aim, True)
        return Graded(probe, remark, marks)

    def measures(self, graded: Sequence[Graded]) -> list[Measure]:
        """See `core.exam`."""
        remarks = [_folded(one.reply) for one in graded if one.failure is None]
        repeated = measure(_REPEATED, 0.0, [float(remark in remarks[:at]) for at, remark in enumerate(remarks)])
        wanted = {SCORE: 1.0, _TRUE: 1.0, _FALSE: 1.0, _AIMED: 1.0, _LEAKED: 0.0, _COPIED: 0.0}
        return [*measures(wanted, graded), repeated]


def _mark(verdict: bool | None, wanted: bool) -> float | None:
    return None if verdict is None else float(verdict == wanted)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _aim(remark: str, fault: Fault) -> bool | None:
    """Return whether the steps that `remark` names include the faulty one; None if it names none."""
    labels = {order(label) for label in _STEP.findall(remark)}
    return order(fault.step) in labels if labels else None


def _claims(remark: str, fault: Fault | None) -> Iterator[bool]:
    """Yield for each claim that a step or the answer is right or wrong whether it is true; questions claim nothing.

    What stands after the first wrong step is neither right nor wrong by itself.
    """
    for claim in _CLAIM.finditer(remark):
        says_wrong = _WRONG.search(claim["says"]) is not None and _NEGATED.search(claim["says"]) is None
        if claim["end"] or not (says_wrong or _RIGHT.search(claim["says"])):
            continue
        if claim["label"] is None or fault is None:
            yield says_wrong == (fault is not None)
        elif order(claim["label"]) <= order(fault.step):
            yield says_wrong == (order(claim["label"]) == order(fault.step))
