"""A finished run in one file, from which anybody replays it off-line and for nothing.

    manifest.json                      what is in it, the weights it ended with, versions, the machine
    recipe.toml                        what is read from a disk is named `bundle:…`, and lies in files/
    ledger.jsonl                       the partner calls of the run, with requests and replies
    metrics.jsonl                      what is to come out again
    rounds/<phase>-<method>/<round>/   episodes and experience: what was sampled and said, and what it taught
    files/                             tables of questions, a learner's weights, templates, functions

The same run makes the same bytes. Not here: hub models and data, which are named with the revision in this machine's
cache; what partners read, since they are not asked; code that is imported by its name; and keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit
from huggingface_hub import try_to_load_from_cache

from sparring.runs import archive
from sparring.config.factory import role_fields
from sparring.core.attempts import withheld
from sparring.common.errors import ConfigError
from sparring.common.files import read_json
from sparring.runs.foreign_code import NAMING, texts
from sparring.ledger import export
from sparring.models.source import ModelSource
from sparring.config.recipe import Recipe
from sparring.runs.recording import USED, ledger_of, spoken
from sparring.common.records import HUB

FORMAT = 1
MANIFEST, RECIPE, LEDGER, METRICS, ROUNDS = "manifest.json", "recipe.toml", "ledger.jsonl", "metrics.jsonl", "rounds"
PACKED = "bundle:"  # begins what a packed recipe reads from files/

_SECRET = re.compile(r"(?:^|[._-])(?:key|apikey|token|secret|password|credentials?|authorization)$", re.IGNORECASE)
_SHORTEST = 12  # characters of a text that is looked for as a key: "none" is one, too
_HUB_ID = re.compile(r"[\w-][\w.-]*(?:/[\w.-]+)?")


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds and what its replay is held against.

    `files` and `weights` are SHA-256 sums, by the name in the bundle and in the run's `checkpoints/`; `hub` names what
    the recipe takes from the hub, by its key; `modules` what it imports from elsewhere.
    """

    run: str
    files: Mapping[str, str]
    weights: Mapping[str, str]
    circumstances: Mapping[str, int | str | Mapping[str, str]]
    hub: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    format: int = FORMAT


def bundle(run: Path, output: Path | None = None) -> tuple[Path, Manifest]:
    """Packs the finished run in the folder `run` into `output` (by default its name and .tar.gz, in this folder)."""
    output = output or Path(f"{run.resolve().name}.tar.gz")
    if output.exists():
        raise ConfigError(f"{output} exists already; give another name, or remove it")
    told = _finished(run)
    table = tomlkit.parse((run / RECIPE).read_text()).unwrap()
    recipe = Recipe.of(table)
    recipe.task.problems("train")  # what the task reads is there, or it says so
    packing = Packing(recipe, table)
    members: dict[str, Path | bytes] = {METRICS: run / METRICS, **packing.files}
    members[RECIPE] = tomlkit.dumps(packing.table).encode()
    members |= {str(path.relative_to(run)): path for path in (run / ROUNDS).glob("*/*/e*.jsonl")}
    with tempfile.TemporaryDirectory() as folder:
        if any(spoken(phase.method) for phase in recipe.phases):
            members[LEDGER] = Path(folder) / LEDGER
            export(_ledger(run, recipe), Path(folder) / LEDGER, calls=calls(run))
            _check_requests(Path(folder) / LEDGER)
        _hold_no_secret(recipe, table, members)
        manifest = Manifest(
            run.resolve().name,
            {name: sha256(members[name]) for name in sorted(members)},
            weights(run),
            {key: told[key] for key in ("threads", "platform", "versions")},
            from_hub(table),
            tuple(sorted(_modules(table))),
        )
        told_of_itself = json.dumps(asdict(manifest), indent=2, ensure_ascii=False).encode()
        archive.pack_archive(output, [(MANIFEST, told_of_itself), *sorted(members.items())])
    return output, manifest


def weights(run: Path) -> dict[str, str]:
    """The SHA-256 sums of the weights that `run` ended with, and of its best ones."""
    folder = run / "checkpoints"
    found = sorted(path for name in ("best", "final") for path in (folder / name).glob("*.safetensors"))
    return {str(path.relative_to(folder)): sha256(path) for path in found}


def from_hub(table: Mapping[str, Any]) -> dict[str, str]:
    """What learner and task of a recipe take from the hub, by key, with the revision in this machine's cache."""
    found = {}
    for key, text in texts({name: table.get(name, {}) for name in ("learner", "task")}):
        named = key in ("learner.model", "task.source") and text != ModelSource.model and not os.path.exists(text)
        name = text.removeprefix(HUB)
        if (named or text != name) and (repository := _HUB_ID.match(name)):
            model = key == "learner.model"
            kind, file = ("model", "config.json") if model else ("dataset", "README.md")
            cached = try_to_load_from_cache(repository[0], file, repo_type=kind)
            found[key] = f"{name}@{Path(cached).parent.name}" if isinstance(cached, str) else name
    return found


def sha256(content: Path | bytes) -> str:
    """The SHA-256 sum of a file or of bytes."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finished(run: Path) -> dict[str, Any]:
    if not (run / "run.json").exists():
        raise ConfigError(f"{run} holds no run; give the folder of one")
    told: dict[str, Any] = read_json(run / "run.json")
    if told["status"] != "finished":
        raise ConfigError(f"the run in {run} is {told['status']}, not finished; go on with it by --resume first")
    return told


def _ledger(run: Path, recipe: Recipe) -> Path:
    path = ledger_of(run)
    if recipe.ledger.mode == "off" or path is None:
        raise ConfigError(f"{run} has no ledger: what its partners said is not there to be packed")
    return path


def calls(run: Path) -> set[str]:
    """The keys of the calls that `run` made."""
    return set((run / USED).read_text().split()) if (run / USED).exists() else set()


class Packing:
    """The recipe's table as it is packed, and the files that it names, by their names in the bundle."""

    def __init__(self, recipe: Recipe, table: dict[str, Any]) -> None:
        self.files: dict[str, Path] = {}
        phases = zip(recipe.phases, table["phase"], strict=True)
        self.table = {
            **table,
            **{name: self._packed(table.get(name, {}), name) for name in ("learner", "task")},
            "phase": [self._phase(phase.method, told, f"phase.{n}") for n, (phase, told) in enumerate(phases, start=1)],
        }

    def _phase(self, method: Any, told: dict[str, Any], where: str) -> dict[str, Any]:
        """A phase; what its speakers read stays as it is: they are not asked, and the ledger knows them by it."""
        roles = role_fields(type(method))
        speaking = [role for role in roles if hasattr(getattr(method, role), "speaker")]
        told = {key: without_secrets(inner) if key in roles else inner for key, inner in told.items()}
        return {key: inner if key in speaking else self._packed(inner, f"{where}.{key}") for key, inner in told.items()}

    def _packed(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return {key: self._packed(inner, f"{where}.{key}") for key, inner in value.items()}
        if isinstance(value, list):
            return [self._packed(inner, f"{where}.{number}") for number, inner in enumerate(value, start=1)]
        return self._text(value, where) if isinstance(value, str) else value

    def _text(self, text: str, where: str) -> str:
        """`text`, or where it names a file or folder that is here, what that is called in the bundle."""
        name, script, function = text.partition(".py:")
        path = Path(f"{name}.py" if script else text)
        if not _is_named(path, text, where):
            return text
        if path.is_dir():
            _check_base(path)
            found = {file: file.relative_to(path.parent) for file in path.rglob("*")}
        else:  # a script may import or read what stands beside it
            found = {file: Path(file.name) for file in (path.parent.glob("*.py") if script else [path])}
        self.files |= {f"files/{where}/{inside}": file for file, inside in found.items() if file.is_file()}
        return f"{PACKED}{where}/{path.name}" + (f":{function}" if script else "")


def _is_named(path: Path, text: str, where: str) -> bool:
    """Whether `text` at the key `where` is meant as the `path` that is here; "random" is none, whatever lies about."""
    key = where.rpartition(".")[2]
    if text == ModelSource.model or not ("/" in text or path.suffix or key in ("model", "source")):
        return False
    there = os.path.exists(path)  # of a prompt, too, which is too long to be a path
    if where == "learner.model" and not there and (text.startswith((".", "/", "~")) or text.count("/") > 1):
        raise ConfigError(f"the learner began from {text}, which is not here; bundle from where the run was trained")
    return there and not Path.cwd().is_relative_to(path.resolve())


def _check_base(folder: Path) -> None:
    """ConfigError where `folder` holds adapters of a base model that lies elsewhere on this machine."""
    if (folder / "adapter_config.json").exists():
        base = str(read_json(folder / "adapter_config.json").get("base_model_name_or_path"))
        if os.path.exists(base):
            raise ConfigError(f"{folder} holds adapters of {base}; fold them in by sparring merge, and train from that")


def without_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    """A partner's table without what may be secret, by its place: URLs lose passwords and queries; of `extra_body`, of
    headers and of what is named a key, token, secret or password each text becomes its digest, as on the ledger. A
    command stays: any user of a machine sees the arguments of its programs."""
    return {key: _without(key, setting) for key, setting in table.items()}


def _without(key: str, setting: Any) -> Any:
    if key.endswith("url"):
        return _bare(setting)
    if key in ("extra_body", "headers", "extra_headers") or _SECRET.search(key):
        return withheld(setting)
    return without_secrets(setting) if isinstance(setting, Mapping) else setting


def _bare(url: Any) -> Any:
    if isinstance(url, list):
        return [_bare(one) for one in url]
    parts = urlsplit(str(url))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _hold_no_secret(recipe: Recipe, table: Mapping[str, Any], members: Mapping[str, Path | bytes]) -> None:
    """ConfigError where a key of this environment, or a text that the recipe names one, is about to be packed: what a
    server says may repeat it."""
    partners = [partner for phase in recipe.phases for partner in spoken(phase.method).values()]
    variables = {variable for p in partners if (variable := getattr(p.speaker, "key_variable", None))}
    secrets = {f"the key in {variable}": os.environ.get(variable, "").strip() for variable in sorted(variables)}
    secrets |= {f"the value of {k}": text for k, text in texts(table) if _SECRET.search(k) and len(text) >= _SHORTEST}
    for what, secret in secrets.items():
        for name, content in members.items() if secret else ():
            if not name.startswith("files/") and secret.encode() in (
                content if isinstance(content, bytes) else content.read_bytes()
            ):
                raise ConfigError(f"{what} would stand in {name} of the bundle; take it out of the recipe")


def _check_requests(ledger: Path) -> None:
    """ConfigError where a request on the ledger holds what may be a secret as it was sent."""
    with ledger.open(encoding="utf-8") as lines:
        for request in (json.loads(line)["request"] for line in lines):
            if without_secrets(request) != request:
                raise ConfigError(
                    f"the ledger holds calls of {request['model']!r} with extra_body or a key as they were sent, as an "
                    "older version wrote them; train the run anew to bundle it"
                )


def _modules(table: Mapping[str, Any]) -> set[str]:
    """What the recipe imports by dotted name."""
    found = {text for key, text in texts(table) if key.rpartition(".")[2] in NAMING}
    return {text.rpartition(".")[0] for text in found if "." in text and ".py:" not in text}
