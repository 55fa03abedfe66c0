"""What a script may give to `train` and `rounds`: partners for the roles, and functions that hear of what happens.

Functions hear of what is recorded, once: a resumed run does not repeat what was recorded before it. Only the episodes
of a round that was interrupted are played, and heard of, again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from sparring.common.errors import ConfigError, SparringError, nearest
from sparring.common.files import read_jsonl
from sparring.common.functions import is_async, name_of_function
from sparring.common.statistics import Mean
from sparring.core.episode import Episode
from sparring.core.partner import Author, Critic, Discussant, Editor, Judge
from sparring.core.user_function import where_failed
from sparring.runs.folder import round_folder

_Heard = TypeVar("_Heard")
_FIGURES = (
    "kind", "phase", "round", "step", "method", "problems", "experience", "loss", "gradient_tokens", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class RoundResult:
    """A finished round: phase and round (from 1), the problems of the run so far, and its figures.

    `loss` is the mean over the round's steps, None without a step. `measures` are the other figures of its line in
    `metrics.jsonl`. `gradient_tokens` and `seconds` are those of the phase so far. `folder` holds the round's files.
    """

    phase: int
    method: str
    round: int
    problems: int
    examples: int
    loss: float | None
    gradient_tokens: int
    seconds: float
    measures: Mapping[str, float]
    folder: Path

    def episodes(self) -> list[Episode]:
        """Read the round's conversations."""
        return read_jsonl(self.folder / "episodes.jsonl", Episode)

    @classmethod
    def of(cls, line: Mapping[str, Any], run: Path) -> RoundResult:
        """Make the result from the round's `line` in the metrics of `run`."""
        return cls(
            phase=line["phase"],
            method=line["method"],
            round=line["round"],
            problems=line["problems"],
            examples=line["experience"],
            loss=line.get("loss"),
            gradient_tokens=line["gradient_tokens"],
            seconds=line["seconds"],
            measures={name: value for name, value in line.items() if name not in _FIGURES},
            folder=round_folder(run, line["phase"], line["method"], line["round"]),
        )


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation: `kind` is "development", "test" (of the best learner) or "test_final".

    It comes after `step` of a round of a phase (from 1; step 0: the end of the round). `primary` is the measure that
    ranks learners, `problems` the number of problems asked.
    """

    kind: str
    phase: int
    round: int
    step: int
    problems: int
    primary: str
    measures: Mapping[str, Mean]

    @property
    def score(self) -> Mean:
        """The mean of the primary measure, with its 95 % interval."""
        return self.measures[self.primary]

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> EvaluationResult:
        """Make the result from the evaluation's `line` in the metrics."""
        position = (line["phase"], line["round"], line["step"])
        measures = {name: Mean(**figures) for name, figures in line["measures"].items()}
        return cls(line["kind"], *position, line["problems"], line["primary"], measures)


class Partners(TypedDict, total=False):
    """Partners in Python: a function or an object for a role. It fills the role wherever a recipe has it."""

    judge: Judge | Callable[..., object]
    critic: Critic | Callable[..., object]
    discussant: Discussant | Callable[..., object]
    editor: Editor | Callable[..., object]
    author: Author | Callable[..., object]


class Given(Partners, total=False):
    """The arguments of `train` and `rounds` that are parts in Python: partners, and functions that hear of results.

    A `RunStopped` that `on_round`, `on_evaluation` or `on_episode` raises stops the run, which can be resumed.
    """

    on_round: Callable[[RoundResult], object]
    on_evaluation: Callable[[EvaluationResult], object]
    on_episode: Callable[[Episode], object]


CALLBACKS = ("on_round", "on_evaluation", "on_episode")


def separated(given: Mapping[str, Any]) -> tuple[dict[str, Any], Callbacks]:
    """Divide the arguments of `train` into partners by role and callbacks; ConfigError names an unknown one."""
    check_names("train", given, (*Partners.__annotations__, *CALLBACKS))
    callbacks = {name: given[name] for name in CALLBACKS if given.get(name) is not None}
    for name, call in callbacks.items():
        if not callable(call) or is_async(call):
            raise ConfigError(f"{name} is not a plain function (got {call!r}); give one that is not asynchronous")
    partners = {name: part for name, part in given.items() if name not in CALLBACKS and part is not None}
    return partners, Callbacks(**callbacks)


def check_names(verb: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ConfigError for an argument of `verb` that is not `known`."""
    for name in given:
        if name not in known:
            raise nearest(f"argument of sparring.{verb}", name, known)


def _nothing(result: Any) -> None: ...


async def _at_once() -> None: ...


@dataclass(frozen=True)
class Callbacks:
    """Functions that hear of results, and `between_rounds`, for which the run waits after each round."""

    on_round: Callable[[RoundResult], object] = _nothing
    on_evaluation: Callable[[EvaluationResult], object] = _nothing
    on_episode: Callable[[Episode], object] = _nothing
    between_rounds: Callable[[], Awaitable[None]] = field(default=_at_once)

    def listener(self, run: Path) -> Callable[[dict[str, Any]], None]:
        """Return what hears of each new line in the metrics of `run`."""
        return partial(self._hear, run)

    def _hear(self, run: Path, line: dict[str, Any]) -> None:
        if line["kind"] == "round":
            _tell(self.on_round, RoundResult.of(line, run), "on_round")
        elif line["kind"] in ("development", "test", "test_final"):
            _tell(self.on_evaluation, EvaluationResult.of(line), "on_evaluation")

    def episode(self, episode: Episode) -> None:
        """Tell of an episode that was just played."""
        _tell(self.on_episode, episode, "on_episode")


SILENT = Callbacks()


def _tell(call: Callable[[_Heard], object], heard: _Heard, name: str) -> None:
    try:
        call(heard)
    except SparringError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{name} ({name_of_function(call)}) failed ({where_failed(call, error)}): {type(error).__name__}: {error}; "
            "correct it, and resume the run"
        ) from error
