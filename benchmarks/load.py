"""Many people at once for minutes, with and without a training beside them: errors, waits, memory.

    python benchmarks/load.py [--people 20] [--minutes 10] [--training] [--data data/lidc]
    python benchmarks/load.py --moves 200000

A person is what a browser is to the server: Streamlit's own WebSocket with its messages, the live view's
WebSocket, and HTTP. In turn each opens the map (its places, colours and facts, then images of lesions), drags
a slider of the traversal for about ten seconds, up to 60 moves a second, and has a lesion judged on the
Predict page, with pauses between. All run on this machine beside the server. With --training a training on
the CPU runs as a job from the first minute to the end. With --moves one session sends that many moves, each
as soon as the last is answered.

The strip of the Traversal page is requested as soon as the page is there, as by a browser; the film further
down is not, as by a browser that is not scrolled.

Printed: waits (median, 95th, 99th percentile, largest), failures, and the server's memory after warm-up (a
fifth of the time) and at the end, each the median of a minute. The exit code is 1 after any failure: a page
that shows an error, a broken connection, or an answer to another request.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from live_people import drag
from served import ROOT, app, connection, page_request, spread
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

DRAG_SECONDS = 10
_STRIP = re.compile(r"strips/\w+\.png")
LONGEST = 60  # seconds for which a page may send nothing


@dataclass
class Seen:
    """What all people saw."""

    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # ms, by kind of request
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def lines(self) -> list[str]:
        """A line a kind of wait."""
        lines = []
        for what, waits in sorted(self.waits.items()):
            median, high, higher = np.percentile(waits, [50, 95, 99])
            lines.append(
                f"{what:10} {len(waits):8,}   median {median:7.1f} ms   95th {high:7.1f}   99th {higher:7.1f}"
                f"   largest {max(waits):7.0f}"
            )
        return [*lines, f"failed     {dict(self.failed) or 'nothing'}"]


class Person:
    """One person in a browser."""

    def __init__(self, url: str, model: str, number: int, seen: Seen) -> None:
        self.url, self.model, self.seen = url, model, seen
        self.random = np.random.default_rng(number)
        self.tags: dict[str, str] = {}
        self.strip = ""  # where the picture of the traversal page is

    async def stay(self, until: float) -> None:
        """Go round until the moment `until`, and come back after any failure, which is counted."""
        while time.monotonic() < until:
            try:
                await self._session(until)
            except Exception as error:
                self.seen.failed[f"session: {type(error).__name__}: {error}"[:120]] += 1
                await asyncio.sleep(1)

    async def _session(self, until: float) -> None:
        async with connection(self.url, "_stcore/stream", "streamlit") as page:
            while time.monotonic() < until:
                row = int(self.random.integers(0, 10_000))
                await self._page(page, "map", f"model={self.model}&row={row}")
                for path in ("points?unit=slice&method=umap&dims=2&map=", "lesions?unit=slice"):
                    await self._get(path)
                await self._get("colours?unit=slice&by=" + str(self.random.choice(["malignancy", "bands"])))
                for _ in range(3):
                    await self._get(f"slices/{self.random.integers(0, 10_000)}.png", "image")
                await self._pause(2)
                await self._page(page, "traversal", f"model={self.model}&row={row}")
                await self._get(self.strip, "strip")
                await self._drag(row, min(until, time.monotonic() + DRAG_SECONDS))
                await self._page(page, "predict", f"model={self.model}&row={row}")
                await self._pause(2)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * float(self.random.uniform(0.5, 1.5)))

    async def _page(self, page: Any, name: str, query: str) -> None:
        """Open a page and read until its script has ended."""
        start = time.perf_counter()
        await page.send(page_request(name, query))
        while True:
            answer = ForwardMsg.FromString(await asyncio.wait_for(page.recv(), LONGEST))
            kind, element = answer.WhichOneof("type"), answer.delta.new_element
            if strip := _STRIP.search(element.html.body if kind == "delta" else ""):
                self.strip = strip[0]
            if kind == "delta" and element.WhichOneof("type") == "exception":
                self.seen.failed[f"{name}: {element.exception.message}"[:120]] += 1
            elif kind == "page_not_found":
                self.seen.failed[f"{name}: page not found"] += 1
            elif kind == "script_finished" and answer.script_finished != answer.FINISHED_EARLY_FOR_RERUN:
                break
        self.seen.waits[f"page {name}"[:10]].append(1000 * (time.perf_counter() - start))

    async def _get(self, path: str, what: str = "data") -> None:
        """Request a path of the core's routes, with its tag if it was received before."""
        address = f"{self.url}/api/models/{self.model}/{path}"
        start = time.perf_counter()
        try:
            await asyncio.to_thread(self._fetch, address)
        except OSError as error:
            self.seen.failed[f"{what}: {error}"[:120]] += 1
        self.seen.waits[what].append(1000 * (time.perf_counter() - start))

    def _fetch(self, address: str) -> None:
        request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})
        if address in self.tags:
            request.add_header("If-None-Match", self.tags[address])
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
                if tag := answer.headers.get("ETag"):
                    self.tags[address] = tag
        except urllib.error.HTTPError as error:
            if error.code != 304:
                raise

    async def _drag(self, row: int, until: float) -> None:
        async with connection(self.url, f"api/live/{self.model}") as live:
            async for wait, right in drag(live, f"row:{row}", int(self.random.integers(0, 16)), until):
                if not right:
                    self.seen.failed["drag: another answer"] += 1
                self.seen.waits["drag"].append(wait)


def resident_mb(process: int) -> float:
    """Resident memory of a process's own in MB; files that it maps, such as the slices, are not its own."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


async def watch(process: int, until: float, every: float = 5) -> list[tuple[float, float]]:
    """(seconds, MB) of the server until the moment `until`."""
    start, samples = time.monotonic(), []
    while time.monotonic() < until:
        samples.append((time.monotonic() - start, resident_mb(process)))
        await asyncio.sleep(every)
    return samples


def memory_line(samples: list[tuple[float, float]]) -> str:
    """The server's memory after warm-up and at the end."""
    at, mb = np.array(samples).T
    width = max(min(60.0, at[-1] / 5), 10.0)
    begin = np.median(mb[(at >= at[-1] / 5) & (at <= at[-1] / 5 + width)])
    end = np.median(mb[at >= at[-1] - width])
    return (
        f"memory     {begin:.0f} MB after warm-up, {end:.0f} MB at the end "
        f"({100 * (end / begin - 1):+.1f} %), most {mb.max():.0f} MB"
    )


async def people(url: str, process: int, model: str, count: int, minutes: float) -> Seen:
    """`count` people for so many minutes; prints and returns what was seen."""
    seen = Seen()
    until = time.monotonic() + 60 * minutes
    each = [Person(url, model, number, seen).stay(until) for number in range(count)]
    memory, _ = await asyncio.gather(watch(process, until), asyncio.gather(*each))
    print(*seen.lines(), memory_line(memory), sep="\n", flush=True)
    return seen


async def moves(url: str, process: int, model: str, count: int) -> None:
    """One session that sends `count` moves; prints its waits and the server's memory along the way."""
    waits, begin = [], 0.0
    async with connection(url, f"api/live/{model}") as live:
        for number in range(count):
            move = [number % 16, 0.5 + 0.4 * float(np.sin(number / 9))]
            sent = time.perf_counter()
            await live.send(json.dumps({"id": number, "start": "prior", "move": move, "quick": True}))
            await live.recv()
            waits.append(1000 * (time.perf_counter() - sent))
            if number == count // 20:
                begin = resident_mb(process)
            if (number + 1) % max(count // 10, 1) == 0:
                print(f"{number + 1:9,} moves: {resident_mb(process):.0f} MB", flush=True)
    end = resident_mb(process)
    print(
        f"{count:,} moves: {spread(waits)}; memory {begin:.0f} MB after {count // 20:,}, {end:.0f} MB at the "
        f"end ({100 * (end / begin - 1):+.1f} %)"
    )


def main() -> int:
    """Start the app, load it, print what was seen; 1 where anything failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gvae")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--moves", type=int, default=0)
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "lidc")
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        own = {name: Path(folder) / name for name in ("runs", "workspace")}
        with app(**own) as (url, server):
            if chosen.moves:
                asyncio.run(moves(url, server.pid, chosen.model, chosen.moves))
                return 0
            beside = " beside a training" if chosen.training else ""
            with training(chosen.data, own) if chosen.training else contextlib.nullcontext():
                print(f"{chosen.people} people for {chosen.minutes:g} minutes{beside}", flush=True)
                seen = asyncio.run(people(url, server.pid, chosen.model, chosen.people, chosen.minutes))
    return 1 if seen.failed else 0


@contextlib.contextmanager
def training(data: Path, folders: dict[str, Path]) -> Iterator[None]:
    """Train as a job meanwhile; prints how far it came, and stops it."""
    from lungvae_core.serving.jobs.kinds import Training
    from lungvae_core.serving.jobs.queue import Jobs
    from lungvae_core.serving.workspace.settings import Settings

    jobs = Jobs(Settings(models=ROOT / "models", data=data.parent, **folders))
    job = jobs.start(Training.of, "beside", data, "dirvae", {"epochs": 1000}, device="cpu", threads=1)
    yield
    epochs = (folders["runs"] / "beside" / "metrics.jsonl").read_text().count("\n")
    print(f"training   {jobs.get(job.id).status}, {epochs} epochs finished")
    jobs.stop(job.id)
    while jobs.get(job.id).active:
        time.sleep(0.5)
    print(f"           {jobs.get(job.id).status} when it was asked to")


if __name__ == "__main__":
    sys.exit(main())
