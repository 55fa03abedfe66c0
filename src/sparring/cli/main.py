"""The program: its verbs, and one line on standard error with exit code 2 for a user's mistake.

Each verb is a module of this package. Slow imports stand inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from sparring.cli import bundle, demo, estimate, evaluate, ledger, merge, replay, talk, train, write
from sparring.cli import list as list_
from sparring.cli.entry import INTERRUPTED
from sparring.cli.shared import say
from sparring.common.errors import SparringError
from sparring.common.terminal import visible

# Misuse of the command line, in whichever click typer brings along.
ClickException: type[Exception] = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")

MAX_ERROR_CHARACTERS = 2000  # characters of an error, which may repeat a value of any length

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
    talk.talk,
    estimate.estimate,
    ledger.ledger,
    write.write,
    merge.merge,
    bundle.bundle,
    replay.replay,
):
    app.command()(verb)
app.command("list")(list_.list_names)


def main() -> None:
    """Entry point: runs a verb, and turns what went wrong on purpose into one line."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # theirs to heed, not our users'
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code or 0)
    except SparringError as error:
        _refuse(str(error))
    except ClickException as error:  # a verb, option or value that there is not
        told = getattr(error, "format_message", lambda: "")()
        if told:
            _refuse(f"{told} (see sparring --help)")
    except OSError as error:  # a folder, a file or a disk that does not do what is asked of it
        where = f" (got {str(error.filename)!r})" if error.filename else ""
        _refuse(f"{error.strerror or error}{where}; choose another path, or make room there")
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted; a run goes on with --resume", err=True)
        sys.exit(INTERRUPTED)


def _refuse(message: str) -> NoReturn:
    line = visible(" ".join(message.split()))
    typer.echo(f"error: {line if len(line) <= MAX_ERROR_CHARACTERS else line[:MAX_ERROR_CHARACTERS] + '…'}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
