"""The verbs. What a user mistook is one line on standard error and exit code 2.

Imports of what is slow to start stand inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from sparring.common.errors import SparringError
from sparring.common.terminal import visible

# Misuse of the command line, in whichever click typer brings along.
ClickException: type[Exception] = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")

INTERRUPTED = 130
LONGEST = 2000  # characters of an error, which may repeat a value of any length

app = typer.Typer(
    help="Trains language models by letting them interact with a partner.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Kind = Literal["methods", "tasks", "partners", "speakers", "protocols", "recipes"]


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="Folder for the runs of the demo.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Root seed.")] = 0,
    methods: Annotated[str, typer.Option(help="Arms to run, by comma.")] = "all",
) -> None:
    """Train a tiny model by every method, side by side, on this machine's CPU; minutes, and nothing is downloaded."""
    from sparring.cli.demo import ARMS, show

    chosen = ARMS if methods == "all" else tuple(name.strip() for name in methods.split(",") if name.strip())
    show(run, seed, chosen)


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A TOML file, or the name of a recipe that `sparring list recipes` shows.")
    ],
    run: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the recipe; phases are phase.1, phase.2, …")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, where it stopped.")
    ] = False,
) -> None:
    """Train as a recipe says."""
    from sparring.config.recipe import Recipe
    from sparring.models.source import check_place

    read = Recipe.read(recipe, settings or [])
    check_place(read.learner.model)
    from sparring.runs.run import train as go
    from sparring.training.checkpoint import where  # only now: a mistake is told before what trains is loaded

    result = go(read, run, resume=resume)
    origin = where(result.origin.plain())
    _say(f"the best learner, from {origin}, is in {result.best}; try it: sparring talk {run}")


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a checkpoint, a model's folder or hub id.")
    ],
    task: Annotated[str | None, typer.Option(help="Kind of task; for a run, by default its own.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value for the task.")] = None,
    split: Annotated[Literal["train", "development", "test"], typer.Option(help="Which problems.")] = "test",
    problems: Annotated[int | None, typer.Option(min=1, help="How many of them; all unless given.")] = None,
    protocol: Annotated[
        str, typer.Option(help="How to ask: as_trained, or one of `sparring list protocols`.")
    ] = "as_trained",
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures and outcomes.")] = None,
) -> None:
    """Measure a model on held-out problems, with a 95 % interval and per bin."""
    from sparring.cli.evaluate import examine

    examine(
        model,
        kind=task,
        settings=settings or [],
        split=split,
        count=problems,
        protocol=protocol,
        output=output,
    )


@app.command()
def write(
    data: Annotated[
        Literal["instructions", "rationales"],
        typer.Argument(help="New instructions like those of a task, or the worked answers that its problems lack."),
    ],
    run: Annotated[Path, typer.Option(help="Folder for the data and the ledger.")],
    order: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A TOML file; without one, all keys are given by --set.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the file: speaker.by=endpoint, …")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder; what was paid is not paid again.")
    ] = False,
) -> None:
    """Have training data written by a speaker: new instructions, or worked answers kept where they are right."""
    from sparring.synthesis import Order
    from sparring.synthesis import write as go

    _say(go(Order.read(data, order or {}, settings or []), run, resume=resume).told())


@app.command()
def talk(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a checkpoint, a model's folder or hub id.")
    ],
    protocol: Annotated[
        str, typer.Option(help="How it answers: as_trained, or one of `sparring list protocols`.")
    ] = "as_trained",
    whole: Annotated[bool, typer.Option("--whole", help="Show thoughts, attempts and feedback too.")] = False,
) -> None:
    """Chat with a learner in the terminal; an empty line or end of input ends it."""
    from sparring.cli.talk import converse

    converse(model, protocol, whole)


@app.command()
def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="A run or checkpoint with LoRA adapters.")],
    output: Annotated[Path, typer.Argument(help="Folder for the merged model; must not exist.")],
) -> None:
    """Fold LoRA adapters into the weights, so that plain transformers and every server load the model."""
    from sparring.models.source import check_learner

    check_learner(model)
    from sparring.training.merge import merge as fold

    fold(Path(model), output)
    _say(f"merged into {output}")


@app.command()
def ledger(
    run: Annotated[Path, typer.Argument(help="A run, or a ledger's file.")],
    failures: Annotated[bool, typer.Option("--failures", help="List what went wrong, commonest first.")] = False,
    output: Annotated[Path | None, typer.Option(help="JSONL file for every attempt.")] = None,
) -> None:
    """Show what a run's partners were asked: calls, tokens, cost and failures by role, round and model."""
    from sparring.cli.ledger import show

    show(run, failures, output)


@app.command()
def estimate(
    recipe: Annotated[
        str, typer.Argument(help="A TOML file, or the name of a recipe that `sparring list recipes` shows.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the recipe, as for train.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Dry episodes of each phase.")] = 8,
) -> None:
    """Say what a run may cost at most, in calls, tokens and money, before anything is sent."""
    from sparring.config.recipe import Recipe

    read = Recipe.read(recipe, settings or [])
    from sparring.runs.estimate import show

    show(read, episodes)


@app.command()
def bundle(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[
        Path | None, typer.Argument(help="The file to make; by default the run's name and .tar.gz.")
    ] = None,
) -> None:
    """Pack a run into one file, from which anybody replays it off-line and for nothing."""
    from sparring.runs.bundle import bundle as pack

    packed, manifest = pack(run, output)
    for name in manifest.modules:
        _say(f"not in it: the module {name}, which is to be importable where it is replayed")
    for key, name in manifest.hub.items():
        _say(f"not in it: {key} = {name}, from the hub")
    _say(f"{len(manifest.files)} files in {packed}; try it: sparring replay {packed} --run runs/again")


@app.command()
def replay(
    source: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What `sparring bundle` made.")],
    run: Annotated[Path, typer.Option(help="Folder of the new run.")],
    episodes: Annotated[
        bool, typer.Option("--episodes", help="Learn from the recorded conversations instead of playing them anew.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Let code that the bundle brings run.")] = False,
) -> None:
    """Repeat a bundled run, asking nobody, and say whether the same comes of it; if not, the exit code is 1."""
    from sparring.runs.replay import replay as again

    done = again(source, run, episodes=episodes, trust=trust)
    for line in done.told():
        _say(line)
    if not done.same:
        raise typer.Exit(1)


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything unless given.")] = None,
) -> None:
    """Show what a recipe can name."""
    from sparring.cli.list import listed

    for line in listed(kind):
        _say(line)


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


def _say(text: str) -> None:
    typer.echo(visible(text))


def _refuse(message: str) -> NoReturn:
    line = visible(" ".join(message.split()))
    typer.echo(f"error: {line if len(line) <= LONGEST else line[:LONGEST] + '…'}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
