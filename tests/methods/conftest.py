"""One easy problem, and a readable account of an episode and of what it teaches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from sparring.core.chat import Chat, Message
from sparring.core.episode import Episode
from sparring.core.experience import Demonstration, Experience
from sparring.core.task import Problem
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def arithmetic() -> MultistepArithmetic:
    return MultistepArithmetic(train=20, development=5, test=5)


@pytest.fixture
def problem(arithmetic) -> Problem:
    """((3+7)+5)= with the worked answer 3+7=10, 10+5=15, 15."""
    problem_ = next(p for p in arithmetic.problems("train") if p.id == "((3+7)+5)=")
    assert problem_.rationale == "3+7=10\n10+5=15\n15"
    return problem_


def play(method, problem, task, learner) -> Episode:
    return asyncio.run(method.interact(problem, task, learner, random.Random(0)))


def worded(message: Message, weights: bool = False) -> str:
    parts = [
        f"[{part.writer}{f' {part.weight:g}' if weights else ''}] {part.text!r}"
        + (f" {len(part.ids)} ids" if part.ids else "")
        for part in message.parts
    ]
    return f"{message.author}: " + "\n    ".join(parts)


def worded_chat(chat: Chat, weights: bool = False) -> str:
    return "\n".join(worded(message, weights) for message in chat.messages)


def account(episode: Episode, taught: Sequence[Experience]) -> str:
    """The episode and its lessons in words."""
    lines = ["EPISODE", worded_chat(episode.chat)]
    for candidate in episode.candidates:
        lines.append(f"candidate, score {candidate.score}, answer {candidate.answer and candidate.answer.text!r}: ")
        lines.append("    " + worded(candidate.message))
    lines += [f"failure: {f.who}: {f.kind}: {f.reason}" for f in episode.failures]
    lines.append(f"notes: {dict(episode.notes)}")
    for piece in taught:
        lines.append("")
        if isinstance(piece, Demonstration):
            lines += [f"DEMONSTRATION ({piece.group}, learnt by {piece.reader})", worded_chat(piece.chat, weights=True)]
        else:
            lines += [
                "PREFERENCE",
                worded_chat(piece.prompt),
                "chosen " + worded(piece.chosen),
                "rejected " + worded(piece.rejected),
            ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def golden(request):
    """Compares an account with the golden file of that name; `pytest --remake-golden` writes it anew."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--remake-golden"):
            path.write_text(text)
        assert text == path.read_text()

    return compare
