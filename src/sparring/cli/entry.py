"""The program's entry point: an interruption is one line, from the first import on.

Imports of what the verbs need take seconds. A library that an interruption meets there may make an error of its own of
it, so whether there was one is asked of the signal itself, and nothing is run any more that could be interrupted again.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Runs the program."""
    signals = -1
    try:
        signals = _signals()
        from sparring.cli.main import main as program  # an interruption of this import is one line, too

        program()
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        _end()
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) and not _interrupted(signals):
            raise
        sys.stderr.write("interrupted\n")
        _end()


def _signals() -> int:
    """A pipe's end from which the numbers of the signals that this process gets can be read."""
    import signal  # as above

    out, into = os.pipe()
    os.set_blocking(out, False)
    os.set_blocking(into, False)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    return out


def _interrupted(signals: int) -> bool:
    import signal  # as above

    try:
        return signal.SIGINT in os.read(signals, 64)
    except OSError:  # there were none
        return False


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
