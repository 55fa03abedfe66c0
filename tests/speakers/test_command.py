"""A program as a speaker: its input, valid and invalid output, and that no process stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError, Unavailable
from sparring.config.factory import make_speaker
from sparring.core.attempts import Recordable, listening
from sparring.core.chat import SYSTEM, USER, Chat, question
from sparring.core.speaker import PARTNER, Sampling
from sparring.ledger import Ledger, Recorded, entries
from sparring.speakers import command
from sparring.speakers.command import Command

CHAT = Chat().say(SYSTEM, "Be brief.").say(USER, "Why?").say(PARTNER, "Because…").say(USER, "Häh?")
SAY = "import json, sys; told = json.load(sys.stdin); "


def program(code: str, *more: str, **settings) -> Command:
    return Command((sys.executable, "-S", "-c", code, *more), **settings)


def ask(speaker, chat=CHAT, sampling=Sampling(), sample=0):  # noqa: B008 (it is frozen)
    return asyncio.run(speaker.reply(chat, sampling, sample))


def fails(code: str, reason: str, **settings) -> None:
    with pytest.raises(Unavailable, match=reason) as caught:
        ask(program(code, **settings))
    assert len(str(caught.value).splitlines()) == 1


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc/self").exists() else True
    return False


def comes_true(condition) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_it_is_told_the_chat_by_roles_the_sample_and_the_sampling_and_its_text_is_the_reply():
    echo = program(SAY + "print(json.dumps({'text': json.dumps(told)}))")
    told = json.loads(ask(echo, sampling=Sampling(0.0, max_tokens=7, stop=("!",)), sample=3).text)
    assert told["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because…"},
        {"role": "user", "content": "Häh?"},
    ]
    assert {key: told[key] for key in ("sample", "temperature", "max_tokens", "stop")} == {
        "sample": 3,
        "temperature": 0.0,
        "max_tokens": 7,
        "stop": ["!"],
    }


def test_no_shell_reads_its_arguments():
    assert ask(program("import sys; print(sys.argv[1])", '{"text": "$HOME; `ls` *"}')).text == "$HOME; `ls` *"


def test_it_need_not_listen_and_a_long_chat_is_told_whole():
    long = question("x" * 3_000_000)
    assert ask(program('print(\'{"text": "deaf"}\')'), long).text == "deaf"
    count = program(SAY + "print(json.dumps({'text': str(len(told['messages'][0]['content']))}))")
    assert ask(count, long).text == "3000000"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "not JSON: the output is b''"),
        ("ready\n{}", "not JSON: the output is b'ready"),
        ("[" * 100_000, "not JSON"),
        ("\\xff", "not JSON"),
        ('{"text": 7}', 'wrong fields: .* not {"text": "…"}'),
        ('{"reply": "a"}', "wrong fields"),
        ('{"text": "a", "score": 1}', "wrong fields"),
        ('["a"]', "wrong fields"),
    ],
    ids=["nothing", "words", "nested", "bytes", "number", "another key", "a further key", "list"],
)
def test_any_other_output_is_no_reply(output, reason):
    fails(f"import sys; sys.stdout.buffer.write({output!r}.encode('latin-1').replace(b'\\\\xff', b'\\xff'))", reason)


def test_half_a_character_becomes_one_that_can_be_written():
    assert ask(program(r"""print('{"text": "a\\ud800b"}')""")).text == "a\N{REPLACEMENT CHARACTER}b"


def test_a_program_that_fails_is_no_reply_though_it_printed_one_and_its_last_words_are_told():
    fails("print('{\"text\": \"a\"}'); raise SystemExit('the database\\nis closed')",
          "failed: exit status 1: the database is closed$")  # fmt: skip
    fails("import os; os.abort()", "failed: killed by signal 6")
    with pytest.raises(Unavailable) as caught:
        ask(program("import sys; sys.stderr.write('x' * 10**6 + 'the end'); sys.exit(2)"))
    assert len(str(caught.value)) < 700
    assert str(caught.value).endswith("the end")


def test_an_output_without_end_is_cut_short():
    start = time.monotonic()
    fails("while True: print('x' * 10_000)", "too large: an output of more than 1 MB", timeout=30)
    assert time.monotonic() - start < 20


PARENT = (
    "import pathlib, subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']); "
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); "
)


def child(path: Path) -> int:
    assert comes_true(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def test_one_that_is_late_is_killed_with_its_children(tmp_path):
    late = program(PARENT + "sys.stderr.write('thinking'); sys.stderr.flush(); time.sleep(600)", str(tmp_path / "pid"),
                   timeout=2.0)  # fmt: skip
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"timed out: no reply within 2 s: thinking$"):
        ask(late)
    assert time.monotonic() - start < 10
    assert comes_true(lambda: not alive(child(tmp_path / "pid")))


def test_one_that_is_no_longer_wanted_is_killed_with_its_children(tmp_path):
    async def give_up():
        task = asyncio.create_task(program(PARENT + "time.sleep(600)", str(tmp_path / "pid")).reply(CHAT, Sampling()))
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    assert asyncio.run(give_up())
    assert comes_true(lambda: not alive(child(tmp_path / "pid")))


def test_a_child_that_is_left_running_holds_no_reply_up_and_is_killed(tmp_path):
    start = time.monotonic()
    assert ask(program(PARENT + 'print(\'{"text": "done"}\')', str(tmp_path / "pid"))).text == "done"
    assert time.monotonic() - start < 10
    assert comes_true(lambda: not alive(child(tmp_path / "pid")))


def test_no_more_of_them_run_at_once_than_allowed_and_in_any_loop(tmp_path):
    code = (
        "import os, pathlib, sys, time; here = pathlib.Path(sys.argv[1]); mine = here / str(os.getpid()); "
        'mine.touch(); n = len(list(here.iterdir())); time.sleep(0.1); mine.unlink(); print(\'{"text": "%d"}\' % n)'
    )
    speaker = program(code, str(tmp_path), at_once=2)

    async def all_():
        replies = await asyncio.gather(*(speaker.reply(CHAT, Sampling(), n) for n in range(6)))
        return max(int(reply.text) for reply in replies)

    assert asyncio.run(all_()) == 2
    assert asyncio.run(all_()) == 2


def test_what_cannot_be_run_is_said_before_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"command = \['no-such-program'\]: .* on the PATH"):
        Command(("no-such-program",)).ready()
    with pytest.raises(ConfigError, match=r"in the critic: command = 'pytest'"):
        make_speaker("command", {"command": "pytest"}, "the critic")
    with pytest.raises(ConfigError, match="give a program and its arguments"):
        Command(())
    gone = tmp_path / "critic"
    gone.write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="is not an executable program"):
        Command((str(gone),)).ready()
    gone.chmod(0o755)
    speaker = Command((str(gone),))
    gone.unlink()
    with pytest.raises(ConfigError, match=r"cannot run .*: No such file or directory; correct the command"):
        ask(speaker)


def test_a_file_that_no_machine_runs_is_no_reply(tmp_path):
    file = tmp_path / "critic"
    file.write_text("print('no shebang')")
    file.chmod(0o755)
    with pytest.raises(Unavailable, match="not started: Exec format error"):
        ask(Command((str(file),)))


def test_its_calls_are_admitted_counted_and_paid_once(tmp_path):
    speaker = program(SAY + "print(json.dumps({'text': told['messages'][-1]['content']}))")
    assert isinstance(speaker, Recordable)
    heard = []

    class Sink:
        async def admit(self, most):
            heard.append("admitted")

        def record(self, attempt):
            heard.append(attempt.outcome)

    with listening(Sink()):
        ask(speaker)
        with pytest.raises(Unavailable):
            ask(program("raise SystemExit(1)"))
    assert heard == ["admitted", "replied", "admitted", "failed"]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for _ in range(2):
            assert ask(Recorded(speaker, ledger, "critic")).text == "Häh?"
    (entry,) = entries(tmp_path / "ledger.sqlite")
    assert (entry["role"], entry["outcome"]) == ("critic", "replied")
    assert entry["model"].startswith(sys.executable)


def test_without_process_groups_the_program_itself_is_killed_at_its_timeout(monkeypatch):
    monkeypatch.setattr(command, "_IS_WINDOWS", True)
    monkeypatch.delattr(os, "killpg")
    start = time.monotonic()
    fails("import time; time.sleep(60)", "no reply within 0.5 s", timeout=0.5)
    assert time.monotonic() - start < 30
