"""The process that compares mathematical answers: a line of JSON `[gold, response]` in, `true` or `false` out.

It has no time limit of its own: `math_answers` kills it.
"""

from __future__ import annotations

import json
import logging
import sys


def main() -> None:
    """Answer lines until the input ends."""
    from math_verify import parse, verify  # noqa: PLC0415 (an extra, and slow to import)

    logging.disable()
    replies = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no reply
    for line in sys.stdin:
        gold, response = json.loads(line)
        is_marked = any(mark in gold for mark in ("$", "\\boxed", "\\(", "\\["))
        try:
            truth = parse(gold if is_marked else f"${gold}$", parsing_timeout=None)
            is_equal = bool(truth) and verify(truth, parse(response, parsing_timeout=None), timeout_seconds=None)
        except Exception:  # SymPy raises anything on what is no mathematics
            is_equal = False
        replies.write("true\n" if is_equal else "false\n")
        replies.flush()


if __name__ == "__main__":
    main()
