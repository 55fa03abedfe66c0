"""A person at a real terminal: editing, pasting, leaving by key and by signal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

TWO_ROLES = """
import asyncio, fcntl, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal is the program's own: Ctrl-C interrupts it
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.speakers.human import Human, Session

async def main():
    beats = 0
    async def beat():
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)
    pulse = asyncio.create_task(beat())
    critic, editor = Human("Ada"), Human("Ada")
    asked = critic.reply(question("What is wröng?"), Sampling()), editor.reply(question("Mend it."), Sampling())
    replies = await asyncio.gather(*asked, return_exceptions=True)
    print("GOT", [getattr(reply, "text", repr(reply)) for reply in replies], beats > 20)

before = signal.getsignal(signal.SIGINT)
asyncio.run(main())
assert signal.getsignal(signal.SIGINT) is before
"""


class Typist:
    """A person at a real terminal in which a program runs; the program's standard output is a pipe."""

    def __init__(self, code: str) -> None:
        self._end, inner = pty.openpty()
        self.program = subprocess.Popen(
            [sys.executable, "-c", code], stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env=os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
        )  # fmt: skip
        os.close(inner)
        self.seen = ""

    def waits_for(self, text: str) -> None:
        until = time.monotonic() + 30
        while text not in self.seen:
            assert select.select([self._end], [], [], until - time.monotonic())[0], self.seen
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", os.read(self._end, 65536).decode())
        self.seen = self.seen.split(text, 1)[1]

    def types(self, text: str) -> None:
        os.write(self._end, text.encode())

    def out(self) -> tuple[str, str]:
        try:
            return self.program.communicate(timeout=30)
        finally:
            os.close(self._end)


def test_at_a_real_terminal_two_roles_are_one_person_and_the_loop_goes_on():
    typist = Typist(TWO_ROLES)
    typist.waits_for("What is wröng?")
    typist.waits_for(">")
    typist.types("this and that\n")
    typist.waits_for(">")
    typist.types("\n")
    typist.waits_for("Mend it.")
    typist.waits_for(">")
    typist.types(":back\n")
    typist.waits_for("(your reply so far")
    typist.waits_for(">")
    typist.types("nöthing\n\n")
    typist.waits_for("Mend it.")
    typist.waits_for(">")
    time.sleep(0.3)
    typist.types("as I\x04 said\n")  # the end of the input within a line is none
    typist.waits_for(">")
    typist.types("\x04")
    typist.waits_for("Enter sends")
    typist.waits_for(">")
    typist.types("\n")
    out, err = typist.out()
    assert out == "GOT ['nöthing', 'as I said'] True\n", err


def test_what_is_pasted_beyond_an_empty_line_is_no_reply_to_the_next_question():
    typist = Typist(TWO_ROLES)
    typist.waits_for(">")
    typist.types("first\n\nrest of the paste\n\n\n")
    typist.waits_for("Mend it.")
    typist.waits_for(">")
    typist.types(":leave\n")
    out, err = typist.out()
    assert "GOT ['first', \"RunStopped(" in out, err


def test_an_interrupt_is_leaving_too_and_nothing_waits_for_the_person():
    typist = Typist(TWO_ROLES)
    typist.waits_for(">")
    typist.types("held\n\n")
    typist.waits_for("Mend it.")
    typist.waits_for(">")
    typist.types("\x03")
    out, err = typist.out()
    assert "GOT ['held', \"RunStopped(" in out, err


def test_a_signal_from_outside_is_leaving_too():
    typist = Typist(TWO_ROLES)
    typist.waits_for(">")
    typist.types("held\n\n")
    typist.waits_for("Mend it.")
    typist.waits_for(">")
    typist.program.send_signal(signal.SIGINT)
    out, err = typist.out()
    assert "GOT ['held', \"RunStopped(" in out, err


def test_a_line_can_be_edited_and_a_paste_of_several_lines_is_one_reply():
    typist = Typist(TWO_ROLES)
    typist.waits_for(">")
    typist.types("wröng\x1b[D\x1b[D\x7fo\n\n")  # two to the left, the ö becomes an o
    typist.waits_for("Mend it.")
    typist.waits_for(">")
    typist.types("\x1b[200~one\n\ntwo\x1b[201~\n")
    typist.waits_for(">")
    typist.types("\n")
    typist.waits_for("Enter sends")
    typist.waits_for(">")
    typist.types("\n")
    out, err = typist.out()
    assert out.startswith("GOT ['wrong', 'one\\n\\ntwo']"), err
