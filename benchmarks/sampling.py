"""Sampling beside `transformers.generate` and `generate_batch`: tokens of replies per second.

Replies have lengths of their own, drawn beforehand: ours and `generate_batch` are told each; a batch of `generate` goes
on, as it must, to the end of its longest.

    python -m benchmarks.sampling
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.contenders import drain, generate
from benchmarks.measure import Contender, Go, Watch, known, main_by_workload, race, say, write
from benchmarks.models import ids, llama
from sparring.core.speaker import Sampling
from sparring.inference.engine import Engine
from sparring.inference.sequence import Request


@dataclass(frozen=True)
class Workload:
    """`prompts` questions of so many tokens, `k` replies to each, of exponential length with this mean and cap."""

    name: str
    hidden: int
    layers: int
    prompts: int
    k: int
    shortest: int = 20
    longest: int = 120
    mean: float = 48
    cap: int = 192
    vocabulary: int = 128
    seed: int = 1
    goal: float | None = None

    def requests(self) -> list[Request]:
        """What is asked for."""
        rng = random.Random(self.seed)
        found = []
        for number in range(self.prompts):
            prompt = ids(rng, rng.randint(self.shortest, self.longest), self.vocabulary)
            for sample in range(self.k):
                limit = max(1, min(self.cap, round(rng.expovariate(1 / self.mean))))
                found.append(Request(prompt, Sampling(max_tokens=limit), number * 1000 + sample))
        return found


WORKLOADS = (
    Workload("long tail, K = 8, 128 x 2", 128, 2, 64, 8, goal=5.0),
    Workload("long tail, K = 8, 256 x 4", 256, 4, 64, 8, goal=4.5),
    Workload("long tail, K = 1, 128 x 2", 128, 2, 512, 1, goal=3.5),
    Workload("short, K = 1, 128 x 2", 128, 2, 1000, 1, 10, 20, 25, 128),
    Workload("long prompts, K = 8, 128 x 2", 128, 2, 32, 8, 500, 1000),
    Workload("vocabulary 32,000, K = 8, 256 x 4", 256, 4, 16, 8, vocabulary=32_000),
    Workload("vocabulary 128,000, batch 4, K = 1, 256 x 4", 256, 4, 16, 1, vocabulary=128_000),
)
USUAL = 32  # rows in a batch of `generate`
BATCHES = (8, 16, 32, 64, 128)  # of which the best is raced as well
TRIED = 256  # requests that the best batch is found on
PAGED = tuple((requests, page) for requests in (8, 16, 32) for page in (32, 256))  # settings of `generate_batch` tried
FEW = 64  # requests of `generate_batch`, which is slow on a CPU; all of the mean length, which spares it the long tail


def ours(workload: Workload, slots: int) -> Callable[[int, Watch], Go]:
    """The engine of this library."""
    model, requests = llama(workload.hidden, workload.layers, workload.vocabulary).eval(), workload.requests()

    return lambda turn, watch: lambda: drain(Engine(model, (), lambda found: "", slots=slots), requests)


def generating(workload: Workload, batch: int) -> Callable[[int, Watch], Go]:
    """`transformers.generate`, `batch` rows at a time, in the order asked."""
    model, requests = llama(workload.hidden, workload.layers, workload.vocabulary).eval(), workload.requests()
    return lambda turn, watch: lambda: generate(model, requests, batch)


def generate_batch(workload: Workload, paged: tuple[int, int] | None = None) -> Callable[[int, Watch], Go]:
    """`generate_batch`, the continuous batching of transformers, on FEW requests; `paged`: so many at once, and tokens
    in a page (None: its defaults)."""
    from transformers import GenerationConfig  # noqa: PLC0415
    from transformers.generation.configuration_utils import ContinuousBatchingConfig  # noqa: PLC0415

    model, requests = llama(workload.hidden, workload.layers, workload.vocabulary).eval(), workload.requests()[:FEW]
    length = round(workload.mean)
    how = GenerationConfig(max_new_tokens=length, do_sample=True, eos_token_id=-1, pad_token_id=0)

    batching = paged and ContinuousBatchingConfig(max_requests_per_batch=paged[0], page_size=paged[1])

    def go() -> float:
        asked = [list(request.ids) for request in requests]
        found = model.generate_batch(asked, generation_config=how, continuous_batching_config=batching)
        return float(sum(len(one.generated_tokens) for one in found.values()))

    return lambda turn, watch: go


def best_batch(workload: Workload, threads: int) -> int:
    """The batch with which `generate` is fastest on the first requests."""
    part = replace(workload, prompts=max(1, min(workload.prompts, TRIED // workload.k)))
    contenders = [Contender(str(batch), generating, {"workload": part, "batch": batch}) for batch in BATCHES]
    rates = race(contenders, 1, threads)
    return int(max(rates, key=lambda batch: rates[batch]["median"]))


def best_paged(workload: Workload, threads: int) -> tuple[int, int]:
    """The settings with which `generate_batch` is fastest."""
    contenders = [Contender(str(paged), generate_batch, {"workload": workload, "paged": paged}) for paged in PAGED]
    rates = race(contenders, 1, threads)
    return max(PAGED, key=lambda paged: float(rates[str(paged)]["median"]))


def run(turns: int, threads: int, only: str) -> None:
    """Races the workloads whose names have `only` in them, and writes `results/sampling.json`."""
    figures = known("sampling") if only else {}
    for workload in (workload for workload in WORKLOADS if only in workload.name):
        say(workload.name)
        best = best_batch(workload, threads)
        contenders = [
            Contender("sparring", ours, {"workload": workload, "slots": 128}),
            Contender(f"generate, batch {USUAL}", generating, {"workload": workload, "batch": USUAL}),
        ]
        if best != USUAL:
            told = {"workload": workload, "batch": best}
            contenders.append(Contender(f"generate, best batch ({best})", generating, told))
        if workload is WORKLOADS[0]:
            contenders.append(Contender("generate_batch", generate_batch, {"workload": workload}))
            at_once, page = paged = best_paged(workload, threads)
            name = f"generate_batch, best settings ({at_once} at once, pages of {page})"
            contenders.append(Contender(name, generate_batch, {"workload": workload, "paged": paged}))
        raced = race(contenders, turns, threads)
        figures[workload.name] = {"of": "tokens", "goal": workload.goal, "contenders": raced}
        write("sampling", threads, figures)


if __name__ == "__main__":
    main_by_workload(run, __doc__)
