"""A run: phases of rounds, in a folder that can always be gone on with.

A round is played (episodes), harvested (experience) and learnt from (steps); each of these is written down before the
next begins, and the replies of an unfinished one are in its journal. So a run that was killed goes on at the stage
where it stopped: back to its newest checkpoint, then through what was saved since, sampling nothing twice.

`run.json` (versions, seed, status) · `recipe.toml` · `metrics.jsonl` · `ledger.sqlite` (partner calls) ·
`rounds/<phase>-<method>/<round>/` with `episodes.jsonl` and `experience.jsonl` · `checkpoints/` · `evaluation.json`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sparring.training import checkpoint
from sparring.config.factory import name_of
from sparring.training.checkpoint import Damaged, Origin, Position, State
from sparring.runs.problem_order import Choice
from sparring.runs.display import Display
from sparring.common.errors import ConfigError, RunStopped, SparringError
from sparring.core.experience import Memory
from sparring.common.files import write_whole
from sparring.runs.folder import RECIPE, check_resumable, write_status
from sparring.training.learner import Learner
from sparring.runs.metrics import Metrics
from sparring.models.source import TINY, USAGE
from sparring.runs.lock import occupied
from sparring.config.recipe import Phase, Recipe
from sparring.runs.recording import asks_a_person, identity, place, check_partners, recorded
from sparring.runs.round import Round
from sparring.runs.selection import Progress, Selection
from sparring.common.concurrency import wait_for
from sparring.training.trainer import TrainingSet, Trainer


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its best learner and its final one, and how they did on the test problems (None: not
    asked). Both figures name the place in the run that the learner is from (`origin`)."""

    folder: Path
    best: Path
    test: dict[str, Any] | None
    final: Path
    final_test: dict[str, Any] | None
    origin: Origin
    progress: tuple[Progress, ...] = ()

    def told(self) -> Iterator[str]:
        """What came of it, a line each."""
        if self.test is not None and self.final_test is not None:
            same = self.test["origin"] == self.final_test["origin"]
            for name, line in (("best", self.test), ("final", self.final_test))[: 1 if same else 2]:
                yield (
                    f"the {name} learner{' (the final one)' if same else ''}, from {checkpoint.where(line['origin'])}: "
                    f"test accuracy {line['accuracy']:.1%} [{line['low']:.1%}, {line['high']:.1%}] "
                    f"on {line['problems']} problems"
                )
        yield from (phase.told() for phase in self.progress if not phase.beat_its_start)


def train(recipe: Recipe, run: str | Path, *, resume: bool = False, display: Display | None = None) -> Result:
    """Runs `recipe` in the folder `run`, or goes on with what stands there. Works in a notebook too."""
    with occupied(Path(run)):
        return wait_for(Run(recipe, Path(run), resume, display or Display(live=not asks_a_person(recipe))).go())


class Run:
    """One recipe in one folder, which nobody else works in."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool, display: Display) -> None:
        self.recipe, self.folder, self.display = recipe, folder, display
        self.settings = recipe.run
        self.choice = Choice(recipe)
        check_resumable(folder, recipe, resume)
        self.id = identity(folder, place(recipe.ledger.path, folder))
        if not (folder / RECIPE).exists():  # a run that goes on may have all replies that it needs
            check_partners(recipe)
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self.learner = Learner.load(recipe.learner, self.settings.seed)
        self.trainer = Trainer(self.learner, recipe.phases[0].trainer)
        write_whole(folder / RECIPE, recipe.toml())  # now that nothing is left to be mended in it
        self._note("running")
        self.metrics = Metrics(folder / "metrics.jsonl")
        self.selection = Selection(recipe, folder, self.learner, self.metrics, display)
        self.position = Position()
        self.origin = Origin(1, name_of(recipe.phases[0].method), 1, 0, 0, self.learner.weights)
        self.memory = Memory(recipe.phases[0].replay)

    def _note(self, status: str, **more: Any) -> None:
        write_status(self.folder, self.id, status, self.settings.seed, **more)

    # ── the whole ───────────────────────────────────────────────────────────────────────────────────────────

    async def go(self) -> Result:
        """Runs to the end, from the newest checkpoint if there is one."""
        begun = time.monotonic()
        try:
            self._restore()
            with self.display, recorded(self.recipe, self.folder, self.id) as (phases, ledger):
                self.display.run(self.choice.total(), self.position.problems)
                if self.recipe.learner.model == "tiny":
                    self.display.say(f"learner: tiny, {TINY}; name another model under [learner]")
                for remark in getattr(self.recipe.task, "notes", ()):
                    self.display.say(f"task: {remark}")
                try:
                    for number, phase in list(enumerate(phases))[self.position.phase :]:
                        await self._phase(number, phase)
                finally:
                    if ledger is not None:
                        await ledger.settle()  # what is under way is being paid
                result = await self._finish()
        except (SparringError, KeyboardInterrupt, asyncio.CancelledError) as error:
            with suppress(RunStopped):  # the disk may be full: what stopped the run is said, not this
                self._note("stopped", reason=str(error) or "interrupted")
            raise
        self._note("finished", seconds=round(time.monotonic() - begun, 1))
        return result

    def _restore(self) -> None:
        """Goes back to the newest checkpoint that can be used."""
        checkpoint.tidy(self.folder)
        damaged: Damaged | None = None
        try:
            for found in checkpoint.resumable(self.folder):
                try:
                    self._restore_from(found)
                except Damaged as error:
                    damaged = damaged or error
                    self.display.say(f"{error}; an older one is tried")
                    continue
                self.selection.check(self.position.problems)
                self.display.say(f"going on from {found.name} problems")
                return
        except Damaged as error:
            damaged = error
        if damaged is not None:
            raise ConfigError(f"{damaged}; {checkpoint.START_OVER}") from damaged

    def _restore_from(self, found: Path) -> None:
        state = checkpoint.saved_state(found)
        if state.measured > len(self.metrics):
            there = f"metrics.jsonl has {len(self.metrics)} of the {state.measured} lines that it had then"
            raise Damaged(f"the checkpoint {found} cannot be gone on from ({there})")
        phase = self.recipe.phases[min(state.position.phase, len(self.recipe.phases) - 1)]
        with checkpoint.reading(found):
            used = checkpoint.usage(found)
            if used is None or used.origin is None:
                raise Damaged(f"the checkpoint {found} cannot be read ({USAGE} is missing)")
            self.learner.restore(found, state.weights)
            self.trainer.restore(state.training, phase.trainer)
        self.position, self.origin = state.position, used.origin
        self.memory = Memory(phase.replay, state.memory)

    async def _phase(self, number: int, phase: Phase) -> None:
        method = name_of(phase.method)
        if (self.position.round, self.position.step) == (0, 0):
            self.memory = Memory(phase.replay)
        for round_ in range(self.position.round, phase.rounds):
            if self.position.step == 0 and (round_ == 0 or phase.method.schedule.lifetime == "round"):
                rounds = phase.rounds if phase.method.schedule.lifetime == "phase" else 1
                self.trainer.begin(float(self.choice.count(phase) * rounds), phase.trainer)
            await self._round(number, phase, round_)
            self.position = replace(self.position, round=round_ + 1, step=0)
        if not self.selection.knows(number + 1, self.origin):  # after the last step, perhaps in an earlier sitting
            await self.selection.develop(phase.method, (number + 1, phase.rounds, 0), self.origin)
        self.display.say(f"phase {number + 1} ({method}) is done")
        self.position = Position(number + 1, 0, 0, self.position.problems)
        self._save(phase)

    # ── a round ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _round(self, number: int, phase: Phase, round_: int) -> None:
        begun, sampled = time.monotonic(), self.learner.model.tokens_sampled
        this = Round(
            self.recipe, self.folder, phase, number, round_, self.position.step, self.learner, self.choice, self.display
        )
        fresh, told = await this.experience()
        experience = self.memory.replay(fresh)
        played = time.monotonic()
        lesson = self.trainer.lesson(
            experience,
            phase.method.objective,
            self.choice.count(phase),
            phase.epochs or 1,
            this.scope,
            updates=phase.updates_per_round or "batch",
        )
        lesson = replace(lesson, reference=this.reference(self.trainer, lesson))
        await self._learn(lesson, phase, this)
        self.memory.remember(fresh)
        learnt = time.monotonic()
        line = self.metrics.record(
            ("round", number + 1, round_ + 1, 0),
            {
                "method": name_of(phase.method),
                "problems": round(self.position.problems),
                "experience": len(experience),
                "dropped": lesson.dropped,
                **({"reference_sampled": lesson.reference.sampled} if lesson.reference else {}),
                **self.metrics.mean("step", number + 1, round_ + 1),
                **told,
                "seconds_playing": round(played - begun, 3),
                "seconds_learning": round(learnt - played, 3),
                "tokens_per_second": round((self.learner.model.tokens_sampled - sampled) / max(1e-9, played - begun)),
            },
        )
        self.display.round(this.name, line)
        if line.get("cut_off", 0) > 0.05:
            self.display.say(
                f"  {line['cut_off']:.0%} of the episodes have a reply that was cut at max_tokens; "
                "raise it in a new run"
            )

    async def _learn(self, lesson: TrainingSet, phase: Phase, this: Round) -> None:
        """Takes the round's steps, evaluating and saving where problems say so."""
        steps = lesson.steps
        self.display.stage(f"{this.name}: steps", steps - self.position.step)
        start = self.position.problems - lesson.problems * self.position.step / max(1, steps)
        try:
            for step in self.trainer.learn(lesson, done=self.position.step):
                before = self.position.problems
                problems = start + lesson.problems * step.number / steps
                self._stand(this, step.number, problems)
                place = (this.number + 1, this.round_ + 1, step.number)
                self.metrics.record(("step", *place), {"loss": step.loss, **step.measures})
                self.display.step(problems, step.loss)
                if self._due(before, problems, self.settings.evaluate_every):
                    await self.selection.develop(phase.method, place, self.origin)
                if self._due(before, problems, self.settings.save_every):
                    self._save(phase)
        except RunStopped as error:
            kept = checkpoint.latest(self.folder)
            last = f"the last good checkpoint, {kept}, is kept" if kept else "no checkpoint was saved yet"
            raise RunStopped(f"{this.name}: {error}; {last}") from error
        self._stand(this, steps, start + lesson.problems)

    def _stand(self, this: Round, step: int, problems: float) -> None:
        """Notes that so many steps of the round are taken."""
        self.position = Position(this.number, this.round_, step, problems)
        method, weights = name_of(this.phase.method), self.learner.weights
        self.origin = Origin(this.number + 1, method, this.round_ + 1, step, round(problems), weights)

    @staticmethod
    def _due(before: float, now: float, every: int) -> bool:
        return bool(every) and int(now / every + 1e-9) > int(before / every + 1e-9)

    # ── saving ──────────────────────────────────────────────────────────────────────────────────────────────

    def _save(self, phase: Phase) -> None:
        if not self.trainer.finite():
            raise RunStopped("the weights are no numbers any more; lower the learning rate in a new run")
        training, memory = self.trainer.state(), tuple(self.memory.items)
        state = State(self.position, self.learner.weights, training, memory, len(self.metrics))
        name = f"{round(self.position.problems):09d}"
        usage = self.selection.usage(phase.method, self.origin)
        checkpoint.save(self.folder / "checkpoints" / name, self.learner, usage, state)
        checkpoint.prune(self.folder, self.settings.keep)

    async def _finish(self) -> Result:
        """The final learner, the best one, and the figures of both on the test problems, read only now."""
        final, best = self.folder / "checkpoints" / "final", self.selection.best
        usage = self.selection.usage(self.recipe.phases[-1].method, self.origin)
        checkpoint.save(final, self.learner, usage)
        if not best.exists():
            checkpoint.save(best, self.learner, usage)
        used = checkpoint.usage(best)
        assert used is not None
        tested = await self.selection.test(usage)
        test, final_test = tested or (None, None)
        origin, progress = used.origin or self.origin, tuple(self.selection.progress())
        result = Result(self.folder, best, test, final, final_test, origin, progress)
        for line in result.told():
            self.display.say(line)
        return result
