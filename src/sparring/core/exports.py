"""A learner's responses as files that the original tools read, to be judged there.

AlpacaEval (github.com/tatsu-lab/alpaca_eval): `model_outputs.json`. Arena-Hard (github.com/lmarena/arena-hard-auto):
`model_answer/<model>.jsonl`; its style control also wants what its `add_markdown_info.py` adds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from sparring.common.seeds import digest
from sparring.core.task import Problem


def for_other_tools(learner: str, responses: Sequence[tuple[Problem, str]]) -> dict[str, str]:
    """Return the files by their paths: the responses of `learner` (a path or a name), "" where there is none.

    Arena-Hard finds a question by its `uid`: that of the problem's data if it has one, else the problem's id.
    """
    name = PurePath(learner).name or "learner"
    outputs = [{"instruction": p.chat.text, "output": text, "generator": name} for p, text in responses]
    answers = [_answer(name, problem, text) for problem, text in responses]
    return {
        "model_outputs.json": json.dumps(outputs, indent=2, ensure_ascii=False) + "\n",
        f"model_answer/{name}.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answers),
    }


def _answer(name: str, problem: Problem, text: str) -> dict[str, Any]:
    uid = problem.data.get("uid", problem.id)
    return {
        "uid": uid,
        "ans_id": digest(name, uid)[:22],
        "model": name,
        "messages": [
            {"role": "user", "content": problem.chat.text},
            {"role": "assistant", "content": {"answer": text}},
        ],
    }
