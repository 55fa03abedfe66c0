"""`docs/benchmarks.md` from the results: what stands between the marks of a race is written anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
Figures = dict[str, Any]


def write() -> None:
    """Writes the tables of all races that have results."""
    page = PAGE.read_text()
    for name, table in TABLES.items():
        result = RESULTS / f"{name}.json"
        if result.exists():
            told = json.loads(result.read_text())
            lines = "\n".join([*table(told["figures"]), "", *_machine(told.get("machine"))]).rstrip()
            before, start, rest = page.partition(f"<!-- {name} -->\n")
            _, end, after = rest.partition("<!-- end -->")
            if not end:
                raise ValueError(f"{PAGE} has no place for {name}; write <!-- {name} --> and <!-- end -->")
            page = f"{before}{start}{lines}\n{end}{after}"
    PAGE.write_text(page)


def _machine(told: Figures | None) -> Iterator[str]:
    if told:
        versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items() if name != "sparring")
        yield f"{told['processor']}, {told['cores']} cores, threads: {told['threads']}; {versions}."


def _raced(figures: Figures, memory: bool) -> Iterator[str]:
    """A line for each contender of each workload; what sparring is beside it."""
    yield "| workload | contender | a second | sparring is | goal |" + (
        " peak GiB | sparring has | goal |" if memory else ""
    )
    yield "|---|---|---:|---:|---:|" + ("---:|---:|---:|" if memory else "")
    for workload, told in figures.items():
        for name, found in told["contenders"].items():
            ours = told["contenders"]["sparring, bfloat16" if name.endswith(", bfloat16") else "sparring"]
            first, of_ours = name == "sparring", name.startswith("sparring")
            rate = f"{found['median']:,.{0 if found['median'] > 100 else 2}f} {told['of']}"
            ratio = "" if of_ours else f"{ours['median'] / found['median']:.2f} ×"
            goal = f"{told['goal']:g} ×" if told["goal"] and first else ""
            line = f"| {workload if first else ''} | {name} | {rate} | {ratio} | {goal} |"
            if memory:
                share = "" if of_ours else f"{ours['peak_gib'] / found['peak_gib']:.2f} ×"
                bound = f"≤ {told['memory_goal']:g} ×" if told["memory_goal"] and first else ""
                line += f" {found['peak_gib']:.2f} | {share} | {bound} |"
            yield line


def _sampling(figures: Figures) -> Iterator[str]:
    yield from _raced(figures, memory=False)


def _training(figures: Figures) -> Iterator[str]:
    yield from _raced(figures, memory=True)


def _rounds(figures: Figures) -> Iterator[str]:
    yield "| learner | alone | partner alone | both | of the longer | goal | orchestration | goal | checks |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name, told in figures["overlap"].items():
        alone, partner, both = (told["seconds"][who] for who in ("learner alone", "partner alone", "both"))
        yield (
            f"| {name} | {alone:.1f} s | {partner:.1f} s | {both:.1f} s | {told['times_the_longer']:.2f} × | ≤ 1.15 × |"
            f" {told['orchestration']:.1%} | ≤ 5 % | {told['checks']:.1%} |"
        )
    if peaks := dict(figures.get("memory", {})):
        ratio = peaks.pop("ratio")
        yield ""
        yield f"Peak memory: {', '.join(f'{gib:.2f} GiB for {name}' for name, gib in peaks.items())}: {ratio:.2f} ×."


def _ledger(figures: Figures) -> Iterator[str]:
    race, held = figures["race"], figures["held"]
    yield "| contender | calls a second | sparring reaches |"
    yield "|---|---:|---:|"
    for name, told in race["rates"].items():
        share = "" if name == "sparring" else f"{race['sparring_beside'][name]['median']:.2f} ×"
        yield f"| {name} | {told['median']:.0f} | {share} |"
    yield ""
    yield (
        f"A ledger of {held['calls']:,} calls: look-up {held['look_up_median'] * 1000:.2f} ms at the median, opening "
        f"{held['opening'] * 1000:.0f} ms, totals {held['totals'] * 1000:.0f} ms, {held['bytes_per_call']:,.0f} bytes "
        f"a call (each holds {held['characters_per_call']:,} characters of prompt and reply)."
    )


TABLES: dict[str, Callable[[Figures], Iterator[str]]] = {
    "pretrained": _training,
    "sampling": _sampling,
    "training": _training,
    "online": _training,
    "rounds": _rounds,
    "ledger": _ledger,
}
