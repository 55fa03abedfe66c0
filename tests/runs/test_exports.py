"""An evaluation by a judge also writes the responses as AlpacaEval and Arena-Hard read them."""

from __future__ import annotations

import json

from sparring.config.evaluation import EvaluationRecipe
from sparring.runs.evaluation import run_evaluation

ROWS = [{"uid": "q1", "prompt": "Write about rain.", "category": "poems"}, {"uid": "q2", "prompt": "And snow?"}]


def test_responses_are_files_of_the_original_tools(tmp_path):
    rows = tmp_path / "question.jsonl"
    rows.write_text("".join(json.dumps({"category": "prose", **row}) + "\n" for row in ROWS))
    table = {
        "learner": [{"by": "scripted", "replies": ["It rains ☔."]}, {"by": "scripted", "replies": ["It pours."]}],
        "task": {"kind": "instructions", "train": str(rows), "development_size": 0, "test_size": 0}
        | {"uid_column": "uid"},
        "protocol": {"kind": "win_rate", "judge": {"by": "scripted", "preset": "arena_hard", "replies": ["[[A>>B]]"]}},
        "evaluation": {"split": "train"},
    }
    found = run_evaluation(EvaluationRecipe.of(table), tmp_path / "run")
    assert sorted(found.bins()) == ["poems", "prose"]
    outputs = json.loads((tmp_path / "run" / "model_outputs.json").read_text())
    assert outputs == [
        {"instruction": "Write about rain.", "output": "It rains ☔.", "generator": "scripted"},
        {"instruction": "And snow?", "output": "It rains ☔.", "generator": "scripted"},
    ]
    lines = (tmp_path / "run" / "model_answer" / "scripted.jsonl").read_text().splitlines()
    answers = {row["uid"]: row for row in map(json.loads, lines)}  # as Arena-Hard's load_model_answers reads them
    assert list(answers) == ["q1", "q2"]
    assert answers["q2"]["messages"][-1]["content"]["answer"] == "It rains ☔."
    assert answers["q2"]["model"] == "scripted"
    summary = json.loads((tmp_path / "run" / "results.json").read_text())["summary"]
    assert summary["arena_hard"] == 0.5  # the judge always prefers the first by far
