"""Rows in the formats of the hub's data sets, made on the spot: what a recipe names by its hub id is read from here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ROWS = 600  # of each split: more than the recipes hold out
SUBJECTS = ("anatomy", "astronomy")


def _gsm8k(split: str, n: int) -> dict[str, Any]:
    worked = f"She has {n}+4=<<{n}+4={n + 4}>>{n + 4} pens.\n#### {n + 4}"
    return {"question": f"Ann has {n} pens and buys 4 in the {split}. How many has she?", "answer": worked}


def _commonsense_qa(split: str, n: int) -> dict[str, Any]:
    choices = {"label": [*"ABCDE"], "text": ["oven", "fridge", "bank", "car", "lake"]}
    return {"question": f"Where is {split} milk no {n} kept?", "choices": choices, "answerKey": "B"}


def _mmlu(split: str, n: int) -> dict[str, Any]:
    subject = "" if split == "auxiliary_train" else SUBJECTS[n % 2]
    return {"question": f"What is {n} in {split}?", "subject": subject, "choices": [*"wxyz"], "answer": n % 4}


def _ultrafeedback(split: str, n: int) -> dict[str, Any]:
    return {"prompt": f"Write about {split} number {n}.", "chosen": [], "rejected": []}


def _pairs(split: str, n: int) -> dict[str, Any]:
    asked = {"role": "user", "content": f"What is {n} in the {split}?"}
    replies = {"chosen": f"So the answer is {n}", "rejected": "I do not know."}
    return {key: [asked, {"role": "assistant", "content": text}] for key, text in replies.items()}


DATA_SETS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "openai/gsm8k": _gsm8k,
    "tau/commonsense_qa": _commonsense_qa,
    "cais/mmlu": _mmlu,
    "HuggingFaceH4/ultrafeedback_binarized": _ultrafeedback,
    "trl-lib/ultrafeedback_binarized": _pairs,
}


def load_dataset(name: str, configuration: str | None = None, split: str = "train") -> list[dict[str, Any]]:
    """Stand in for `datasets.load_dataset`."""
    return [DATA_SETS[name](split, number) for number in range(ROWS)]
