"""Play one round: many episodes at once, returned in the order of their problems. Stop a run with too many failures.

`runs` chooses the problems and processes the episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from sparring.common.concurrency import bounded_gather
from sparring.common.errors import RunStopped
from sparring.common.seeds import Name, named_rng
from sparring.core import attempts
from sparring.core.attempts import Asked, Serving
from sparring.core.chat import LEARNER
from sparring.core.episode import Episode
from sparring.core.method import Method
from sparring.core.speaker import Speaker
from sparring.core.task import Problem, Task

SAMPLE_CHARACTERS = 60  # of a reply that is quoted in an error
FEWEST_FAILURES = 3  # fewer are no large share, however few episodes asked the partner


async def play(
    method: Method,
    task: Task,
    problems: Sequence[Problem],
    speaker: Callable[[tuple[Name, ...]], Speaker],
    scope: tuple[Name, ...],
    *,
    at_once: int,
    serving: Serving,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """Play an episode on each of `problems`, `at_once` at a time.

    `scope` and the problem's id name its random stream; a problem that comes again also has the count of its earlier
    episodes in the name. `speaker` gets that name. `serving` is the purpose of partner calls.
    """
    earlier: Counter[str] = Counter()
    names: list[tuple[Name, ...]] = []
    for problem in problems:
        again = earlier[problem.id]
        names.append((*scope, problem.id, again) if again else (*scope, problem.id))
        earlier[problem.id] += 1

    async def one(number: int) -> Episode:
        problem, name = problems[number], names[number]
        attempts.serving.set(replace(serving, problem=problem.id))
        attempts.asked.set(asked := Asked())
        episode = replace(await method.interact(problem, task, speaker(name), named_rng(*name)), asked=asked.once)
        on_episode(episode)
        return episode

    return await bounded_gather(one, range(len(problems)), at_once)


def check_failures(episodes: Sequence[Episode], partner_bound: float, learner_bound: float) -> None:
    """Raise RunStopped if too large a share of episodes failed.

    `partner_bound` limits episodes with any failure of the partner, among those that asked it, and `learner_bound`
    episodes lost by the learner.
    """
    partner_failed = _with_partner_failure(episodes)
    asked = _asked(episodes) if len(partner_failed) >= FEWEST_FAILURES else episodes
    lost_by_learner = [e for e in episodes if e.failed and any(f.who == LEARNER for f in e.failures)]
    for failed, among, bound, who, key in (
        (partner_failed, asked, partner_bound, "the partner", "max_partner_failures"),
        (lost_by_learner, episodes, learner_bound, "the learner", "max_learner_failures"),
    ):
        if len(failed) > bound * len(among):
            summary = commonest_failures(failed)
            kinds = {(f.who, f.kind) for e in failed for f in e.failures if f.counts}
            is_cut = kinds == {(LEARNER, "CutOff")}
            remedy = "; raise max_tokens in a new run, or begin with sft, which teaches when to end" if is_cut else ""
            words = next((f.words for e in failed for f in e.failures if f.words.strip()), "")
            sample = f", for example {words[:SAMPLE_CHARACTERS]!r}" if words else ""
            of = f"{len(among)} episodes" + ("" if len(among) == len(episodes) else " that asked it")
            raise RunStopped(
                f"{who} failed in {len(failed)} of {of} (bound {bound:.0%}, {key} under [run]): "
                f"{summary}{sample}{remedy}"
            )


def commonest_failures(episodes: Sequence[Episode], kinds: int = 3) -> str:
    """Return the `kinds` of failure that are most frequent in `episodes`, with their counts; "" if there is none."""
    causes = Counter(f"{f.who}: {f.kind}: {f.reason[:80]}" for e in episodes for f in e.failures if f.counts)
    return "; ".join(f"{count} × {cause}" for cause, count in causes.most_common(kinds))


def _with_partner_failure(episodes: Sequence[Episode]) -> list[Episode]:
    return [e for e in episodes if any(f.who != LEARNER and f.counts for f in e.failures)]


def _asked(episodes: Sequence[Episode]) -> Sequence[Episode]:
    """Return the episodes that asked the partner, or all if it fails where none is noted: its calls are not."""
    asked = [episode for episode in episodes if episode.asked]
    return asked if all(episode.asked for episode in _with_partner_failure(episodes)) else episodes


def summarize(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the mean of each note over the episodes that have it, and the shares of failed and truncated ones.

    `partner_failed` is the share of those in which the partner failed, among those that asked it.
    """
    values: dict[str, list[float]] = {}
    for episode in episodes:
        for name, value in episode.notes.items():
            if not isinstance(value, str):
                values.setdefault(name, []).append(float(value))
    count = max(1, len(episodes))
    asked = _asked(episodes)
    truncated = sum(any(f.kind == "CutOff" for f in e.failures) for e in episodes)
    return {
        **{name: fmean(numbers) for name, numbers in values.items()},
        "failed": sum(episode.failed for episode in episodes) / count,
        **({"partner_failed": len(_with_partner_failure(episodes)) / len(asked)} if asked else {}),
        "cut_off": truncated / count,
    }
