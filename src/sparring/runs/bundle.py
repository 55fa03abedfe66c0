"""Packs a finished run into one file that anybody can replay offline at no cost.

    manifest.json                      its contents, the final weights, package versions, the machine
    recipe.toml                        the recipe; `bundle:…` names a file in files/
    ledger.jsonl                       the run's partner calls with requests and replies
    metrics.jsonl                      the figures that a replay should reproduce
    rounds/<phase>-<method>/<round>/   episodes and experience: the samples, the conversations, the training examples
    files/                             data tables, the learner's weights, templates, functions

The same run makes the same bytes. A bundle omits four things. Models and data on the hub are named with the revision in
this machine's cache. Files that partners read are not needed, because a replay calls no partner. Modules imported by
name must be installed. API keys are never packed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit
from huggingface_hub import try_to_load_from_cache

from sparring.common.errors import ConfigError
from sparring.common.files import read_json
from sparring.common.functions import is_lost
from sparring.common.row_files import HUB
from sparring.common.schema import PATH, SCRIPT, marked
from sparring.config.factory import role_fields
from sparring.config.recipe import Recipe
from sparring.core.attempts import redacted
from sparring.ledger import export
from sparring.models import hub
from sparring.models.source import ModelSource
from sparring.runs import archive
from sparring.runs.external_code import NAMING, texts
from sparring.runs.recording import USED, ledger_of, recordable_partners

FORMAT = 1
MANIFEST, RECIPE, LEDGER, METRICS, ROUNDS = "manifest.json", "recipe.toml", "ledger.jsonl", "metrics.jsonl", "rounds"
PACKED = "bundle:"  # prefix of a path in a packed recipe; the file is in files/

_SECRET = re.compile(r"(?:^|[._-])(?:key|apikey|token|secret|password|credentials?|authorization)$", re.IGNORECASE)
_MIN_SECRET = 12  # characters; a shorter value, such as "none", is not taken for a secret
_HUB_ID = re.compile(r"[\w-][\w.-]*(?:/[\w.-]+)?")


@dataclass(frozen=True)
class Manifest:
    """The contents of a bundle, and the results to compare its replay with.

    `files` and `weights` are SHA-256 sums by file name, in the bundle and in the run's `checkpoints/`. `circumstances`
    holds threads, platform and versions. `hub` maps recipe keys to names on the hub. `modules` are the external modules
    that the recipe imports.
    """

    run: str
    files: Mapping[str, str]
    weights: Mapping[str, str]
    circumstances: Mapping[str, int | str | Mapping[str, str]]
    hub: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    format: int = FORMAT


def bundle(run: Path, output: Path | None = None) -> tuple[Path, Manifest]:
    """Pack the finished run in the folder `run` into `output`, by default `<run>.tar.gz` in the working directory."""
    output = output or Path(f"{run.resolve().name}.tar.gz")
    if output.exists():
        raise ConfigError(f"{output} already exists; choose another name, or remove it")
    status = _finished_status(run)
    table = tomlkit.parse((run / RECIPE).read_text(encoding="utf-8")).unwrap()
    recipe = Recipe.of(table)
    recipe.task.problems("train")  # raises ConfigError if the task's data is missing
    packing = Packing(recipe, table)
    members: dict[str, Path | bytes] = {METRICS: run / METRICS, **packing.files}
    members[RECIPE] = tomlkit.dumps(packing.table).encode()
    members |= {path.relative_to(run).as_posix(): path for path in (run / ROUNDS).glob("*/*/e*.jsonl")}
    with tempfile.TemporaryDirectory() as folder:
        if any(recordable_partners(phase.method) for phase in recipe.phases):
            members[LEDGER] = Path(folder) / LEDGER
            export(_ledger(run, recipe), Path(folder) / LEDGER, calls=calls(run))
            _check_requests(Path(folder) / LEDGER)
        _check_secrets(recipe, table, members)
        manifest = Manifest(
            run.resolve().name,
            {name: sha256(members[name]) for name in sorted(members)},
            weights(run),
            {key: status[key] for key in ("threads", "platform", "versions")},
            from_hub(table),
            tuple(sorted(_modules(table))),
        )
        manifest_json = json.dumps(asdict(manifest), indent=2, ensure_ascii=False).encode()
        archive.pack_archive(output, [(MANIFEST, manifest_json), *sorted(members.items())])
    return output, manifest


def weights(run: Path) -> dict[str, str]:
    """Return the SHA-256 sums of the run's best and final weights, by file name."""
    folder = run / "checkpoints"
    paths = sorted(path for name in ("best", "final") for path in (folder / name).glob("*.safetensors"))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def from_hub(table: Mapping[str, Any]) -> dict[str, str]:
    """Return what the learner and the task load from the hub, by key, with the revision in this machine's cache."""
    names = {}
    for key, text in texts({name: table.get(name, {}) for name in ("learner", "task")}):
        is_hub_key = key in ("learner.model", "task.source") and text != ModelSource.model and not os.path.exists(text)
        is_hub_key = is_hub_key and not (key == "learner.model" and hub.is_path(text))  # a folder that is gone
        name = text.removeprefix(HUB)
        if (is_hub_key or text != name) and (repository := _HUB_ID.match(name)):
            kind, file = ("model", "config.json") if key == "learner.model" else ("dataset", "README.md")
            name, _, revision = name.partition("@")
            cached = try_to_load_from_cache(repository[0], file, repo_type=kind, revision=revision or None)
            found = Path(cached).parent.name if isinstance(cached, str) else revision
            names[key] = f"{name}@{found}" if found else name
    return names


def sha256(content: Path | bytes) -> str:
    """Return the SHA-256 sum of a file or of bytes, in hexadecimal."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finished_status(run: Path) -> dict[str, Any]:
    """Read `run.json` of the run; raise ConfigError unless the run is finished."""
    if not (run / "run.json").exists():
        raise ConfigError(f"{run} contains no run; give the folder of one")
    status: dict[str, Any] = read_json(run / "run.json")
    if status["status"] != "finished":
        raise ConfigError(f"the run in {run} is {status['status']}, not finished; resume it with --resume first")
    return status


def _ledger(run: Path, recipe: Recipe) -> Path:
    """Find the ledger file of the run; raise ConfigError if there is none."""
    path = ledger_of(run)
    if recipe.ledger.mode == "off" or path is None:
        raise ConfigError(f"{run} has no ledger, so the partners' replies are missing; train with ledger.mode = record")
    return path


def calls(run: Path) -> set[str]:
    """Return the ledger keys of the calls that `run` made."""
    return set((run / USED).read_text(encoding="utf-8").split()) if (run / USED).exists() else set()


class Packing:
    """Collects the files that a recipe names in the fields that are marked PATH or SCRIPT.

    `table` is the recipe's table with their paths replaced by names in the bundle; `files` maps names to paths.
    """

    def __init__(self, recipe: Recipe, table: dict[str, Any]) -> None:
        self.files: dict[str, Path] = {}
        phases = zip(recipe.phases, table["phase"], strict=True)
        self.table = {
            **table,
            "learner": self._packed(ModelSource, table.get("learner", {}), "learner"),
            "task": self._packed(type(recipe.task), table.get("task", {}), "task"),
            "phase": [self._phase(phase.method, raw, f"phase.{n}") for n, (phase, raw) in enumerate(phases, start=1)],
        }

    def _phase(self, method: Any, table: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Pack a phase's table. Paths of speakers stay: a replay never calls them, and the ledger keys contain them."""
        packed = self._packed(type(method), table, where)
        for role in role_fields(type(method)):
            if (partner := getattr(method, role)) is None:
                continue
            settings = without_secrets(table[role])
            has_speaker = hasattr(partner, "speaker")
            packed[role] = settings if has_speaker else self._packed(type(partner), settings, f"{where}.{role}")
        return packed

    def _packed(self, kind: type, table: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Replace the paths in `table`, the settings of a `kind`, by names in the bundle; `where` is its dotted key."""
        collect = dict.fromkeys(marked(kind, PATH), self._path)
        collect |= dict.fromkeys((*marked(kind, SCRIPT), "kind", "method", "by"), self._script)
        return {
            key: _each_text(collect[key], value, f"{where}.{key}") if key in collect else value
            for key, value in table.items()
        }

    def _path(self, text: str, where: str) -> str:
        """Collect the file or folder `text` and return its name in the bundle; return another value as it is."""
        path = Path(text)
        if not _is_packable(text, where):
            return text
        _check_base(path)
        return self._collected(path, path.rglob("*") if path.is_dir() else [path], where)

    def _script(self, text: str, where: str) -> str:
        """Collect the file of `path/to/file.py:function`, and the scripts beside it, which it may import."""
        if is_lost(text):
            raise ConfigError(f"{where} = {text!r} is a function in no file; train with one that is in a file")
        name, is_script, function = text.partition(".py:")
        path = Path(f"{name}.py")
        if not is_script or not os.path.isfile(path):
            return text
        return f"{self._collected(path, path.parent.glob('*.py'), where)}:{function}"

    def _collected(self, path: Path, files: Iterable[Path], where: str) -> str:
        """Add `files`, which lie in the folder of `path` or below it; return the name of `path` in the bundle."""
        inner = {file.relative_to(path.parent).as_posix(): file for file in files if file.is_file()}
        self.files |= {f"files/{where}/{name}": file for name, file in inner.items()}
        return f"{PACKED}{where}/{path.name}"


def _each_text(collect: Callable[[str, str], str], value: Any, where: str) -> Any:
    """Replace `value`, a text or a list of texts, by what `collect` returns; `where` is its dotted key."""
    if isinstance(value, list):
        return [_each_text(collect, item, f"{where}.{number}") for number, item in enumerate(value, start=1)]
    return collect(value, where) if isinstance(value, str) else value


def _is_packable(text: str, where: str) -> bool:
    """Tell whether `text`, the value of the key `where`, names a file or folder of this machine that can be packed.

    Raise ConfigError for a learner whose folder is gone.
    """
    if where == "learner.model" and text == ModelSource.model:
        return False
    exists = os.path.exists(text)
    if where == "learner.model" and not exists and (text.startswith((".", "/", "~")) or text.count("/") > 1):
        raise ConfigError(f"the learner's initial model {text} does not exist; run this where the run was trained")
    return exists and not Path.cwd().is_relative_to(Path(text).resolve())  # the working directory holds much else


def _check_base(folder: Path) -> None:
    """Raise ConfigError if `folder` holds adapters of a base model in another folder of this machine."""
    if (folder / "adapter_config.json").exists():
        base = str(read_json(folder / "adapter_config.json").get("base_model_name_or_path"))
        if os.path.exists(base):
            raise ConfigError(
                f"{folder} holds adapters of {base}; merge them with sparring export, and train from the result"
            )


def without_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a table, of a partner or a whole recipe, without values that may be secret, judged by their keys.

    URLs lose passwords and queries. Each text in `extra_body`, in headers, or under a key named like a key, token,
    secret or password becomes its digest, as on the ledger. A command stays: it is visible to every user of a machine.
    """
    return {key: _without_secret(key, setting) for key, setting in table.items()}


def _without_secret(key: str, setting: Any) -> Any:
    if key.endswith("url"):
        return _bare_url(setting)
    if key in ("extra_body", "headers", "extra_headers") or _SECRET.search(key):
        return redacted(setting)
    if isinstance(setting, list):
        return [without_secrets(item) if isinstance(item, Mapping) else item for item in setting]
    return without_secrets(setting) if isinstance(setting, Mapping) else setting


def _bare_url(url: Any) -> Any:
    """Remove user, password, query and fragment from a URL or a list of URLs."""
    if isinstance(url, list):
        return [_bare_url(one) for one in url]
    parts = urlsplit(str(url))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _check_secrets(recipe: Recipe, table: Mapping[str, Any], members: Mapping[str, Path | bytes]) -> None:
    """Raise ConfigError if a member contains an API key of the environment or a secret of the recipe.

    A server's reply may repeat one.
    """
    partners = [partner for phase in recipe.phases for partner in recordable_partners(phase.method).values()]
    variables = {variable for p in partners if (variable := getattr(p.speaker, "key_variable", None))}
    secrets = {f"the key in {variable}": os.environ.get(variable, "").strip() for variable in sorted(variables)}
    secrets |= {f"the value of {key}": text for key, text in texts(table) if _SECRET.search(key)}
    for what, secret in secrets.items():
        for name, content in members.items() if len(secret) >= _MIN_SECRET else ():
            if not name.startswith("files/") and secret.encode() in (
                content if isinstance(content, bytes) else content.read_bytes()
            ):
                raise ConfigError(f"{what} would appear in {name} of the bundle; remove it from the recipe")


def _check_requests(ledger: Path) -> None:
    """Raise ConfigError if a request on the ledger contains a possible secret in plain text."""
    with ledger.open(encoding="utf-8") as lines:
        for request in (json.loads(line)["request"] for line in lines):
            if without_secrets(request) != request:
                raise ConfigError(
                    f"an older version recorded calls of {request['model']!r} on the ledger with extra_body or a key "
                    "in plain text; train the run again to bundle it"
                )


def _modules(table: Mapping[str, Any]) -> set[str]:
    """Return the modules that the recipe imports by dotted name."""
    names = {text for key, text in texts(table) if key.rpartition(".")[2] in NAMING}
    return {text.rpartition(".")[0] for text in names if "." in text and ".py:" not in text}
