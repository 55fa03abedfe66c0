"""A round of SAIE as a whole: what a slow partner adds, what the orchestration costs, and whether memory grows.

512 episodes of one turn. The partner is a server that takes 200 ms a call, 64 calls under way at once, all of them on a
ledger; or, for the learner alone, a script that says the same at once. The partner alone is asked as often by nobody
who has to think. The orchestration is all of a round that is neither the sampler's, nor the trainer's, nor the task's
check of an answer: episodes, journal, files. What these checks take is told apart.

    python -m benchmarks.rounds
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ledger import IN_FLIGHT, LATENCY, VERDICT, asked, server
from benchmarks.measure import Contender, Go, Watch, main, race, say, write

EPISODES = 512
SIZES = {"tiny": None, "256 x 4": (256, 4)}


def playing(url: str | None, size: tuple[int, int] | None, episodes: int) -> Callable[[int, Watch], Go]:
    """A round of so many episodes by a learner of this size (hidden, layers), with a program or a server as partner."""
    from sparring.config.recipe import Recipe  # noqa: PLC0415
    from sparring.models.tiny import tiny_model, tiny_tokenizer  # noqa: PLC0415
    from sparring.runs.display import Display  # noqa: PLC0415 - in the contender's process only
    from sparring.runs.run import train  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp())
    if size is not None:
        tiny_model(0, hidden=size[0], layers=size[1]).save_pretrained(folder / "model")
        tiny_tokenizer().save_pretrained(folder / "model")
    partner: dict[str, Any] = {"by": "scripted", "replies": [VERDICT]}
    if url is not None:
        partner = {"by": "endpoint", "model": "m", "base_url": url, "in_flight": IN_FLIGHT}
    recipe = Recipe.of(
        {
            "learner": {"model": "tiny" if size is None else str(folder / "model")},
            "task": {"kind": "multistep_arithmetic", "range": "easy", "train": episodes},
            "phase": [{"method": "saie", "turns": 1, "problems": episodes, "discussant": partner}],
            "run": {"evaluate_problems": 0, "test_problems": 0, "max_learner_failures": 1.0},
        }
    )
    inside = _Inside()

    def ready(turn: int, watch: Watch) -> Go:
        run = folder / f"run-{turn}"
        recipe_now = replace(recipe, run=replace(recipe.run, seed=turn))
        inside.seconds.clear()
        begun = time.process_time()
        train(recipe_now, run, display=Display(live=False))
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        told = next(line for line in lines if line["kind"] == "round")
        seconds = told["seconds_playing"] + told["seconds_learning"]
        watch.clock += seconds
        watch.processor += time.process_time() - begun
        shares = {what: spent / seconds for what, spent in inside.seconds.items()}
        watch.notes.append({**shares, "orchestration": 1 - sum(shares.values())})
        return lambda: float(episodes)

    return ready


class _Inside:
    """Counts the seconds that the sampler, the trainer and the task's checks take."""

    def __init__(self) -> None:
        from sparring.inference.engine import Engine  # noqa: PLC0415
        from sparring.tasks.multistep_arithmetic import MultistepArithmetic  # noqa: PLC0415
        from sparring.training.trainer import Trainer  # noqa: PLC0415

        self.seconds: defaultdict[str, float] = defaultdict(float)
        for kind, name, what in (
            (Engine, "step", "sampler"),
            (Trainer, "_step", "trainer"),
            (MultistepArithmetic, "is_right", "checks"),
        ):
            setattr(kind, name, self._timed(getattr(kind, name), what))

    def _timed(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[what] += time.perf_counter() - begun

        return timed


def calling(url: str, calls: int) -> Callable[[int, Watch], Go]:
    """The partner alone: its calls, on a ledger."""
    from sparring.core.chat import question  # noqa: PLC0415
    from sparring.core.speaker import Sampling  # noqa: PLC0415
    from sparring.ledger import Ledger, Recorded  # noqa: PLC0415
    from sparring.speakers.endpoint import Endpoint  # noqa: PLC0415

    folder = tempfile.mkdtemp()

    async def ask(turn: int) -> None:
        with Ledger(Path(folder) / f"{turn}.sqlite", "race") as ledger:
            partner = Recorded(Endpoint("m", url, in_flight=IN_FLIGHT), ledger, "discussant")
            await asyncio.gather(
                *(partner.reply(question(asked(turn, number)), Sampling(0.0)) for number in range(calls))
            )

    def ready(turn: int, watch: Watch) -> Go:
        def go() -> float:
            asyncio.run(ask(turn))
            return float(calls)

        return go

    return ready


def overlap(size: tuple[int, int] | None, url: str, turns: int, threads: int) -> dict[str, Any]:
    """Seconds of a learner of this size, of the partner and of both, and both as a multiple of the longer; the share of
    the learner's that is orchestration."""
    rates = race(
        [
            Contender("learner alone", playing, {"url": None, "size": size, "episodes": EPISODES}),
            Contender("partner alone", calling, {"url": url, "calls": EPISODES}),
            Contender("both", playing, {"url": url, "size": size, "episodes": EPISODES}),
        ],
        turns,
        threads,
    )
    seconds = {who: EPISODES / told["median"] for who, told in rates.items()}
    longer = max(seconds["learner alone"], seconds["partner alone"])
    notes = rates["learner alone"]["notes"]
    shares = {what: median(note[what] for note in notes) for what in ("orchestration", "checks")}
    return {"seconds": seconds, "times_the_longer": seconds["both"] / longer, **shares}


def memory(threads: int) -> dict[str, float]:
    """Peak memory (GiB) of rounds of 512 and of 5,120 episodes."""
    contenders = [
        Contender(f"{count} episodes", playing, {"url": None, "size": None, "episodes": count})
        for count in (EPISODES, 10 * EPISODES)
    ]
    return {name: told["peak_gib"] for name, told in race(contenders, 1, threads, warm_up=False).items()}


def run(turns: int, threads: int) -> None:
    """Measures, and writes `results/rounds.json`."""
    figures: dict[str, Any] = {"latency": LATENCY, "in_flight": IN_FLIGHT, "episodes": EPISODES, "overlap": {}}
    with server() as url:
        for name, size in SIZES.items():
            say(name)
            figures["overlap"][name] = overlap(size, url, turns, threads)
            write("rounds", threads, figures)
    few, many = (peaks := memory(threads)).values()
    write("rounds", threads, {**figures, "memory": {**peaks, "ratio": many / few}})


if __name__ == "__main__":
    main(run, __doc__)
