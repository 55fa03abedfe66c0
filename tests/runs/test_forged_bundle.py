"""Bundles that were made to do harm: nothing of theirs runs, fills the disk or leaves its folder; each is one line."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import sys
import tarfile
from pathlib import Path

import pytest
import tomlkit

import sparring
from sparring.cli.main import main
from sparring.common.errors import ConfigError, RunStopped
from sparring.config.recipe import Recipe
from sparring.ledger import NotRecorded
from sparring.runs import archive, external_code
from sparring.runs.bundle import bundle, sha256
from sparring.runs.replay import replay, unpack
from sparring.runs.run import train
from tests.runs.test_bundle import members, repacked
from tests.runs.test_paid_run import QUIET

RAN = "ran-by-the-bundle"
SCRIPT = """import os, pathlib
pathlib.Path(os.environ["RAN"]).write_text("x")
def right(response, problem):
    return False
"""


@pytest.fixture(autouse=True)
def ran(tmp_path, monkeypatch) -> Path:
    """The file that the script of a bundle would write."""
    monkeypatch.setenv("RAN", str(tmp_path / RAN))
    return tmp_path / RAN


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, bytes]:
    """What is in the bundle of a run that brings no code and asks nobody."""
    folder = tmp_path_factory.mktemp("plain")
    table = {
        "task": {"kind": "multistep_arithmetic", "train": 8, "development": 2, "test": 2},
        "phase": [{"method": "sft", "max_tokens": 8}],
        "run": {"threads": 1, "evaluate_problems": 0, "test_problems": 0},
    }
    train(Recipe.read(table), folder / "run", display=QUIET)
    bundle(folder / "run", folder / "run.tar.gz")
    return members(folder / "run.tar.gz")


def forged(contents: dict[str, bytes], path: Path, changes: dict | None = None, **files: bytes | str) -> Path:
    """A bundle with other tables in its recipe, with more files, and a manifest that says there is no code in it."""
    manifest = json.loads(contents["manifest.json"])
    contents = {**contents, **{name: c.encode() if isinstance(c, str) else c for name, c in files.items()}}
    if changes:
        table = tomlkit.parse(contents["recipe.toml"].decode()).unwrap()
        contents["recipe.toml"] = tomlkit.dumps({**table, **changes}).encode()
    manifest |= {"files": {name: sha256(c) for name, c in contents.items() if name != "manifest.json"}, "code": []}
    return repacked({**contents, "manifest.json": json.dumps(manifest).encode()}, path)


def refusal(path: Path, run: Path, **how) -> str:
    """The line by which a replay of the bundle at `path` is refused."""
    before = set(sys.modules)
    with pytest.raises((ConfigError, RunStopped)) as caught:
        replay(path, run, display=QUIET, **how)
    assert "\n" not in str(caught.value)
    assert not run.exists()
    assert not [name for name in set(sys.modules) - before if "evil" in name]
    return str(caught.value)


def judging(right: str) -> dict:
    """The recipe's task as a table that judges by `right`."""
    sizes = {"development_size": 2, "test_size": 2}
    return {"task": {"kind": "table", "train": "bundle:task.train/rows.jsonl", "right": right, **sizes}}


def discussed(**discussant) -> dict:
    """The recipe's phase as a discussion with this partner."""
    return {"phase": [{"method": "saie", "problems": 4, "max_tokens": 300, "discussant": discussant}]}


ROWS = "".join(json.dumps({"prompt": f"{n}+1=", "answer": str(n + 1)}) + "\n" for n in range(40))
TRAIN = {"files/task.train/rows.jsonl": ROWS}


@pytest.mark.parametrize(
    ("changes", "files", "named"),
    [
        (judging("bundle:task.right/evil.py:right"), {"files/task.right/evil.py": SCRIPT}, "files/task.right/evil.py"),
        (judging("bundle:task.right/evil.py:right"), {}, "task.right = 'bundle:task.right/evil.py:right'"),
        (judging("evil.py:right"), {}, "task.right = 'evil.py:right'"),
        (judging("evil.module.right"), {}, "task.right = 'evil.module.right'"),
        (judging("os.system"), {}, "task.right = 'os.system'"),
        ({"task": {"kind": "evil.module.Task"}}, {}, "task.kind = 'evil.module.Task'"),
        ({"phase": [{"method": "evil.module.Method"}]}, {}, "phase.1.method = 'evil.module.Method'"),
        (discussed(by="evil.module.Partner"), {}, "phase.1.discussant.by = 'evil.module.Partner'"),
        ({"task": {"kind": "evil.py:task"}}, {}, "task.kind = 'evil.py:task'"),
        (discussed(by="evil.py:remark"), {}, "phase.1.discussant.by = 'evil.py:remark'"),
        (
            discussed(by="function", function="evil.py:remark"), {},
            "phase.1.discussant.function = 'evil.py:remark'",
        ),
        (
            discussed(by="function_discussant", function="evil.module.remark"), {},
            "phase.1.discussant.function = 'evil.module.remark'",
        ),
        (
            discussed(by="model_discussant", speaker={"by": "evil.module.Speaker"}), {},
            "phase.1.discussant.speaker.by = 'evil.module.Speaker'",
        ),
        (discussed(by="reward", trust_remote_code=True), {}, "phase.1.discussant.trust_remote_code = True"),
        ({}, {"files/learner.model/m/modeling.py": SCRIPT}, "files/learner.model/m/modeling.py"),
        ({}, {"files/learner.model/m/evil.so": b"\x7fELF"}, "files/learner.model/m/evil.so"),
        ({}, {"files/learner.model/m/pytorch_model.bin": b"x"}, "pytorch_model.bin"),
        ({}, {"files/learner.model/m/adapter_model.PT": b"x"}, "adapter_model.PT"),
        (
            {}, {"files/learner.model/m/config.json": json.dumps({"auto_map": {"AutoModelForCausalLM": "evil--m.M"}})},
            "config.json: auto_map.AutoModelForCausalLM = 'evil--m.M'",
        ),
        (
            {}, {"files/learner.model/m/tokenizer_config.json": json.dumps({"a": {"auto_map": ["x.Y", None]}})},
            "tokenizer_config.json: a.auto_map.1 = 'x.Y'",
        ),
        (
            {}, {"files/learner.model/m/config.json": json.dumps({"_attn_implementation": "evil/kernels"})},
            "config.json: _attn_implementation = 'evil/kernels'",
        ),
    ],
)  # fmt: skip
def test_code_is_found_in_the_recipe_and_the_files_whatever_the_manifest_says(plain, tmp_path, changes, files, named):
    """The same bundle by hands that lie: `code = []` in its manifest, all sums right."""
    path = forged(plain, tmp_path / "b.tar.gz", changes, **{**TRAIN, **files})
    message = refusal(path, tmp_path / "run")
    assert "contains code that its replay would run" in message
    assert named in message
    assert message.endswith("read it, then add --trust")
    assert not (tmp_path / RAN).exists()


def test_with_leave_it_runs(plain, tmp_path, ran):
    """So the test above is known to try what would run."""
    files = {**TRAIN, "files/task.right/evil.py": SCRIPT}
    path = forged(plain, tmp_path / "b.tar.gz", judging("bundle:task.right/evil.py:right"), **files)
    replay(path, tmp_path / "run", trust=True, display=QUIET)
    assert ran.exists()


def test_a_bundle_without_code_needs_no_leave(plain, tmp_path):
    done = replay(forged(plain, tmp_path / "b.tar.gz"), tmp_path / "run", display=QUIET)
    assert done.same


@pytest.mark.parametrize("episodes", [False, True])
def test_a_partners_program_is_never_started_by_a_replay(plain, tmp_path, ran, episodes):
    """Even where the bundle has no reply of it."""
    changes = discussed(by="command", command=[sys.executable, "-c", f"open({str(ran)!r}, 'w')"])
    changes["run"] = {"threads": 1, "max_learner_failures": 1.0, "max_partner_failures": 1.0}
    path = forged(plain, tmp_path / "b.tar.gz", changes, **{"ledger.jsonl": ""})
    with pytest.raises(NotRecorded):
        replay(path, tmp_path / "run", episodes=episodes, display=QUIET)
    assert not ran.exists()


def test_every_place_that_imports_by_a_name_is_known_to_the_search_for_code():
    """A new one has to be added to `external_code`."""
    package = Path(sparring.__file__).parent
    sources = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*.py")}
    named = re.compile(r"import_module\((?!\")|spec_from_file|__import__")  # a module in quotes is no bundle's choice
    imports = {name for name, text in sources.items() if named.search(text)}
    assert imports == {"__init__.py", "common/functions.py", "common/registry.py"}
    load = re.compile(r"(?:Function\.load|load_function)\((?:self\.)?(\w+)")
    loading = {name: load.findall(text) for name, text in sources.items()}
    given = ("core/decorators.py", "core/function_task.py")  # functions that are there already
    assert {name: keys for name, keys in loading.items() if keys and name not in given} == {
        "common/functions.py": ["name"],
        "common/registry.py": ["path"],
        "config/factory.py": ["path"],
        "core/user_function.py": ["name"],
        "core/right_function.py": ["name"],
        "core/function_partner.py": ["function"],
        "tasks/table.py": ["right"],
    }
    assert {keys for name in given for keys in loading[name]} == {"GivenFunction"}
    assert set(external_code.NAMING) == {"kind", "method", "by", "right", "function"}


# ── what comes out of one ───────────────────────────────────────────────────────────────────────────────────


def tarred(path: Path, *pairs: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for member, content in pairs:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str, **fields) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["metrics.jsonl", "files/task.train/rows.jsonl", "manifest.json", "recipe.toml"])
def test_a_small_file_never_fills_the_disk(plain, tmp_path, name, monkeypatch):
    most = 0

    def watched(path):
        nonlocal most
        most = max(most, on_disk(tmp_path))
        return writing(path)

    writing = archive.writing
    monkeypatch.setattr(archive, "writing", watched)
    path = repacked({**plain, name: bytes(300 * 2**20)}, tmp_path / "b.tar.gz")
    assert path.stat().st_size < 2**20
    message = refusal(path, tmp_path / "run")
    assert "too many for its size" in message or "bytes; 4,194,304 are allowed" in message
    assert most <= archive.largest(path.stat().st_size) + path.stat().st_size


def test_many_small_files_never_fill_the_disk_either(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MEMBERS", 50)
    path = repacked({**plain, **{f"files/{n}": b"" for n in range(60)}}, tmp_path / "b.tar.gz")
    assert "more than 50 files" in refusal(path, tmp_path / "run")


def test_what_is_read_is_counted_whatever_a_header_says(tmp_path):
    """A header that is longer than all that it describes, and one of a gigabyte that is not there."""
    path = tarred(tmp_path / "b.tar.gz", (member("a", pax_headers={"comment": "x" * 100 * 2**20}), b"x"))
    assert path.stat().st_size < 2**20
    assert "too many for its size" in refusal(path, tmp_path / "run")
    header = member("a", size=2**40)
    with gzip.open(tmp_path / "c.tar.gz", "wb") as file:
        file.write(header.tobuf() + bytes(1024))
    assert "not a readable bundle" in refusal(tmp_path / "c.tar.gz", tmp_path / "run")


@pytest.mark.parametrize(
    "name",
    ["../escaped", "/escaped", "a/../../escaped", "./a", "a//b", "a/", "..", "a\\b", "a\nb", "\x1b[2J", "x" * 1001],
)
def test_a_name_that_leads_elsewhere_or_is_none_is_refused(plain, tmp_path, name):
    path = tarred(tmp_path / "b.tar.gz", (member("manifest.json"), b"{}"), (member(name), b"here"))
    message = refusal(path, tmp_path / "deep" / "run")
    assert "a forbidden file name" in message
    assert message.isprintable()
    assert not [file for file in tmp_path.rglob("*escaped*") if file.is_file()]
    assert not Path("/escaped").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/hostname"},
        {"type": tarfile.LNKTYPE, "linkname": "manifest.json"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE},
        {"type": tarfile.CONTTYPE},
        {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}},
        {"pax_headers": {"GNU.sparse.map": f"0,1,{2**40},1", "GNU.sparse.size": str(2**40)}},
    ],
)
def test_what_is_no_plain_file_is_in_no_bundle(tmp_path, fields):
    path = tarred(tmp_path / "b.tar.gz", (member("manifest.json"), b"{}"), (member("odd", **fields), b"0\n" * 256))
    message = refusal(path, tmp_path / "run")
    assert "not a plain file" in message or "not a readable bundle" in message


def test_a_file_that_stands_twice_is_refused(plain, tmp_path):
    twice = [(member("recipe.toml"), plain["recipe.toml"]), (member("recipe.toml"), b"other")]
    assert "contains 'recipe.toml' twice" in refusal(tarred(tmp_path / "b.tar.gz", *twice), tmp_path / "run")


def test_a_file_below_a_file_is_refused(plain, tmp_path):
    path = tarred(tmp_path / "b.tar.gz", (member("a"), b"x"), (member("a/b"), b"x"))
    refusal(path, tmp_path / "run")


# ── what it says ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": 2, "anything": []}, "is a bundle of format '2', but this version reads format 1"),
        ({"format": "x" * 99}, "is a bundle of format"),
        ({"format": 1}, "its manifest: Field required at run"),
        ([], "its manifest: "),
        ({"run": "x", "files": [], "weights": {}, "circumstances": {}}, "its manifest: "),
        ({"run": "x", "files": {}, "weights": {}, "circumstances": {"threads": [1]}}, "its manifest: "),
    ],
)
def test_a_manifest_of_another_kind_is_one_line(plain, tmp_path, manifest, message):
    path = repacked({**plain, "manifest.json": json.dumps(manifest).encode()}, tmp_path / "b.tar.gz")
    assert message in refusal(path, tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"nonsense"])
@pytest.mark.parametrize("name", ["manifest.json", "recipe.toml", "ledger.jsonl", "metrics.jsonl"])
def test_nonsense_in_any_file_is_one_line(plain, tmp_path, name, content):
    if (name, content) in (("ledger.jsonl", b""), ("metrics.jsonl", b""), ("metrics.jsonl", b"{")):
        return  # no line is no mistake
    if name == "metrics.jsonl":
        content += b"\n"
    if name == "manifest.json":
        path = repacked({**plain, name: content}, tmp_path / "b.tar.gz")
    else:
        path = forged(plain, tmp_path / "b.tar.gz", **{name: content})
    refusal(path, tmp_path / "run")


@pytest.mark.parametrize(
    "entry",
    [
        {}, {"reply": 5}, {"reply": None}, {"reply": None, "request": {}, "key": "xyz"}, [], 7,
        {"reply": {"parts": [{"text": 1}]}, "request": {}, "key": "00"},
    ],
)  # fmt: skip
def test_a_call_that_is_none_is_one_line(plain, tmp_path, entry):
    refusal(forged(plain, tmp_path / "b.tar.gz", **{"ledger.jsonl": json.dumps(entry) + "\n"}), tmp_path / "run")


@pytest.mark.parametrize("threads", [0, -1, "4", 2.5])
def test_threads_that_are_none_are_one_line(plain, tmp_path, threads):
    manifest = json.loads(plain["manifest.json"])
    manifest["circumstances"]["threads"] = threads
    refusal(
        repacked({**plain, "manifest.json": json.dumps(manifest).encode()}, tmp_path / "b.tar.gz"), tmp_path / "run"
    )


def complaint(content: bytes, folder: Path) -> str:
    """What unpacking a bundle of this `content` is refused with, nothing if it is not."""
    path = folder.with_suffix(".tar.gz")
    path.write_bytes(content)
    try:
        unpack(path, folder)
    except (ConfigError, RunStopped) as error:
        return str(error)
    return ""


def test_a_bundle_with_any_byte_changed_is_one_line_or_the_same(plain, tmp_path):
    whole, rng = forged(plain, tmp_path / "b.tar.gz").read_bytes(), random.Random(0)
    raw, refused = gzip.decompress(whole), 0
    for n in range(200):
        changed = bytearray(whole)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        cut = rng.randrange(len(changed)) if n % 4 == 0 else len(changed)
        inside = bytearray(raw)
        for _ in range(3):
            inside[512 * rng.randrange(len(raw) // 512) + rng.randrange(512)] = rng.randrange(256)
        for name, content in (("out", bytes(changed[:cut])), ("in", gzip.compress(bytes(inside), 1))):
            message = complaint(content, tmp_path / f"{name}{n}")
            assert "\n" not in message
            refused += bool(message)
    assert refused > 300


def test_it_ends_with_exit_code_2_and_one_line(plain, tmp_path, capsys, monkeypatch):
    path = forged(plain, tmp_path / "b.tar.gz", judging("evil.py:right"), **TRAIN)
    monkeypatch.setattr(sys, "argv", ["sparring", "replay", str(path), "--run", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
