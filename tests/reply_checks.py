"""What may be read out of which replies: written apart from the readers, to hold them against."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from sparring.core.task import Problem
from sparring.parsing.steps import Fault
from sparring.parsing.thought import ThoughtFormat
from tests.partners.speaking import ATTEMPT, TASK


def squeezed(text: str) -> str:
    return "".join(text.split())


def is_score(reply: str, score: float) -> None:
    assert 1 <= score <= 10
    spoken = [line for line in reply.split("\n") if "score" in line.lower()]
    stated = [re.search(r"(?i)score[\s:=*_`\"'(\[]*[+]?([0-9]+(?:[.][0-9]+)?)[^0-9]*$", line) for line in spoken]
    assert score in [float(match[1]) for match in stated if match]


def is_verdict(reply: str, verdict: str) -> None:
    assert sum(reply.count(f"[[{letter}]]") for letter in "ABC") == 1
    assert {"first": "[[A]]", "second": "[[B]]", "tie": "[[C]]"}[verdict] in reply


def is_reward(reply: str, score: float) -> None:
    assert re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*", reply, re.IGNORECASE)
    assert abs(score) < float("inf")


def is_fault(reply: str, fault: Fault | None) -> None:
    if fault is None:
        assert re.search(r"(steps are|is also) correct\s*([.!]|$)", reply, re.IGNORECASE)
        return
    assert fault.step in ("1", "2", "3")
    assert fault.part in TASK.layout.split(ATTEMPT)[int(fault.step) - 1].text
    assert f'the part "{fault.part}" is incorrect' in reply


def is_update(reply: str, update: str) -> None:
    assert update.startswith("3+7=10\n")
    lines = [line.strip() for line in update.split("\n") if line.strip()]
    assert len(lines) > 1
    assert " ".join(lines[1].split()) != "10+5=16" or len(lines) > 3
    assert squeezed(update).endswith(squeezed(reply))


def is_remark(reply: str, remark: str) -> None:
    assert remark == reply.strip() != ""


def is_feedback(reply: str, fault: Fault | None) -> None:
    if fault is None:
        assert reply.strip() == "ok" or "correct" in reply.lower()
    else:
        assert fault.step in reply
        assert fault.part in reply


def are_steps(reply: str, result: list[tuple[Any, str]]) -> None:
    assert bool(result) == bool(reply.strip())
    end = 0
    for step, before in result:
        assert end <= step.start < step.end <= len(reply)
        assert step.text in reply[step.start : step.end]
        assert reply.startswith(before)
        end = step.end


def is_thinking(form: ThoughtFormat) -> Callable[[str, Any], None]:
    def check(reply: str, result: Any) -> None:
        assert result.answer.text.strip()
        assert form.marker not in result.answer.text
        assert reply.count(form.marker) == 1
        assert squeezed(form.join(result.thought, result.answer.text)) == squeezed(reply)

    return check


def is_item_list(reply: str, items: list[str]) -> None:
    assert items
    assert all(item.strip() and item in reply for item in items)
    assert len(items) <= len(reply.splitlines())


def is_choice(reply: str, letter: str | None) -> None:
    assert letter is None or letter in "ABCD"
    if letter is not None:
        assert (
            letter.lower() in unicodedata.normalize("NFKC", reply).lower()
            or ["red", "green", "blue", "dark blue"]["ABCD".index(letter)] in reply.lower()
        )


def is_number(reply: str, value: Any) -> None:
    # In the digits of any script, or as a fraction in one character.
    assert value is None or any(unicodedata.numeric(character, None) is not None for character in reply)


def is_final(reply: str, result: str) -> None:
    assert squeezed(result) in squeezed(reply)


def is_judged(problem: Problem) -> Callable[[str, Any], None]:
    def check(reply: str, result: tuple[bool, Fault | None]) -> None:
        right, fault = result
        assert not right or all(word in reply for word in re.findall(r"\w+", problem.gold or ""))
        assert fault is None or fault.part in reply

    return check


def is_reply(body: str, result: Any) -> None:
    message = json.loads(body)["choices"][0]["message"]
    assert result.reply.text == answers_clean(message.get("content") or "")
    assert result.used.prompt < 2**50 > result.used.completion


def answers_clean(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_printed(output: str, text: str) -> None:
    assert list(json.loads(output)) == ["text"]
    assert text == answers_clean(json.loads(output)["text"])


def anything(result: Any) -> bool:
    """Nonsense is words, and words are what is read."""
    return True


def none(result: Any) -> bool:
    """Nothing is found in nonsense."""
    return result is None
