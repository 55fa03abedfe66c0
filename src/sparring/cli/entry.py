"""The program's entry point: Ctrl-C prints one line, even during imports.

The verbs' imports take seconds. A library that is interrupted while it loads may raise some other error instead of
KeyboardInterrupt. So this module asks the signals themselves, and then exits without running anything else.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the program."""
    signals = -1
    try:
        signals = _signal_pipe()
        from sparring.cli.main import main as program  # inside the try: Ctrl-C may come during this import

        program()
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        _exit_interrupted()
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) and not _got_sigint(signals):
            raise
        sys.stderr.write("interrupted\n")
        _exit_interrupted()


def _signal_pipe() -> int:
    """Return the read end of a pipe that receives the number of each signal this process gets."""
    import signal  # here, so that main() covers it

    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return read_end


def _got_sigint(signals: int) -> bool:
    import signal  # here, so that main() covers it

    try:
        return signal.SIGINT in os.read(signals, 64)
    except OSError:  # no signal came
        return False


def _exit_interrupted() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
