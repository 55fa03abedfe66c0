"""One round played: many episodes at once, in the order of their problems; and the gates that stop a run.

Not here: which problems, and what becomes of the episodes (`run`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from sparring.common.concurrency import together
from sparring.common.errors import RunStopped
from sparring.common.seeds import Name, named_rng
from sparring.core import attempts
from sparring.core.attempts import Serving
from sparring.core.chat import LEARNER
from sparring.core.episode import Episode
from sparring.core.method import Method
from sparring.core.speaker import Speaker
from sparring.core.task import Problem, Task


async def play(
    method: Method,
    task: Task,
    problems: Sequence[Problem],
    speaker: Callable[[Problem], Speaker],
    scope: tuple[Name, ...],
    *,
    at_once: int,
    serving: Serving,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """An episode for each of `problems`, `at_once` at a time; random streams are named by `scope` and the problem;
    `serving` is what partner calls are for."""

    async def one(problem: Problem) -> Episode:
        attempts.serving.set(replace(serving, problem=problem.id))
        episode = await method.interact(problem, task, speaker(problem), named_rng(*scope, problem.id))
        on_episode(episode)
        return episode

    return await together(one, problems, at_once)


def check_failures(episodes: Sequence[Episode], partner_bound: float, learner_bound: float) -> None:
    """RunStopped if a larger share of episodes than allowed met a failure of the partner's, or came to nothing by one
    of the learner's."""
    met = [e for e in episodes if any(f.who != LEARNER and f.counts for f in e.failures)]
    lost = [e for e in episodes if e.failed and any(f.who == LEARNER for f in e.failures)]
    for found, bound, who, key in (
        (met, partner_bound, "the partner", "max_partner_failures"),
        (lost, learner_bound, "the learner", "max_learner_failures"),
    ):
        if len(found) > bound * len(episodes):
            causes = Counter(f"{f.who}: {f.kind}: {f.reason[:80]}" for e in found for f in e.failures if f.counts)
            told = "; ".join(f"{count} × {cause}" for cause, count in causes.most_common(3))
            raise RunStopped(
                f"{who} failed in {len(found)} of {len(episodes)} episodes "
                f"(bound {bound:.0%}, {key} under [run]): {told}"
            )


def summarize(episodes: Sequence[Episode]) -> dict[str, float]:
    """The mean of each note over the episodes that have it, and the share that failed or was cut off."""
    noted: dict[str, list[float]] = {}
    for episode in episodes:
        for name, value in episode.notes.items():
            if not isinstance(value, str):
                noted.setdefault(name, []).append(float(value))
    count = max(1, len(episodes))
    cut = sum(any(f.kind == "CutOff" for f in e.failures) for e in episodes)
    return {
        **{name: fmean(values) for name, values in noted.items()},
        "failed": sum(episode.failed for episode in episodes) / count,
        "cut_off": cut / count,
    }
