"""What recording costs: a speaker on a ledger beside the plain `openai` client, and beside litellm where there is one.

Every call takes 200 ms at a server in a process of its own; 64 are under way at once. Ours writes each request and
reply to the disk before it is used; the others keep nothing. Then a ledger that holds a million calls: how long it
takes to open, to find a reply and to add up, and its size.

    python -m benchmarks.ledger
    python -m benchmarks.ledger --litellm other/bin/python     # litellm pins an older openai: its own environment
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import openai

from benchmarks.measure import Contender, Go, Watch, machine, race, say, write
from sparring.core.chat import Chat, question
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply
from sparring.ledger import Ledger, Recorded, totals
from sparring.speakers.endpoint import Endpoint

LATENCY, IN_FLIGHT = 0.2, 64
THREADS = 1
VERDICT = "Response A names the step that goes wrong and mends it; response B repeats it. [[A]]"
PROMPT = "Compare two responses to a user's query. " * 20  # 820 characters, and a number that makes it another call
SAMPLING = Sampling(0.0, max_tokens=256)
LOOKED_UP = 2000


def asked(turn: int, number: int) -> str:
    """What the `number`-th call of a turn asks."""
    return f"{PROMPT}{turn}-{number}"


# ── the server ──────────────────────────────────────────────────────────────────────────────────────────────


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a server whose every reply takes LATENCY."""
    message = {"role": "assistant", "content": VERDICT}
    usage = {"prompt_tokens": 210, "completion_tokens": 20, "total_tokens": 230}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    told = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(told).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, length = lines.partition(b"content-length:")
            await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
            await asyncio.sleep(LATENCY)
            writer.write(head + body)
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.close()


def serve(pipe: Connection) -> None:
    """Serves until the process is ended; tells its URL."""

    async def forever() -> None:
        listener = await asyncio.start_server(answer, "127.0.0.1", 0)
        pipe.send(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
        await listener.serve_forever()

    asyncio.run(forever())


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


# ── contenders ──────────────────────────────────────────────────────────────────────────────────────────────


def ours(url: str, calls: int, folder: str) -> Callable[[int, Watch], Go]:
    """An endpoint on a ledger, a new one for each turn; opening and closing it counts."""

    async def ask(turn: int) -> None:
        endpoint = Endpoint("m", url, in_flight=IN_FLIGHT, retries=0)
        with Ledger(Path(folder) / f"{turn}.sqlite", "race") as ledger:
            judge = Recorded(endpoint, ledger, "judge")
            replies = (judge.reply(question(asked(turn, number)), SAMPLING) for number in range(calls))
            for reply in await asyncio.gather(*replies):
                assert reply.text == VERDICT
        recorded = totals(Path(folder) / f"{turn}.sqlite")
        assert sum(total.calls for total in recorded) == calls

    return _asking(ask, calls)


def plain(url: str, calls: int) -> Callable[[int, Watch], Go]:
    """The `openai` client in a loop such as everybody writes."""

    async def ask(turn: int) -> None:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int) -> str | None:
            async with room:
                messages: Any = [{"role": "user", "content": asked(turn, number)}]
                found = await client.chat.completions.create(
                    model="m", messages=messages, temperature=0, max_tokens=SAMPLING.max_tokens
                )
                return found.choices[0].message.content

        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            assert set(await asyncio.gather(*map(one, range(calls)))) == {VERDICT}

    return _asking(ask, calls)


def _asking(ask: Callable[[int], Coroutine[Any, Any, None]], calls: int) -> Callable[[int, Watch], Go]:
    def ready(turn: int, watch: Watch) -> Go:
        def go() -> float:
            asyncio.run(ask(turn))
            return float(calls)

        return go

    return ready


LITELLM = """
import asyncio, json, os, sys, time
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
url, calls, in_flight, prompt, tokens = json.loads(sys.argv[1])

async def ask(turn):
    room = asyncio.Semaphore(in_flight)
    async def one(number):
        async with room:
            found = await litellm.acompletion(
                model="openai/m", api_base=url, api_key="none", num_retries=0, temperature=0, max_tokens=tokens,
                messages=[{"role": "user", "content": f"{prompt}{turn}-{number}"}],
            )
            return found.choices[0].message.content
    return set(await asyncio.gather(*map(one, range(calls))))

for line in sys.stdin:
    before = time.process_time()
    found = asyncio.run(ask(int(line)))
    print(json.dumps([sorted(found), time.process_time() - before]), flush=True)
"""


def litellm(url: str, calls: int, python: str) -> Callable[[int, Watch], Go]:
    """`litellm.acompletion` in the same loop, under an interpreter that has it."""
    settings = json.dumps([url, calls, IN_FLIGHT, PROMPT, SAMPLING.max_tokens])
    child = subprocess.Popen(
        [python, "-c", LITELLM, settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdin is not None
    assert child.stdout is not None

    def ready(turn: int, watch: Watch) -> Go:
        def go() -> float:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(f"{turn}\n")
            found, seconds = json.loads(child.stdout.readline())
            assert found == [VERDICT]
            watch.processor += seconds
            return float(calls)

        return go

    return ready


def version_of_litellm(python: str) -> str | None:
    """The litellm that `python` has, None if it has none."""
    told = "from importlib.metadata import version; print(version('litellm'))"
    return subprocess.run([python, "-c", told], capture_output=True, text=True, check=False).stdout.strip() or None


def raced(calls: int, pairs: int, python: str) -> dict[str, Any]:
    """Calls a second of each contender, and the ratios of ours to the others."""
    with server() as url, tempfile.TemporaryDirectory() as folder:
        settings = {"url": url, "calls": calls}
        contenders = [Contender("sparring", ours, {**settings, "folder": folder}), Contender("openai", plain, settings)]
        if version := version_of_litellm(python):
            contenders.append(Contender("litellm", litellm, {**settings, "python": python}))
        else:
            say(f"  {python} has no litellm: it does not take part")
        rates = race(contenders, pairs, THREADS)
    if version:
        del rates["litellm"]["peak_gib"]  # of the process that waits for it
    mine = rates["sparring"]
    beside = {
        name: {figure: mine[figure] / found[figure] for figure in ("median", "median_of_processor")}
        for name, found in rates.items()
        if name != "sparring"
    }
    how = {"calls": calls, "latency": LATENCY, "in_flight": IN_FLIGHT, "litellm": version or "not installed"}
    return {**how, "rates": rates, "sparring_beside": beside}


# ── a ledger that holds many calls ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Instant:
    """A speaker that replies at once, so that what takes time is the ledger."""

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        return text_reply(VERDICT, PARTNER)

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        return Endpoint("m", "http://localhost/v1").request(chat, sampling, sample)


async def fill(path: Path, count: int) -> None:
    """Records `count` calls, a thousand at a time."""
    with Ledger(path, "fill") as ledger:
        judge = Recorded(Instant(), ledger, "judge")
        for start in range(0, count, 1000):
            numbers = range(start, min(start + 1000, count))
            await asyncio.gather(*(judge.reply(question(asked(0, number)), SAMPLING) for number in numbers))


async def look_up(ledger: Ledger, count: int) -> list[float]:
    """Seconds for each of many replies that are held, drawn at random, one after another."""
    judge, rng, seconds = Recorded(Instant(), ledger, "judge"), random.Random(0), []
    for _ in range(LOOKED_UP):
        chat = question(asked(0, rng.randrange(count)))
        start = time.perf_counter()
        await judge.reply(chat, SAMPLING)
        seconds.append(time.perf_counter() - start)
    return seconds


def held(count: int) -> dict[str, Any]:
    """Figures of a ledger of `count` calls; seconds and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        start = time.perf_counter()
        asyncio.run(fill(path, count))
        filling = time.perf_counter() - start
        start = time.perf_counter()
        ledger = Ledger(path, "fill")
        opening = time.perf_counter() - start
        with ledger:
            looking = asyncio.run(look_up(ledger, count))
        start = time.perf_counter()
        assert sum(total.calls for total in totals(path)) == count
        adding = time.perf_counter() - start
        size = path.stat().st_size
    return {
        "calls": count,
        "characters_per_call": len(asked(0, count)) + len(VERDICT),
        "bytes_per_call": size / count,
        "recorded_per_second": count / filling,
        "opening": opening,
        "look_up_median": median(looking),
        "totals": adding,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=5000, help="calls of each contender in a turn (default: 5000)")
    parser.add_argument("--pairs", type=int, default=5, help="turns of each contender (default: 5)")
    parser.add_argument("--held", type=int, default=1_000_000, help="calls in the large ledger (default: a million)")
    parser.add_argument("--litellm", default=sys.executable, metavar="PYTHON", help="an interpreter that has litellm")
    parser.add_argument("--output", type=Path, help="where to write instead of benchmarks/results/ledger.json")
    told = parser.parse_args()
    figures = {"race": raced(told.calls, told.pairs, told.litellm), "held": held(told.held)}
    if told.output is None:
        write("ledger", THREADS, figures)
    else:
        found = {"name": "ledger", "machine": machine(THREADS), "figures": figures}
        told.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
