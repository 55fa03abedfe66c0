"""Runs the phases of a recipe in a folder, so that a killed run can resume.

A round has three stages: play episodes, harvest experience, train on it. The result of each stage is saved before the
next starts, and the replies of an unfinished stage are in its journal. A killed run resumes from its newest checkpoint
and loads what was saved since, so it samples nothing twice.

`run.json` (versions, seed, status) · `recipe.toml` · `metrics.jsonl` · `ledger.sqlite` (partner calls) ·
`rounds/<phase>-<method>/<round>/` with `episodes.jsonl` and `experience.jsonl` · `checkpoints/` · `evaluation.json`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch

from sparring.common.concurrency import run_sync
from sparring.common.errors import ConfigError, RunStopped, SparringError
from sparring.common.files import write_whole
from sparring.common.functions import refuse_while_loading
from sparring.common.schema import TomlTable
from sparring.config.factory import name_of
from sparring.config.partners import recipe_with
from sparring.config.recipe import Phase, Recipe
from sparring.core.experience import Memory
from sparring.models.source import TINY, USAGE
from sparring.runs.callbacks import SILENT, Callbacks, Given, separated
from sparring.runs.display import Display
from sparring.runs.environment import crowding
from sparring.runs.folder import RECIPE, check_resumable, set_aside_failed_start, write_status
from sparring.runs.lock import locked
from sparring.runs.metrics import Key, Metrics
from sparring.runs.own_rows import with_own_rows
from sparring.runs.problem_order import ProblemOrder
from sparring.runs.recording import check_partners, identity, ledger_path, may_ask_person, recorded
from sparring.runs.result import Result
from sparring.runs.round import Round
from sparring.runs.selection import Selection, check_measurable
from sparring.runs.trackers import check_trackers, tracking
from sparring.training import checkpoint
from sparring.training.checkpoint import Damaged, Origin, Position, State
from sparring.training.learner import Learner
from sparring.training.trainer import StepResult, Trainer, TrainingSet

IDLE_ROUNDS = 20  # rounds without a gradient token after which a phase that only a budget ends counts as endless


def train(
    recipe: Recipe | str | Path | TomlTable,
    run: str | Path,
    *,
    resume: bool = False,
    display: Display | None = None,
    timing: Metrics | None = None,
    **given: Unpack[Given],
) -> Result:
    """Train by `recipe` in the folder `run`, or with `resume` continue the run in it. Works in a notebook too.

    `recipe` may also be the name, the file or the table of one. `given` are partners for its roles (`judge=…`) and
    functions that hear of results (`on_round=…`): see `Given`. `timing` are the metrics of a run that this one repeats:
    its seconds, which a budget counts, replace those measured.
    """
    refuse_while_loading("sparring.train")
    partners, callbacks = separated(given)
    parsed = recipe_with(recipe, partners)
    display = display or Display(live=not may_ask_person(parsed))
    with locked(Path(run)):
        parsed = with_own_rows(parsed, Path(run))
        return run_sync(Run(parsed, Path(run), resume, display, timing, callbacks=callbacks).go())


class Run:
    """One recipe in one folder, whose lock the caller holds."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        resume: bool,
        display: Display,
        timing: Metrics | None = None,
        *,
        callbacks: Callbacks = SILENT,
    ) -> None:
        self.recipe, self.folder, self.display, self.timing = recipe, folder, display, timing
        self.settings = recipe.run
        self.order = ProblemOrder(recipe)
        if not resume and (aside := set_aside_failed_start(folder, recipe)):
            display.say(f"a start with another recipe, which stopped before anything was saved, is now in {aside}")
        check_resumable(folder, recipe, resume)
        if resume and not (folder / RECIPE).exists():
            display.say(f"nothing to resume in {folder}; starting a new run")
        check_measurable(recipe)
        self.id = identity(folder, ledger_path(recipe.ledger.path, folder))
        if not (folder / RECIPE).exists():  # a resumed run may need no further replies
            check_partners(recipe, folder)
        check_trackers(self.settings.trackers)
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self.learner = Learner.load(recipe.learner, self.settings.seed)
        self.trainer = Trainer(self.learner, recipe.phases[0].trainer)
        write_whole(folder / RECIPE, recipe.toml())  # only now: all mistakes in it were reported above
        self._write_status("running")
        self.metrics = Metrics(folder / "metrics.jsonl")
        self.callbacks = callbacks
        self.metrics.listeners.append(callbacks.listener(folder))
        self.selection = Selection(recipe, folder, self.trainer, self.metrics, display)
        self.position = Position()
        self.origin = Origin(1, name_of(recipe.phases[0].method), 1, 0, 0, self.learner.weights)
        self.memory = Memory(recipe.phases[0].replay)
        self.lap_start = time.monotonic()

    def _write_status(self, status: str, **more: Any) -> None:
        write_status(self.folder, self.id, status, self.settings.seed, **more)

    # ── the whole run ───────────────────────────────────────────────────────────────────────────────────────

    async def go(self) -> Result:
        """Run to the end, from the newest checkpoint if there is one."""
        start_time = time.monotonic()
        try:
            self._restore()
            say = self.display.say
            with (
                tracking(self.recipe, self.folder, self.id, self.metrics, say),
                self.display,
                recorded(self.recipe, self.folder, self.id) as (phases, ledger),
            ):
                self.display.run(self.order.total() if self.order.is_limited else None, self.position.problems)
                self.selection.use(ledger)
                if self.learner.model.device.type == "cpu" and (warning := crowding()):
                    self.display.say(warning)
                if self.recipe.learner.model == "tiny":
                    self.display.say(f"learner: tiny, {TINY}; name another model under [learner]")
                for note in getattr(self.recipe.task, "notes", ()):
                    self.display.say(f"task: {note}")
                try:
                    if self.position == Position():
                        await self.selection.begin(self.origin)
                    for number, phase in list(enumerate(phases))[self.position.phase :]:
                        await self._phase(number, phase)
                    result = await self._finish()
                finally:
                    if ledger is not None:
                        await ledger.settle()  # calls in flight are billed: wait for their replies
        except (SparringError, KeyboardInterrupt, asyncio.CancelledError) as error:
            with suppress(RunStopped):  # a full disk must not hide the error that stopped the run
                self._write_status("stopped", reason=str(error) or "interrupted")
            raise
        self._write_status("finished", seconds=round(time.monotonic() - start_time, 1))
        return result

    def _restore(self) -> None:
        """Restore the newest usable checkpoint, if there is any."""
        checkpoint.restore_interrupted(self.folder)
        damaged: Damaged | None = None
        try:
            for path in checkpoint.resumable(self.folder):
                try:
                    self._restore_from(path)
                except Damaged as error:
                    damaged = damaged or error
                    self.display.say(f"{error}; trying an older one")
                    continue
                self.selection.check(self.position.problems)
                self.display.say(f"resuming after {int(path.name):,} problems")
                return
        except Damaged as error:
            damaged = error
        if damaged is not None:
            raise ConfigError(f"{damaged}; {checkpoint.START_OVER}") from damaged

    def _restore_from(self, path: Path) -> None:
        """Restore all state from the checkpoint at `path`; raise Damaged if it is unusable."""
        state = checkpoint.read_state(path)
        if state.measured > len(self.metrics):
            reason = f"metrics.jsonl has {len(self.metrics)} of the {state.measured} lines that it had then"
            raise Damaged(f"cannot resume from the checkpoint {path} ({reason})")
        phase = self.recipe.phases[min(state.position.phase, len(self.recipe.phases) - 1)]
        with checkpoint.reading(path):
            usage = checkpoint.read_usage(path)
            if usage is None or usage.origin is None:
                raise Damaged(f"the checkpoint {path} cannot be read ({USAGE} is missing)")
            self.learner.restore(path, state.weights)
            self.trainer.restore(state.training, phase.trainer)
        self.position, self.origin = state.position, usage.origin
        self.memory = Memory(phase.replay, state.memory)

    async def _phase(self, number: int, phase: Phase) -> None:
        """Run what is left of phase `number`, counted from 0."""
        method = name_of(phase.method)
        if (self.position.round, self.position.step) == (0, 0):
            self.memory = Memory(phase.replay)
        while not self._is_over(phase):
            round_, lifetime = self.position.round, phase.method.schedule.lifetime
            if self.position.step == 0 and (round_ == 0 or lifetime == "round"):
                rounds = 1 if lifetime == "round" else phase.rounds or math.inf
                self.trainer.begin(self.order.count(phase) * rounds, phase.trainer)
            await self._round(number, phase, round_)
            self.position = replace(self.position, round=round_ + 1, step=0)
            self._check_progress(number, phase)
            with self._saved_if_stopped(phase):  # the caller of `rounds` may have left its loop
                await self.callbacks.between_rounds()
        if not self.selection.has_evaluated(self.origin):  # it may have, after the last step or before a resume
            with self._saved_if_stopped(phase):
                await self.selection.develop(phase.method, (number + 1, self.position.round, 0), self.origin)
        self.display.say(f"phase {number + 1} ({method}) is finished")
        drawn = self.position.first + self.position.round * self.order.count(phase)
        self.position = Position(number + 1, 0, 0, self.position.problems, drawn)
        self._save(phase)

    def _is_over(self, phase: Phase) -> bool:
        """Tell whether the phase has had its last round. A round whose steps a budget ends is finished first."""
        has_all_rounds = phase.rounds is not None and self.position.round >= phase.rounds
        return has_all_rounds or (self.position.step == 0 and self._is_spent(phase))

    def _is_spent(self, phase: Phase) -> bool:
        """Tell whether the budget of the phase is spent, and move the trainer's schedule to the share that is.

        A schedule of one round counts what was left when the round began, so it ends with the budget, too.
        """
        spent = phase.spent(self.position.gradient_tokens, self.position.seconds)
        before = 0.0
        if phase.method.schedule.lifetime == "round":
            last_round = self.metrics.get(("round", self.position.phase + 1, self.position.round, 0))
            before = phase.spent(last_round["gradient_tokens"], last_round["seconds"]) if last_round else 0.0
        self.trainer.spent = (spent - before) / (1 - before) if before < 1 else 1.0
        return spent >= 1

    def _check_progress(self, number: int, phase: Phase) -> None:
        """Raise RunStopped if the last rounds of a phase without a limit of rounds brought its budget no nearer."""
        earlier = self.metrics.get(("round", number + 1, self.position.round - IDLE_ROUNDS, 0))
        is_idle = earlier is not None and earlier["gradient_tokens"] == self.position.gradient_tokens
        if is_idle and phase.rounds is None and phase.max_seconds is None:
            raise RunStopped(
                f"phase {number + 1} ({name_of(phase.method)}) had nothing to train on in {IDLE_ROUNDS} rounds, so it "
                "would never reach max_gradient_tokens; set rounds in a new run"
            )

    # ── a round ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _round(self, number: int, phase: Phase, round_: int) -> None:
        """Play and learn one round; both numbers count from 0."""
        start_time, before = time.monotonic(), self.learner.model.tokens_sampled
        self.lap_start = start_time
        this = Round(
            self.recipe, self.folder, phase, number, round_, self.position, self.learner, self.order, self.display,
            self.callbacks.episode,
        )  # fmt: skip
        with self._saved_if_stopped(phase):
            fresh, measures, failures = await this.experience()
        experience = self.memory.replay(fresh)
        seconds_playing = time.monotonic() - start_time
        training_set = self.trainer.training_set(
            experience,
            phase.method.objective,
            self.order.count(phase),
            phase.epochs or 1,
            this.scope,
            updates=phase.updates_per_round or "batch",
        )
        training_set = replace(training_set, reference=this.reference(self.trainer, training_set))
        if self.position.step:
            self.lap_start = time.monotonic()  # its playing was counted before the run stopped
        await self._learn(training_set, phase, this)
        self.memory.remember(fresh)
        seconds_learning = time.monotonic() - start_time - seconds_playing
        key = ("round", number + 1, round_ + 1, 0)
        line = self.metrics.record(
            key,
            {
                "method": name_of(phase.method),
                **self.metrics.mean("step", number + 1, round_ + 1),
                "problems": round(self.position.problems),
                "experience": len(experience),
                "dropped": training_set.dropped,
                **({"reference_sampled": training_set.reference.sampled} if training_set.reference else {}),
                **measures,
                "gradient_tokens": self.position.gradient_tokens,
                "seconds": self._seconds(key),
                "seconds_playing": round(seconds_playing, 3),
                "seconds_learning": round(seconds_learning, 3),
                "tokens_per_second": round((self.learner.model.tokens_sampled - before) / max(1e-9, seconds_playing)),
            },
        )
        self.position = replace(self.position, seconds=line["seconds"])
        self.display.round(this.name, line, failures)

    async def _learn(self, training_set: TrainingSet, phase: Phase, this: Round) -> None:
        """Take the round's training steps; evaluate and save at the intervals of the settings."""
        steps = training_set.steps
        self.display.stage(f"{this.name}: steps", steps - self.position.step)
        start = self.position.problems - training_set.problems * self.position.step / max(1, steps)
        if self._is_spent(phase):  # a resumed run may stand at the step that ended the phase
            return
        try:
            for step in self.trainer.learn(training_set, done=self.position.step):
                before = self.position.problems
                problems = start + training_set.problems * step.number / steps
                self._advance(this, step.number, problems)
                key = (this.number + 1, this.round_ + 1, step.number)
                self._record(("step", *key), step)
                self.display.step(problems, step.loss)
                if self._due(before, problems, self.settings.evaluate_every):
                    await self.selection.develop(phase.method, key, self.origin)
                if self._due(before, problems, self.settings.save_every):
                    self._save(phase)
                with self._saved_if_stopped(phase):
                    await asyncio.sleep(0)  # here Ctrl-C arrives
                self.lap_start = time.monotonic()  # evaluating and saving are no training
                if self._is_spent(phase):
                    return
        except RunStopped as error:
            latest = checkpoint.latest(self.folder)
            rest = f"the last good checkpoint is {latest}" if latest else "no checkpoint was saved yet"
            raise RunStopped(f"{this.name}: {error}; {rest}") from error
        self._advance(this, steps, start + training_set.problems)

    def _advance(self, this: Round, step: int, problems: float) -> None:
        """Set position and origin to `step` steps of the round, after `problems` problems of the run."""
        self.position = replace(self.position, phase=this.number, round=this.round_, step=step, problems=problems)
        method, weights = name_of(this.phase.method), self.learner.weights
        self.origin = Origin(this.number + 1, method, this.round_ + 1, step, round(problems), weights)

    def _record(self, key: Key, step: StepResult) -> None:
        """Record a step, and count what it used of the phase's budget."""
        tokens = self.position.gradient_tokens + step.gradient_tokens
        line = self.metrics.record(
            key,
            {
                "problems": round(self.position.problems, 3),
                "loss": step.loss,
                **step.measures,
                "learning_rate": step.learning_rate,
                "gradient_norm": step.gradient_norm,
                "gradient_tokens": tokens,
                "seconds": self._seconds(key),
                "trained_tokens_per_second": round(step.tokens / max(1e-9, step.seconds)),
            },
        )
        # The seconds of the line, not those measured: a step that is repeated after a kill took them the first time.
        self.position = replace(self.position, gradient_tokens=tokens, seconds=line["seconds"])

    def _seconds(self, key: Key) -> float:
        """Return the seconds that the phase has played and learnt for, or those that `timing` has under `key`."""
        original = self.timing.get(key) if self.timing else None
        measured = self.position.seconds + time.monotonic() - self.lap_start
        return float(original["seconds"]) if original else round(measured, 3)

    @staticmethod
    def _due(before: float, now: float, every: int) -> bool:
        """Tell whether a multiple of `every` lies between `before` and `now`; 0 is never due."""
        return bool(every) and int(now / every + 1e-9) > int(before / every + 1e-9)

    # ── saving ──────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _saved_if_stopped(self, phase: Phase) -> Iterator[None]:
        """Save what the phase has learnt if Ctrl-C or an error stops the run inside the block."""
        try:
            yield
        except (SparringError, asyncio.CancelledError):
            if self.position.round or self.position.step:
                self._save(phase)
            raise

    def _save(self, phase: Phase) -> None:
        """Save a checkpoint and remove old ones."""
        if not self.trainer.finite():
            raise RunStopped("weights contain NaN or inf; lower the learning rate in a new run")
        training, memory = self.trainer.state(), tuple(self.memory.items)
        state = State(self.position, self.learner.weights, training, memory, len(self.metrics))
        name = f"{round(self.position.problems):09d}"
        usage = self.selection.usage(phase.method, self.origin)
        checkpoint.save(self.folder / "checkpoints" / name, self.learner, usage, state)
        checkpoint.prune(self.folder, self.settings.keep)

    async def _finish(self) -> Result:
        """Save the final learner, test it and the best one, and print the results. Reads the test problems only now."""
        final, best = self.folder / "checkpoints" / "final", self.selection.best
        usage = self.selection.usage(self.recipe.phases[-1].method, self.origin)
        checkpoint.save(final, self.learner, usage)
        if not best.exists():
            checkpoint.save(best, self.learner, usage)
        best_usage = checkpoint.read_usage(best)
        assert best_usage is not None
        results = await self.selection.test(usage)
        test, final_test = results or (None, None)
        origin, progress = best_usage.origin or self.origin, tuple(self.selection.progress())
        result = Result(self.folder, best, test, final, final_test, origin, progress)
        for line in result.report():
            self.display.say(line)
        return result
