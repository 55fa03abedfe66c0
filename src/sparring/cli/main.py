"""The program and its verbs. A user's mistake prints one line to standard error and exits with code 2.

Each verb is a module of this package. The verbs import slow modules inside their functions, so `--help` is quick.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from sparring.cli import (
    bundle,
    compare,
    demo,
    estimate,
    evaluate,
    exam,
    export,
    ledger,
    replay,
    schema,
    talk,
    train,
    write,
)
from sparring.cli import list as list_
from sparring.cli.entry import INTERRUPTED, INTERRUPTED_LINE
from sparring.cli.shared import say
from sparring.common.aliases import option_advice
from sparring.common.errors import SparringError
from sparring.common.terminal import visible

# The error for wrong arguments, from whichever copy of click typer uses.
ClickException: type[Exception] = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")

MAX_ERROR_CHARACTERS = 2000  # an error may quote a value of any length

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"sparring {version('sparring')}")
        raise typer.Exit


@app.callback()
def options(
    show: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Trains language models by letting them interact with a partner."""


for verb in (
    demo.demo,
    train.train,
    evaluate.evaluate,
    compare.compare,
    talk.talk,
    estimate.estimate,
    exam.exam,
    ledger.ledger,
    write.write,
    export.export,
    bundle.bundle,
    replay.replay,
    schema.schema,
):
    app.command()(verb)
app.command("list")(list_.list_names)


def main() -> None:
    """Run a verb; print an expected error as one line and exit with code 2."""
    sys.path.append(os.getcwd())  # a recipe may name what lies there, as with python -m
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # not for our users
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # bytes that are no text, or characters that the encoding lacks
            stream.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code or 0)
    except SparringError as error:
        _refuse(str(error))
    except ClickException as error:  # unknown verb, option or value
        message = getattr(error, "format_message", lambda: "")()
        option = getattr(error, "option_name", "")
        verb = getattr(getattr(error, "ctx", None), "info_name", None) or ""
        if (lead := option_advice(option, verb)) is not None:
            _refuse(f"unknown option {option!r}; {lead}")
        if message:
            _refuse(f"{message.replace('Value error, ', '')} (see sparring --help)")
    except OSError as error:  # from the file system: permissions, names, a full disk
        where = f" (got {str(error.filename)!r})" if error.filename else ""
        _refuse(f"{error.strerror or error}{where}; choose another path, or free space")
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(INTERRUPTED_LINE, err=True)
        sys.exit(INTERRUPTED)


def _refuse(message: str) -> NoReturn:
    """Print `message` as one line and exit with code 2."""
    line = visible(" ".join(message.split()))
    typer.echo(f"error: {line if len(line) <= MAX_ERROR_CHARACTERS else line[:MAX_ERROR_CHARACTERS] + '…'}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
