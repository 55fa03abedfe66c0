"""The program's entry point: Ctrl-C prints one line and stops the program, wherever it comes.

- The verbs' imports take seconds, and torch drops a KeyboardInterrupt or aborts. So Ctrl-C ends the program at once
  while it is `loading`: there is nothing to save yet.
- A library that is imported later may raise some other error instead of KeyboardInterrupt. So the signals themselves
  are asked.
- Python drops a KeyboardInterrupt that comes inside a finaliser or a callback of a weak reference. So it comes again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

INTERRUPTED = 130
INTERRUPTED_LINE = "interrupted; to continue a run, add --resume"
SECONDS_UNTIL_AGAIN = 0.05  # after a dropped KeyboardInterrupt; finalisers and callbacks take less


def main() -> None:
    """Run the program."""
    signals = None
    try:
        signals = _signal_sockets()
        sys.unraisablehook = _interrupt_again
        with loading():
            from sparring.cli.main import main as program
        program()
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        _exit_interrupted()
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) and not _got_sigint(signals):
            raise
        sys.stderr.write(f"{INTERRUPTED_LINE}\n")
        _exit_interrupted()


@contextmanager
def loading() -> Iterator[None]:
    """Surround slow imports: Ctrl-C ends the program at once, without an exception that a library could drop."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, or handled by somebody else
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: _exit_while_loading())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_while_loading() -> None:
    os.write(2, f"{INTERRUPTED_LINE}\n".encode())  # not sys.stderr: it may be in the middle of a line
    os._exit(INTERRUPTED)


def _signal_sockets() -> tuple[socket, socket]:
    """Return connected sockets; the first receives the number of each signal that this process gets.

    They are sockets because Windows offers no pipes that do not block.
    """
    from socket import socketpair  # here, so that main() covers it

    receiving, sending = socketpair()
    receiving.setblocking(False)
    sending.setblocking(False)
    signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    return receiving, sending


def _got_sigint(signals: tuple[socket, socket] | None) -> bool:
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
