"""Arguments and output that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.common.terminal import visible


def complete_recipe(incomplete: str) -> list[str]:
    """Return the shipped recipes that begin with `incomplete`, for the shell; without a match it offers files."""
    from sparring.config.recipe import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


def complete_task(incomplete: str) -> list[str]:
    """Return the tasks that begin with `incomplete`, for the shell. Nothing is imported that they need."""
    return _complete("task", incomplete)


def complete_protocol(incomplete: str) -> list[str]:
    """Return the evaluation protocols that begin with `incomplete`, for the shell."""
    return _complete("protocol", incomplete)


def _complete(kind: str, incomplete: str) -> list[str]:
    from sparring.common.registry import Catalogue

    catalogue = Catalogue(f"sparring.{kind}s", kind)
    return sorted(name for name in {*catalogue.modules(), *catalogue.plugins()} if name.startswith(incomplete))


RecipeArgument = Annotated[
    str,
    typer.Argument(help="A TOML file, or a name from `sparring list recipes`.", autocompletion=complete_recipe),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        help="How to measure: a name from `sparring list protocols`; default: solo.", autocompletion=complete_protocol
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="Task to evaluate on; default: the task of the first learner's run.", autocompletion=complete_task
    ),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Ask for a single reply, without the procedure that the method adds at use.")
]


def say(text: str) -> None:
    """Print a line; terminal control characters are shown as visible text."""
    typer.echo(visible(text))
