"""The model card of an exported learner: what it is, how it was trained, how well it does, and how it is to be asked.

Everything is read from the learner's folder, from the run that it is in, and from earlier runs that it went through
(`lineage`). A figure is stated only if the run tested this very learner.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomlkit
from huggingface_hub import EvalResult, ModelCardData
from transformers import AutoModelForCausalLM

from sparring.common.errors import ConfigError
from sparring.common.files import read_json
from sparring.config.factory import METHODS, for_use, role_fields
from sparring.core.attempts import as_messages
from sparring.core.chat import LEARNER, question
from sparring.core.evaluation import in_words
from sparring.models.encoder_decoder import loader
from sparring.models.hub import is_path
from sparring.models.source import ModelSource, base_of, is_adapters
from sparring.runs.bundle import from_hub
from sparring.runs.lineage import Stage, stages
from sparring.training.checkpoint import Usage, describe_origin

PLACEHOLDER = "YOUR QUESTION"
PROGRAM = f"""import sparring

learner = sparring.load_learner("FOLDER OR OWNER/NAME")
print(learner.answer("{PLACEHOLDER}"))"""
PLAIN_PROGRAM = """from transformers import AutoModelForCausalLM, AutoTokenizer

place = "FOLDER OR OWNER/NAME"
tokenizer, model = AutoTokenizer.from_pretrained(place), AutoModelForCausalLM.from_pretrained(place)
chat = {chat}
asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True{more})
reply = model.generate(**asked, max_new_tokens={limit})
print(tokenizer.decode(reply[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))"""
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def model_card(folder: Path, name: str) -> str:
    """Return the card (Markdown after YAML) of the learner in `folder`, which gets the name `name`."""
    runs = stages(folder)
    first, last = runs[0], runs[-1]
    tested = _tested(last.run, last.usage) if last.run is not None and last.usage is not None else None
    data = ModelCardData(
        model_name=name,
        base_model=_base(first),
        datasets=_data_sets(runs) or None,
        license=_license(first),
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["sparring", *_methods(runs)],
        eval_results=list(_results(tested, last.table)) if tested else None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_sections(name, runs, tested)) + "\n"


def _data_sets(runs: Sequence[Stage]) -> list[str]:
    """Return the ids of the tasks' data sets on the hub, `owner/name`, without configuration, split and revision."""
    sources = [source for run in runs for key, source in from_hub(run.table).items() if key.startswith("task.")]
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


def _base(first: Stage) -> str | None:
    """Return the hub id of the model that the first run began with; None if it is unknown or not from the hub."""
    if (name := from_hub(first.table).get("learner.model")) is not None:
        return name.partition("@")[0]
    if is_adapters(first.folder):
        base = base_of(first.folder)
        return None if is_path(base) or os.path.exists(base) else base
    return _in_card(first.folder, "base_model") if first.run is None else None  # it was exported, card and all


def _license(first: Stage) -> str | None:
    """Return the license in the card of the base model, if that is in a folder of this machine."""
    if first.run is None and (found := _in_card(first.folder, "license")) is not None:
        return found
    return _in_card(Path(base_of(first.folder) if is_adapters(first.folder) else first.start), "license")


def _in_card(folder: Path, key: str) -> str | None:
    """Return the value of `key` in the card of the model in `folder`; None without one."""
    card = folder / "README.md"
    found = re.search(rf"^{key}: *(\S+)\s*$", card.read_text(encoding="utf-8"), re.M) if card.is_file() else None
    return found[1] if found else None


def _methods(runs: Sequence[Stage]) -> list[str]:
    """Return the names of the methods that trained the learner, in their order."""
    return list(dict.fromkeys(method for run in runs for method in run.methods))


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


def _sections(name: str, runs: Sequence[Stage], tested: Mapping[str, Any] | None) -> Iterator[str]:
    methods, usage = _methods(runs), runs[-1].usage
    how = " by interaction with a partner" if any(role_fields(METHODS[method]) for method in methods) else ""
    yield f"# {name}"
    yield (
        f"A language model, trained{_from(runs)} with [sparring](https://github.com/sparring-ml/sparring) "
        f"{version('sparring')}{how}."
    )
    yield "## Methods\n\n" + "\n".join(_described(method) for method in methods)
    for run in runs:
        if run.usage is not None and run.usage.origin is not None:
            learner = "The learner" if run is runs[-1] else "The learner that a later run trained further"
            after = f"after {run.usage.origin.problems:,} problems"
            yield f"{learner} is from {describe_origin(run.usage.origin.plain())}, {after}."
    if tested is not None:
        yield "## Results\n\n" + "\n".join(_rows(tested))
    if usage is not None:
        yield "## Use\n\n" + "\n\n".join(_use(usage, runs[-1].folder))
    yield from _recipes([run.table for run in runs if run.table])


def _from(runs: Sequence[Stage]) -> str:
    """Say what the first run began with, if that is known."""
    first = runs[0]
    if first.run is None:
        return f" from `{first.folder.name}`" if len(runs) > 1 else ""
    if first.start in ("", ModelSource.model):
        return ""
    is_gone = is_path(first.start) and not os.path.exists(first.start)
    return f" from `{first.start}`, which is not there any more," if is_gone else f" from `{Path(first.start).name}`"


def _recipes(tables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the recipes of the runs, the first one first."""
    for number, table in enumerate(tables):
        begin = "Then trained" if number else "Trained" if len(tables) == 1 else "First trained"
        heading = "" if number else "## Data and recipe\n\n"
        yield f"{heading}{begin} on the task `{table['task']['kind']}`, by this recipe:"
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


def _use(usage: Usage, folder: Path) -> Iterator[str]:
    """Say how the learner in `folder` is asked, as its method trained it."""
    method = for_use(usage.method, usage.settings)
    build_prompt = getattr(method, "build_prompt", None)
    asked = question(PLACEHOLDER) if build_prompt is None else build_prompt(question(PLACEHOLDER))
    turns = as_messages(asked, LEARNER)
    yield "It was trained in its chat template. `sparring.json` holds how it answers, and this asks it that way:"
    yield f"```python\n{PROGRAM}\n```"
    if build_prompt is not None:
        shown = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        yield f"Other programs have to ask it in these words, with the question in place of `{PLACEHOLDER}`:"
        yield f"```text\n{shown}\n```"
    if loader(base_of(folder) if is_adapters(folder) else str(folder)) is AutoModelForCausalLM:
        more = "".join(f", {name}={value!r}" for name, value in usage.chat_template_kwargs.items())
        limit = usage.settings.get("max_tokens", 512)
        yield "With plain transformers, for one reply:"
        yield f"```python\n{PLAIN_PROGRAM.format(chat=turns, more=more, limit=limit)}\n```"
