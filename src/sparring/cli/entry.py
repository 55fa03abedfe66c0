"""The program's entry point: Ctrl-C prints one line, even during imports.

The verbs' imports take seconds. A library that is interrupted while it loads may raise some other error instead of
KeyboardInterrupt. So this module asks the signals themselves, and then exits without running anything else.

Python drops a KeyboardInterrupt that comes inside a finaliser or a callback of a weak reference. Here it comes again.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

INTERRUPTED = 130
SECONDS_UNTIL_AGAIN = 0.05  # after a dropped KeyboardInterrupt; finalisers and callbacks take less


def main() -> None:
    """Run the program."""
    signals = None
    try:
        signals = _signal_sockets()
        sys.unraisablehook = _interrupt_again
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


def _signal_sockets() -> tuple[socket, socket]:
    """Return connected sockets; the first receives the number of each signal that this process gets.

    They are sockets because Windows offers no pipes that do not block.
    """
    import signal  # here, so that main() covers it
    from socket import socketpair

    receiving, sending = socketpair()
    receiving.setblocking(False)
    sending.setblocking(False)
    signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    return receiving, sending


def _got_sigint(signals: tuple[socket, socket] | None) -> bool:
    import signal  # here, so that main() covers it

    try:
        return signals is not None and signal.SIGINT in signals[0].recv(64)
    except OSError:  # no signal came
        return False


def _interrupt_again(dropped: sys.UnraisableHookArgs) -> None:
    """Interrupt the program again if `dropped` is a KeyboardInterrupt; otherwise do as Python does."""
    if dropped.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(dropped)
        return
    import threading

    again = threading.Timer(SECONDS_UNTIL_AGAIN, _interrupt_the_main_thread)
    again.daemon = True
    again.start()


def _interrupt_the_main_thread() -> None:
    import _thread
    import signal
    import threading

    if hasattr(signal, "pthread_kill"):  # it also ends a system call that waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()


def _exit_interrupted() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
