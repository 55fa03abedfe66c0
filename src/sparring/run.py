"""A run: phases of rounds, in a folder that can always be gone on with.

A round is played (episodes), harvested (experience) and learnt from (steps); each of these is written down before the
next begins, and the replies of an unfinished one are in its journal. So a run that was killed goes on at the stage
where it stopped: back to its newest checkpoint, then through what was saved since, sampling nothing twice.

`run.json` (versions, seed, status) · `recipe.toml` · `metrics.jsonl` · `ledger.sqlite` (partner calls) ·
`rounds/<phase>-<method>/<round>/` with `episodes.jsonl` and `experience.jsonl` · `checkpoints/` · `evaluation.json`.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit
import torch

from sparring import checkpoint
from sparring.assembly import for_use, name_of, role_fields
from sparring.attempts import Serving
from sparring.checkpoint import Position, State, Usage
from sparring.choice import Choice
from sparring.circumstances import circumstances
from sparring.display import Display
from sparring.errors import ConfigError, RunStopped
from sparring.evaluation import Evaluation, Outcome, evaluate
from sparring.experience import Experience, Memory
from sparring.files import adapter, read_json, read_jsonl, write_json, write_jsonl, write_whole, writing
from sparring.interaction import Episode
from sparring.journal import Journal
from sparring.learner import Learner
from sparring.method import Method
from sparring.metrics import Key, Metrics
from sparring.model_source import TINY
from sparring.play import check_failures, play, summary
from sparring.recipe import Phase, Recipe
from sparring.recording import asks_a_person, ready, recorded
from sparring.seeds import rng
from sparring.tables import differences, plain
from sparring.task import Problem, Split, offers
from sparring.together import wait_for
from sparring.trainer import Lesson, Reference, Trainer, needs_reference


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its best learner, and how that did on the test problems (None: not asked)."""

    folder: Path
    best: Path
    test: dict[str, Any] | None


def train(recipe: Recipe, run: str | Path, *, resume: bool = False, display: Display | None = None) -> Result:
    """Runs `recipe` in the folder `run`, or goes on with what stands there. Works in a notebook too."""
    return wait_for(Run(recipe, Path(run), resume, display or Display(live=not asks_a_person(recipe))).go())


def branch(source: Path, folder: Path, recipe: Recipe) -> None:
    """A new run of `recipe` in `folder` that has the finished run in `source` behind it: its phases are the recipe's
    first ones, and are not run again."""
    begun = _begun(source)
    table = {**recipe.table(), "budget": {}}
    changed = differences(begun, {**table, "phase": table["phase"][: len(begun["phase"])]})
    if changed:
        raise ConfigError(f"the run in {source} is not the beginning of this recipe ({'; '.join(changed[:5])})")
    with writing(folder):
        shutil.copytree(source, folder)
    write_whole(folder / "recipe.toml", recipe.toml())


def _begun(folder: Path) -> dict[str, Any]:
    """The recipe that the run in `folder` was begun with, but for its budget, which may be raised at any time."""
    return {**tomlkit.parse((folder / "recipe.toml").read_text()).unwrap(), "budget": {}}


class Run:
    """One recipe in one folder."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool, display: Display) -> None:
        self.recipe, self.folder, self.display = recipe, folder, display
        self.settings = recipe.run
        self.choice = Choice(recipe)
        self._check(resume)
        if not (folder / "recipe.toml").exists():  # a run that goes on may have all replies that it needs
            ready(recipe)
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self.learner = Learner.load(recipe.learner, self.settings.seed)
        self.trainer = Trainer(self.learner, recipe.phases[0].trainer)
        write_whole(folder / "recipe.toml", recipe.toml())  # now that nothing is left to be mended in it
        self._note("running")
        self.metrics = Metrics(folder / "metrics.jsonl")
        self.position = Position()
        self._evaluated_at: tuple[int, float] | None = None
        self.memory = Memory(recipe.phases[0].replay)

    # ── the folder ──────────────────────────────────────────────────────────────────────────────────────────

    def _check(self, resume: bool) -> None:
        """ConfigError if the folder holds a run that may not be gone on with."""
        if not (self.folder / "recipe.toml").exists():
            return
        if not resume:
            raise ConfigError(f"{self.folder} holds a run already; go on with it by --resume, or choose another folder")
        changed = differences(_begun(self.folder), {**self.recipe.table(), "budget": {}})
        if changed:
            raise ConfigError(
                f"{self.folder} was begun with another recipe ({'; '.join(changed[:5])}); "
                "go on with the same one, or choose another folder"
            )

    def _note(self, status: str, **more: Any) -> None:
        told = {"status": status, "seed": self.settings.seed, **circumstances()}
        write_json(self.folder / "run.json", {**told, **more})

    # ── the whole ───────────────────────────────────────────────────────────────────────────────────────────

    async def go(self) -> Result:
        """Runs to the end, from the newest checkpoint if there is one."""
        begun = time.monotonic()
        try:
            self._restore()
            with self.display, recorded(self.recipe, self.folder) as (phases, ledger):
                self.display.run(self.choice.total(), self.position.problems)
                if self.recipe.learner.model == "tiny":
                    self.display.say(f"learner: tiny, {TINY}; name another model under [learner]")
                for note in getattr(self.recipe.task, "notes", ()):
                    self.display.say(f"task: {note}")
                try:
                    for number, phase in list(enumerate(phases))[self.position.phase :]:
                        await self._phase(number, phase)
                finally:
                    if ledger is not None:
                        await ledger.settle()  # what is under way is being paid
                result = await self._finish()
        except (RunStopped, KeyboardInterrupt, asyncio.CancelledError) as error:
            self._note("stopped", reason=str(error) or "interrupted")
            raise
        self._note("finished", seconds=round(time.monotonic() - begun, 1))
        return result

    def _restore(self) -> None:
        found = checkpoint.latest(self.folder)
        if found is None:
            return
        state = checkpoint.state(found)
        self.position = state.position
        phase = self.recipe.phases[min(state.position.phase, len(self.recipe.phases) - 1)]
        self.learner.restore(found, state.weights)
        self.trainer.restore(state.training, phase.trainer)
        self.memory = Memory(phase.replay, state.memory)
        self.display.say(f"going on from {found.name} problems")

    async def _phase(self, number: int, phase: Phase) -> None:
        method = name_of(phase.method)
        if (self.position.round, self.position.step) == (0, 0):
            self.memory = Memory(phase.replay)
        for round_ in range(self.position.round, phase.rounds):
            if self.position.step == 0 and (round_ == 0 or phase.method.pace.lifetime == "round"):
                rounds = phase.rounds if phase.method.pace.lifetime == "phase" else 1
                self.trainer.begin(float(self.choice.count(phase) * rounds), phase.trainer)
            await self._round(number, phase, round_)
            self.position = replace(self.position, round=round_ + 1, step=0)
        if self._evaluated_at != (number, self.position.problems):  # not just now, after the last step
            await self._evaluate(phase.method, (number + 1, phase.rounds, 0))
        self.display.say(f"phase {number + 1} ({method}) is done")
        self.position = Position(number + 1, 0, 0, self.position.problems)
        self._save(phase.method)

    # ── a round ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _round(self, number: int, phase: Phase, round_: int) -> None:
        begun, sampled = time.monotonic(), self.learner.model.tokens_sampled
        folder = self.folder / "rounds" / f"{number + 1}-{name_of(phase.method)}" / f"{round_ + 1:04d}"
        name, scope = (
            f"phase {number + 1} ({name_of(phase.method)}), round {round_ + 1}",
            (self.settings.seed, number, round_),
        )
        experience, told = await self._experience(folder, phase, scope, name)
        played = time.monotonic()
        lesson = self.trainer.lesson(
            experience, phase.method.objective, self.choice.count(phase), phase.epochs or 1, scope
        )
        lesson = replace(lesson, reference=self._reference(folder, lesson, name))
        await self._learn(lesson, phase, (number, round_), name)
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
        self.display.round(name, line)
        if line.get("cut_off", 0) > 0.05:
            self.display.say(
                f"  {line['cut_off']:.0%} of the episodes have a reply that was cut at max_tokens; raise it"
            )

    async def _experience(
        self, folder: Path, phase: Phase, scope: tuple[int, int, int], name: str
    ) -> tuple[list[Experience], dict[str, float]]:
        """What the round teaches, replay included: saved before, or played now."""
        episodes_path, experience_path = folder / "episodes.jsonl", folder / "experience.jsonl"
        journal = Journal(folder / "journal.jsonl")
        if episodes_path.exists():
            episodes = read_jsonl(episodes_path, Episode)
        else:
            episodes = await self._play(
                phase.method, self.choice.round(phase, scope[1], scope[2]), (*scope, "train"), journal, name
            )
            check_failures(episodes, self.settings.max_partner_failures, self.settings.max_learner_failures)
            write_jsonl(episodes_path, episodes, Episode)
        if experience_path.exists():
            harvested = read_jsonl(experience_path, Experience)
        else:
            problems = self.choice.consulted(phase, *scope[1:])
            consulted = await self._play(
                phase.method, problems, (*scope, "development"), journal, f"{name}, consulting"
            )
            harvested = phase.method.harvest(episodes, consulted, rng(*scope, "harvest"))
            write_jsonl(experience_path, harvested, Experience)
        journal.close(keep=False)
        return self.memory.replay(harvested), summary(episodes)

    async def _play(
        self, method: Method, problems: list[Problem], scope: tuple[int, int, int, str], journal: Journal, name: str
    ) -> list[Episode]:
        self.display.stage(f"{name}: episodes", len(problems))
        sampled, begun = self.learner.model.tokens_sampled, time.monotonic()
        kept = needs_reference(method.objective)

        def told(episode: Episode) -> None:
            rate = (self.learner.model.tokens_sampled - sampled) / max(1e-9, time.monotonic() - begun)
            self.display.advance(f"{rate:.0f} tokens/s")

        return await play(
            method,
            self.recipe.task,
            problems,
            lambda problem: self.learner.voice(*scope, problem.id, journal=journal, logprobs=kept),
            scope,
            at_once=self.settings.at_once,
            serving=Serving(f"{scope[1] + 1}-{name_of(method)}", scope[2] + 1),
            on_episode=told,
        )

    # ── learning ────────────────────────────────────────────────────────────────────────────────────────────

    def _reference(self, folder: Path, lesson: Lesson, name: str) -> Reference | None:
        """The reference's log-probabilities, taken before the first step and kept for who resumes after it."""
        path = folder / "reference.json"
        if path.exists():
            known: Reference = adapter(Reference).validate_python(read_json(path))
            return known
        reference = self.trainer.reference(lesson)
        if reference is not None:
            write_json(path, asdict(reference))
            if reference.gap is not None:
                whose = f"the sampler's for {reference.sampled:.0%}" if reference.sampled else "computed for all"
                self.display.say(f"{name}: reference: {whose} (in the probe they lie {reference.gap:.1g} nats apart)")
        return reference

    async def _learn(self, lesson: Lesson, phase: Phase, place: tuple[int, int], name: str) -> None:
        """Takes the round's steps, evaluating and saving where problems say so."""
        steps = lesson.steps(self.trainer.settings.batch)
        self.display.stage(f"{name}: steps", steps - self.position.step)
        start = self.position.problems - lesson.problems * self.position.step / max(1, steps)
        try:
            for step in self.trainer.learn(lesson, done=self.position.step):
                before = self.position.problems
                problems = start + lesson.problems * step.number / steps
                self.position = Position(*place, step.number, problems)
                self.metrics.record(
                    ("step", place[0] + 1, place[1] + 1, step.number), {"loss": step.loss, **step.measures}
                )
                self.display.step(problems, step.loss)
                if self._due(before, problems, self.settings.evaluate_every):
                    await self._evaluate(phase.method, (place[0] + 1, place[1] + 1, step.number))
                if self._due(before, problems, self.settings.save_every):
                    self._save(phase.method)
        except RunStopped as error:
            kept = checkpoint.latest(self.folder)
            last = f"the last good checkpoint, {kept}, is kept" if kept else "no checkpoint was saved yet"
            raise RunStopped(f"{name}: {error}; {last}") from error
        self.position = Position(*place, steps, start + lesson.problems)

    @staticmethod
    def _due(before: float, now: float, every: int) -> bool:
        return bool(every) and int(now / every + 1e-9) > int(before / every + 1e-9)

    # ── evaluating and saving ───────────────────────────────────────────────────────────────────────────────

    async def _evaluate(self, method: Method, key: tuple[int, int, int]) -> None:
        """Asks the development problems; the best learner so far is kept."""
        problems = self._asked_of("development", self.settings.evaluate_problems)
        if not problems:
            return
        name: Key = ("development", *key)
        if (line := self.metrics.get(name)) is None:
            evaluation = await self._asked(method, problems, "-".join(map(str, key)))
            line = self.metrics.record(name, {"at": round(self.position.problems), **evaluation.plain()})
        self._evaluated_at = (key[0] - 1, self.position.problems)
        self.display.evaluated(line)
        earlier = [
            other["accuracy"] for other in self.metrics if other["kind"] == "development" and other["at"] < line["at"]
        ]
        if all(line["accuracy"] > accuracy for accuracy in earlier):
            checkpoint.save(self.folder / "checkpoints" / "best", self.learner, self._usage(method))

    def _asked_of(self, split: Split, count: int | None) -> list[Problem]:
        """The problems of `split` to be asked; none of a task that cannot tell what is right."""
        return list(self.recipe.task.problems(split))[:count] if "gold" in offers(self.recipe.task) else []

    async def _asked(self, method: Method, problems: list[Problem], name: str) -> Evaluation:
        self.display.stage("evaluating", len(problems))
        journal = Journal(self.folder / f"evaluation-{name}.journal.jsonl")

        def told(outcome: Outcome) -> None:
            self.display.advance()

        evaluation = await evaluate(
            self.recipe.task,
            problems,
            method,
            lambda problem: self.learner.voice(self.settings.seed, "evaluate", problem.id, journal=journal),
            at_once=self.settings.at_once,
            on_outcome=told,
        )
        journal.close(keep=False)
        return evaluation

    def _usage(self, method: Method) -> Usage:
        source = self.recipe.learner
        settings = plain(method, without=tuple(role_fields(type(method))))
        layout, kwargs = self.recipe.task.layout.name, dict(source.chat_template_kwargs)
        return Usage(name_of(method), settings, layout, source.thinking, kwargs, source.quantization)

    def _save(self, method: Method) -> None:
        if not self.trainer.finite():
            raise RunStopped("the weights are no numbers any more; lower the learning rate")
        state = State(self.position, self.learner.weights, self.trainer.state(), tuple(self.memory.items))
        name = f"{round(self.position.problems):09d}"
        checkpoint.save(self.folder / "checkpoints" / name, self.learner, self._usage(method), state)
        checkpoint.prune(self.folder, self.settings.keep)

    async def _finish(self) -> Result:
        """The final learner, the best one, and the best one's figures on the test problems, read only now."""
        last = self.recipe.phases[-1].method
        final = self.folder / "checkpoints" / "final"
        best = self.folder / "checkpoints" / "best"
        checkpoint.save(final, self.learner, self._usage(last))
        if not best.exists():
            checkpoint.save(best, self.learner, self._usage(last))
        problems = self._asked_of("test", self.settings.test_problems)
        if not problems:
            return Result(self.folder, best, None)
        key: Key = ("test", len(self.recipe.phases), 0, 0)
        used = checkpoint.usage(best)
        assert used is not None
        if (line := self.metrics.get(key)) is None:
            self.learner.restore(best, f"best of {len(self.recipe.phases)}")
            evaluation = await self._asked(for_use(used.method, used.settings), problems, "test")
            outcomes = [asdict(outcome) for outcome in evaluation.outcomes]
            write_json(self.folder / "evaluation.json", {**evaluation.plain(), "outcomes": outcomes})
            line = self.metrics.record(key, evaluation.plain())
        self.display.evaluated(line)
        return Result(self.folder, best, line)
