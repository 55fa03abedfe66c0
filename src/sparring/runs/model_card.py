"""The model card of an exported learner: what it is, how it was trained, how well it does, and how it is to be asked.

Everything is read from the learner's folder and from the run that it is in. A figure is stated only if the run tested
this very learner.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomlkit
from huggingface_hub import EvalResult, ModelCardData

from sparring.common.errors import ConfigError
from sparring.common.files import read_json
from sparring.config.factory import METHODS, for_use, role_fields
from sparring.config.recipe import load_table, run_of
from sparring.core.attempts import as_messages
from sparring.core.chat import LEARNER, question
from sparring.core.evaluation import in_words
from sparring.models.source import base_of, is_adapters
from sparring.runs.bundle import from_hub, without_secrets
from sparring.runs.folder import RECIPE
from sparring.training.checkpoint import Usage, describe_origin, read_usage

PLACEHOLDER = "YOUR QUESTION"
PROGRAM = f"""import sparring

learner = sparring.load_learner("FOLDER OR OWNER/NAME")
print(learner.answer("{PLACEHOLDER}"))"""
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def model_card(folder: Path, name: str) -> str:
    """Return the card (Markdown after YAML) of the learner in `folder`, which gets the name `name`."""
    usage, run = read_usage(folder), run_of(folder)
    table = without_secrets(load_table(str(run / RECIPE))) if run is not None else {}
    tested = _tested(run, usage) if run is not None and usage is not None else None
    data = ModelCardData(
        model_name=name,
        base_model=_base(folder, table),
        datasets=_data_sets(table) or None,
        license=_license(folder, table),
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["sparring", *_methods(usage, table)],
        eval_results=list(_results(tested, table)) if tested else None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_sections(name, usage, table, tested)) + "\n"


def _data_sets(table: Mapping[str, Any]) -> list[str]:
    """Return the ids of the task's data sets on the hub, `owner/name`, without configuration, split and revision."""
    sources = [source for key, source in from_hub(table).items() if key.startswith("task.")]
    ids = ["/".join(source.partition("@")[0].partition(":")[0].split("/")[:2]) for source in sources]
    return list(dict.fromkeys(ids))


def _tested(run: Path, usage: Usage) -> Mapping[str, Any] | None:
    """Return the figures of `run` on its test problems, if they are those of this learner."""
    try:
        figures = read_json(run / "evaluation.json")
        candidates = [figures, figures["final"]]
    except (OSError, ConfigError, LookupError, TypeError):
        return None
    origin = usage.origin and usage.origin.plain()
    return next((found for found in candidates if found.get("origin") == origin), None)


def _base(folder: Path, table: Mapping[str, Any]) -> str | None:
    """Return the hub id of the model that was trained; None if it is not from the hub."""
    if (name := from_hub(table).get("learner.model")) is not None:
        return name.partition("@")[0]
    base = base_of(folder) if is_adapters(folder) else ""
    return base if base and not Path(base).exists() else None


def _license(folder: Path, table: Mapping[str, Any]) -> str | None:
    """Return the license in the card of the base model, if that is in a folder of this machine."""
    base = base_of(folder) if is_adapters(folder) else str(table.get("learner", {}).get("model", ""))
    card = Path(base) / "README.md"
    found = re.search(r"^license: *(\S+)\s*$", card.read_text(encoding="utf-8"), re.M) if card.is_file() else None
    return found[1] if found else None


def _methods(usage: Usage | None, table: Mapping[str, Any]) -> list[str]:
    """Return the names of the methods that trained the learner, in their order."""
    phases = table.get("phase", [])[: usage.origin.phase if usage is not None and usage.origin else None]
    return list(dict.fromkeys(phase["method"] for phase in phases)) or ([usage.method] if usage is not None else [])


def _results(tested: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[EvalResult]:
    task = table["task"]["kind"]
    for name, mean in tested["measures"].items():
        yield EvalResult(
            task_type="text-generation",
            dataset_type=from_hub(table).get("task.source", task).partition("@")[0],
            dataset_name=task,
            dataset_split="test",
            metric_type=name,
            metric_value=mean["value"],
            metric_args={"interval_95": [mean["low"], mean["high"]], "problems": mean["count"]},
        )


# ── the text ────────────────────────────────────────────────────────────────────────────────────────────────


def _sections(
    name: str, usage: Usage | None, table: Mapping[str, Any], tested: Mapping[str, Any] | None
) -> Iterator[str]:
    base = Path(str(table.get("learner", {}).get("model", ""))).name
    of = f" from `{base}`" if base and base != "tiny" else ""
    methods = _methods(usage, table)
    how = " by interaction with a partner" if any(role_fields(METHODS[method]) for method in methods) else ""
    yield f"# {name}"
    yield (
        f"A language model, trained{of} with [sparring](https://github.com/sparring-ml/sparring) "
        f"{version('sparring')}{how}."
    )
    yield "## Methods\n\n" + "\n".join(_described(method) for method in methods)
    if usage is not None and usage.origin is not None:
        yield f"The learner is from {describe_origin(usage.origin.plain())}, after {usage.origin.problems:,} problems."
    if tested is not None:
        yield "## Results\n\n" + "\n".join(_rows(tested))
    if usage is not None:
        yield "## Use\n\n" + "\n\n".join(_use(usage))
    if table:
        yield f"## Data and recipe\n\nTrained on the task `{table['task']['kind']}`, by this recipe:"
        yield f"```toml\n{tomlkit.dumps(table).strip()}\n```"


def _described(method: str) -> str:
    """Describe a method by the first sentence of its module, which cites its paper, or else of its class."""
    kind = METHODS[method]
    module = sys.modules[kind.__module__].__doc__ if kind.__module__.endswith(f".{method}") else None
    sentence = " ".join((module or kind.__doc__ or "").split("\n\n")[0].split())
    return f"- `{method}`: " + _ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", sentence)


def _rows(tested: Mapping[str, Any]) -> Iterator[str]:
    yield "On held-out test problems, with 95 % intervals:\n"
    yield "| measure | value | interval | problems |\n|---|---|---|---|"
    for name, mean in tested["measures"].items():
        low, high = in_words(name, mean["low"]), in_words(name, mean["high"])
        yield f"| {name} | {in_words(name, mean['value'])} | {low} to {high} | {mean['count']} |"


def _use(usage: Usage) -> Iterator[str]:
    """Say how the learner is asked, as its method trained it."""
    method = for_use(usage.method, usage.settings)
    build_prompt = getattr(method, "build_prompt", None)
    yield "It was trained in its chat template. `sparring.json` holds how it answers, and this asks it that way:"
    yield f"```python\n{PROGRAM}\n```"
    if build_prompt is not None:
        turns = as_messages(build_prompt(question(PLACEHOLDER)), LEARNER)
        shown = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        yield f"Other programs have to ask it in these words, with the question in place of `{PLACEHOLDER}`:"
        yield f"```text\n{shown}\n```"
