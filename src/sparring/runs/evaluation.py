"""Evaluates learners in a folder, where an interrupted evaluation can be resumed.

The folder holds `recipe.toml` (all settings), `run.json` (status), `results.json` (all figures), `ledger.sqlite` (the
calls of learners and partners behind an API) and `problems.jsonl`: the measures, response and transcripts of each
problem. That file grows as problems are done; in the end it has their order. A protocol may add files for other tools.

A problem to which a learner gave no reply is asked again on resume. The evaluation stops if there are many of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from rich.console import Console

from sparring.common.concurrency import run_sync
from sparring.common.errors import ConfigError, RunStopped, SparringError
from sparring.common.files import json_lines, write_json, write_lines, write_whole, writing
from sparring.common.functions import refuse_while_loading
from sparring.common.progress import progress_bar
from sparring.common.schema import TomlTable
from sparring.common.terminal import Terminal
from sparring.config.evaluation import EvaluationRecipe, table_of_task
from sparring.config.factory import name_of
from sparring.config.partners import in_roles
from sparring.config.recipe import Recipe
from sparring.core.attempts import Recordable
from sparring.core.chat import LEARNER
from sparring.core.evaluation import Evaluation, Outcome, measure_problems
from sparring.core.protocol import AsLearner, Participant, SingleReply
from sparring.core.speaker import Speaker
from sparring.core.task import Problem, Task
from sparring.inference.model_speaker import ModelSpeaker
from sparring.ledger import Ledger, Recorded
from sparring.models.source import ModelSource
from sparring.runs.callbacks import Partners, check_names
from sparring.runs.folder import RECIPE, check_resumable, write_status
from sparring.runs.load import SavedLearner, load_learner
from sparring.runs.lock import locked
from sparring.runs.recording import check_ready, identity, ledger_path, on_ledger, open_ledger, recordable_partners

RESULTS = "results.json"
PROBLEMS = "problems.jsonl"


def evaluate(
    *learners: str | Path | SavedLearner,
    protocol: str = "solo",
    task: str | Path | TomlTable | Task | Recipe | None = None,
    problems: int | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    settings: Sequence[str] = (),
    **partners: Unpack[Partners],
) -> Evaluation:
    """Evaluate `learners` by `protocol`, as `sparring evaluate` does: runs, checkpoints, models, or loaded learners.

    `task` is a task, the name or table of one, or a recipe or its file, whose task is used. It defaults to the task of
    the first learner's run. `problems` defaults to all. `settings` are further keys, each `key.path=value`. `partners`
    fill the protocol's roles (`judge=…`). In the folder `run` every transcript is saved, and `resume` continues an
    interrupted evaluation.
    """
    refuse_while_loading("sparring.evaluate")
    check_names("evaluate", partners, Partners.__annotations__)
    loaded = [learner for learner in learners if isinstance(learner, SavedLearner)]
    places = [learner.place if isinstance(learner, SavedLearner) else str(learner) for learner in learners]
    table: dict[str, Any] = {"protocol": {"kind": protocol, **in_roles(protocol, partners)}}
    if task is not None:
        table["task"] = table_of_task(task)
    options = [f"evaluation.problems={problems}"] if problems is not None else []
    recipe = EvaluationRecipe.read(table, places, [*options, *settings])
    return run_evaluation(recipe, run, resume=resume, loaded=loaded)


def run_evaluation(
    recipe: EvaluationRecipe,
    run: str | Path | None = None,
    *,
    resume: bool = False,
    console: Console | None = None,
    loaded: Sequence[SavedLearner] = (),
) -> Evaluation:
    """Evaluate by `recipe` in the folder `run`, or resume there; without a folder nothing is saved.

    Learners that are among `loaded` are not loaded again.
    """
    console = console or Terminal(stderr=True)
    if run is None:
        if _is_recorded(recipe):
            raise ConfigError("the evaluation calls a model behind an API; give a folder for its ledger with --run")
        problems = recipe.problems()
        session = _Session(recipe, _load_learners(recipe, loaded, None), console)
        return run_sync(session.measure(problems, None, save=lambda outcome: None))
    with locked(Path(run)):
        return run_sync(_run(recipe, Path(run), resume, console, loaded))


async def _run(
    recipe: EvaluationRecipe, folder: Path, resume: bool, console: Console, loaded: Sequence[SavedLearner]
) -> Evaluation:
    check_resumable(folder, recipe, resume)
    problems = recipe.problems()
    ledger = ledger_path(recipe.ledger.path, folder)
    run, seed = identity(folder, ledger), recipe.settings.seed
    session = _Session(recipe, _load_learners(recipe, loaded, ledger), console)
    write_whole(folder / RECIPE, recipe.toml())  # only now: all mistakes in it were reported above
    write_status(folder, run, "running", seed)
    try:
        outcomes = await session.measure_in(folder, run, problems)
        evaluation = Evaluation(outcomes, recipe.protocol.primary)
        write_lines(folder / PROBLEMS, map(_line, outcomes))
        write_json(folder / RESULTS, results(recipe, evaluation))
        responses = [(problem, outcome.response) for problem, outcome in zip(problems, outcomes, strict=True)]
        for name, content in recipe.protocol.exports(session.learners[0][0], responses).items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_whole(folder / name, content)
    except (SparringError, KeyboardInterrupt, asyncio.CancelledError) as error:
        write_status(folder, run, "stopped", seed, reason=str(error) or "interrupted")
        raise
    write_status(folder, run, "finished", seed)
    return evaluation


@dataclass(frozen=True)
class _Session:
    """An evaluation whose learners are loaded."""

    recipe: EvaluationRecipe
    learners: Sequence[_Learner]
    console: Console

    async def measure_in(self, folder: Path, run: str, problems: Sequence[Problem]) -> tuple[Outcome, ...]:
        """Measure the problems that `problems.jsonl` lacks; return the outcomes of all in order."""
        file = _OutcomeFile(folder / PROBLEMS)
        rest = [problem for problem in problems if problem.id not in file.outcomes]
        if not _is_recorded(self.recipe):
            await self.measure(rest, None, file.append)
        else:
            with open_ledger(self.recipe.ledger, self.recipe.budget, folder, run) as ledger:
                try:
                    await self.measure(rest, ledger, file.append)
                finally:
                    await ledger.settle()  # calls in flight are billed: wait for their replies
        return tuple(file.outcomes[problem.id] for problem in problems)

    async def measure(
        self, problems: Sequence[Problem], ledger: Ledger | None, save: Callable[[Outcome], None]
    ) -> Evaluation:
        """Measure `problems` with a progress bar; `save` receives each outcome as soon as it is known."""
        recipe = self.recipe
        protocol = recipe.protocol if ledger is None else on_ledger(recipe.protocol, ledger)
        with progress_bar(f"{protocol.name}: problems", len(problems), self.console) as advance:
            unavailable, total = list[Outcome](), len(recipe.problems())  # a resumed evaluation measures some of them

            def receive(outcome: Outcome) -> None:
                save(outcome)
                advance()
                if outcome.is_unavailable:
                    unavailable.append(outcome)
                    _check_unavailable(unavailable, total, recipe.settings.max_unavailable)

            def participants(problem: Problem) -> list[Participant]:
                numbered = enumerate(self.learners, start=1)
                return [_participant(learner, number, problem, recipe, ledger) for number, learner in numbered]

            return await measure_problems(
                protocol,
                recipe.task,
                problems,
                participants,
                seed=recipe.settings.seed,
                at_once=recipe.settings.at_once,
                on_outcome=receive,
            )


def _check_unavailable(outcomes: Sequence[Outcome], total: int, bound: float) -> None:
    """Raise RunStopped if `outcomes`, to which learners gave no reply, are more than this share of the problems."""
    if len(outcomes) > bound * total:
        reason = Evaluation(tuple(outcomes)).failures_in_words()[0]
        raise RunStopped(
            f"more than {bound:.0%} of the {total} problems got no reply (max_unavailable under [evaluation]): "
            f"{reason}; what was measured is kept; mend the cause and continue with --resume"
        )


def results(recipe: EvaluationRecipe, evaluation: Evaluation) -> dict[str, Any]:
    """Return the content of `results.json`: what was measured on what, and all figures."""
    table = recipe.table()
    settings = {name: table[name] for name in ("protocol", "learner", "task", "evaluation")}
    summary = recipe.protocol.summarize([outcome.measures for outcome in evaluation.outcomes])
    return {**settings, **evaluation.plain(), "summary": dict(summary)}


# ── learners ────────────────────────────────────────────────────────────────────────────────────────────────

_Learner = tuple[str, SavedLearner | Speaker]  # the name of its model, and what replies


def _load_learners(recipe: EvaluationRecipe, given: Sequence[SavedLearner], ledger: Path | None) -> list[_Learner]:
    """Load the learners, each model once; those in `given` are loaded already. `ledger`: its file, if there is one."""
    for partner in (*recipe.learners, *(p.speaker for p in recordable_partners(recipe.protocol).values())):
        check_ready(partner, recipe.ledger.mode, ledger)
    loaded = {} if recipe.settings.plain else {repr(ModelSource(model=saved.place)): saved for saved in given}
    learners: list[_Learner] = []
    plain = SingleReply(recipe.settings.max_tokens)
    for learner in recipe.learners:
        if not isinstance(learner, ModelSource):
            learners.append((name_of(learner), learner))
            continue
        if (key := repr(learner)) not in loaded:
            loaded[key] = load_learner(learner.model, source=learner, plain=plain if recipe.settings.plain else None)
        saved = loaded[key]
        if isinstance(saved.answerer, SingleReply):
            saved = replace(saved, answerer=plain, layout=recipe.task.layout)
        learners.append((learner.model, saved))
    return learners


def _participant(
    learner: _Learner, number: int, problem: Problem, recipe: EvaluationRecipe, ledger: Ledger | None
) -> Participant:
    name, voice = learner
    if isinstance(voice, SavedLearner):
        speaker = ModelSpeaker(voice.model, LEARNER, ("evaluate", recipe.settings.seed, number, problem.id))
        return Participant(name, speaker, voice.answerer, voice.layout)
    if ledger is not None and isinstance(voice, Recordable):
        voice = Recorded(voice, ledger, LEARNER)
    return Participant(name, AsLearner(voice), SingleReply(recipe.settings.max_tokens), recipe.task.layout)


def _is_recorded(recipe: EvaluationRecipe) -> bool:
    """Tell whether calls of a learner or a partner go on the ledger."""
    return any(isinstance(learner, Recordable) for learner in recipe.learners) or bool(
        recordable_partners(recipe.protocol)
    )


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────


class _OutcomeFile:
    """The outcomes in `problems.jsonl`, by problem.

    A line cut by a kill is dropped, and so is one to which a learner gave no reply: these problems are asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = [row.value for row in json_lines(path)] if path.exists() else []
        try:
            outcomes = [Outcome.of(row) for row in rows if row is not None]
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{path} is damaged ({error!r}); remove it, and its problems are asked again") from error
        self.outcomes = {outcome.problem: outcome for outcome in outcomes if not outcome.is_unavailable}
        write_lines(path, map(_line, self.outcomes.values()))

    def append(self, outcome: Outcome) -> None:
        """Write one more outcome."""
        with writing(self.path), self.path.open("ab") as file:
            file.write(_line(outcome))
        self.outcomes[outcome.problem] = outcome


def _line(outcome: Outcome) -> bytes:
    # A lone surrogate, which a program or a server may send, has no encoding.
    return json.dumps(outcome.plain(), ensure_ascii=False).encode(errors="replace") + b"\n"
