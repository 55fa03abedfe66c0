"""Whether two mathematical answers are equal, written in LaTeX or not: the rule `math`, by math-verify (an extra).

math-verify limits its time by signals, which only the main thread may set, and SymPy can compute for hours. So a
process of our own compares (`math_worker`); one that takes too long is killed, and its answer counts as wrong.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from threading import Lock, Timer

from sparring.parsing.answers import MATCHED, exact
from sparring.parsing.statements import without_thought

LIMIT = 5.0  # seconds for one comparison (ours; math-verify's own default)
START_LIMIT = 60.0  # seconds for the process to import SymPy


def equal_in_math(gold: str, response: str) -> bool:
    """Return whether the answer that `response` ends in equals `gold` mathematically."""
    text = without_thought(response).strip()
    return bool(text) and (exact(gold, response) or _worker.compare(gold, text[-MATCHED:]))


class _Worker:
    """A process that compares answers, one at a time; it is started when needed, and again after a kill."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None

    def compare(self, gold: str, response: str) -> bool:
        """Return whether they are equal; False if that takes longer than LIMIT."""
        with self._lock:
            is_new = self._process is None
            if is_new:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "sparring.parsing.math_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    encoding="utf-8",
                )
            return self._ask(json.dumps([gold, response]), START_LIMIT if is_new else LIMIT)

    def _ask(self, line: str, seconds: float) -> bool:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = Timer(seconds, process.kill)
        alarm.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except (BrokenPipeError, UnicodeError):
            reply = ""
        finally:
            alarm.cancel()
        if not reply:  # it was killed
            self.stop()
        return reply == "true\n"

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_worker = _Worker()
atexit.register(_worker.stop)
