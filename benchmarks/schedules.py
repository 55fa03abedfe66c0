"""What fewer comparisons cost: a Swiss tournament beside all pairs, and beside as many pairs drawn at random.

Simulated, so that the truth is known. K answers have qualities drawn from a normal distribution (mean 0, deviation 1).
The judge prefers the first of two with probability sigmoid((q_first - q_second) / noise + bias); asked the same twice,
it says the same. Of each schedule: its calls; how often its best and its worst answer are those of all pairs; the
regret, by how much the quality of its best answer is below the best there is (and of its worst above the worst); and
the gap between the two, which is what a preference is made of.

    python -m benchmarks.schedules --trials 1000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from statistics import fmean

from sparring.common.ranking import swiss_rounds
from sparring.common.seeds import named_rng
from sparring.core.partner import Scores, Verdict, by_pairs, by_swiss
from sparring.parsing.thought import NONE, Answer

RESULTS = Path(__file__).parent / "results" / "schedules.json"
PLAYERS = (4, 8, 16)
NOISES = (0.25, 0.5, 1.0)  # of two answers a deviation apart, the better is told in 98, 88, 73 % of the calls
BIASES = (0.0, 1.0)  # of two equal answers, the first is preferred in 50, 73 % of the calls
SAME = 1e-6  # scores nearer than this are equal: rounding of Bradley-Terry


class Judge:
    """Prefers the better of two answers, with noise and a liking for the first place; counts what it is asked."""

    def __init__(self, qualities: Sequence[float], noise: float, bias: float, rng: random.Random) -> None:
        self.calls = 0
        self._verdicts: dict[tuple[int, int], Verdict] = {}
        for first, second in product(range(len(qualities)), repeat=2):
            strength = 1 / (1 + math.exp(-(qualities[first] - qualities[second]) / noise - bias))
            self._verdicts[first, second] = "first" if rng.random() < strength else "second"

    async def compare(self, first: Answer, second: Answer) -> Verdict:
        self.calls += 1
        return self._verdicts[int(first.text), int(second.text)]


async def at_random(judge: Judge, answers: Sequence[Answer], pairs: int, rng: random.Random) -> Scores:
    """Scores from `pairs` pairs drawn at random, both orders; the others count as ties, which is not at all."""
    met = set(map(frozenset, rng.sample(list(combinations(answers, 2)), pairs)))

    async def compare(first: Answer, second: Answer) -> Verdict:
        return await judge.compare(first, second) if frozenset((first, second)) in met else "tie"

    return await by_pairs(compare, answers)


async def trial(players: int, noise: float, bias: float, number: int) -> dict[str, dict[str, float]]:
    """Figures of each schedule on the same answers and the same judge."""
    rng = named_rng("schedules", players, noise, bias, number)
    qualities = [rng.gauss(0, 1) for _ in range(players)]
    judge = Judge(qualities, noise, bias, rng)
    answers = [NONE.split(str(place)).answer for place in range(players)]
    found: dict[str, dict[str, float]] = {}
    truth: tuple[float | None, ...] = ()
    usual = swiss_rounds(players)
    for name in ("all", *(f"swiss, {rounds} rounds" for rounds in range(usual - 1, usual + 2)), "random"):
        before = judge.calls
        if name == "all":
            truth = (scores := await by_pairs(judge.compare, answers)).values
        elif name == "random":
            scores = await at_random(judge, answers, int(found[f"swiss, {usual} rounds"]["calls"]) // 2, rng)
        else:
            scores = await by_swiss(judge.compare, answers, rng, int(name.split()[1]))
        found[name] = {"calls": judge.calls - before, **measured(scores.values, truth, qualities)}
    return found


def measured(
    values: Sequence[float | None], truth: Sequence[float | None], qualities: Sequence[float]
) -> dict[str, float]:
    """How `values` compare with the scores of all pairs (`truth`) and with the qualities."""
    scores, all_pairs = [float(value or 0.0) for value in values], [float(value or 0.0) for value in truth]
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    return {
        "same_best": max(all_pairs) - all_pairs[best] < SAME,
        "same_worst": all_pairs[worst] - min(all_pairs) < SAME,
        "regret_best": max(qualities) - qualities[best],
        "regret_worst": qualities[worst] - min(qualities),
        "gap": qualities[best] - qualities[worst],
    }


async def measure(trials: int) -> list[dict[str, float | str]]:
    """A line for each setting and schedule: means over trials."""
    lines: list[dict[str, float | str]] = []
    for players, noise, bias in product(PLAYERS, NOISES, BIASES):
        found = [await trial(players, noise, bias, number) for number in range(trials)]
        for name in found[0]:
            means = {key: round(fmean(one[name][key] for one in found), 4) for key in found[0][name]}
            lines.append({"answers": players, "noise": noise, "bias": bias, "schedule": name, **means})
    return lines


def table(lines: Sequence[dict[str, float | str]]) -> str:
    """The lines as a Markdown table."""
    heads = list(lines[0])
    rows = [heads, ["---"] * len(heads), *([f"{value}" for value in line.values()] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=1000, help="sets of answers for each setting (default: 1000)")
    trials = parser.parse_args().trials
    lines = asyncio.run(measure(trials))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"trials": trials, "lines": lines}, indent=1) + "\n")
    print(table(lines))


if __name__ == "__main__":
    main()
