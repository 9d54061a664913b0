"""How long the live view takes to answer while many people drag at once.

    python benchmarks/live_people.py --url http://127.0.0.1:8501 --model gvae --people 20 --seconds 20

Each person is a WebSocket that moves one dimension up to 60 times a second, each time only after the last
answer, as the page does. Needs a running app.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from served import connection, spread

PER_SECOND = 60


async def drag(
    live: Any, start: str, dimension: int, until: float, phase: float = 0
) -> AsyncIterator[tuple[float, bool]]:
    """Drag a slider until the moment `until`; yields (ms until the answer, whether it is the right one)."""
    number = 0
    while (now := time.monotonic()) < until:
        number += 1
        move = [dimension, 0.5 + 0.4 * math.sin(3 * now + phase)]
        sent = time.perf_counter()
        await live.send(json.dumps({"id": number, "start": start, "move": move, "quick": True}))
        frame = await live.recv()
        took = time.perf_counter() - sent
        yield 1000 * took, not isinstance(frame, str) and int.from_bytes(frame[:4], "little") == number
        await asyncio.sleep(max(0.0, 1 / PER_SECOND - took))


async def waits_of(url: str, model: str, person: int, seconds: float) -> list[float]:
    """Milliseconds until each answer to one person."""
    async with connection(url, f"api/live/{model}") as live:
        until = time.monotonic() + seconds
        moves = drag(live, f"row:{37 * person}", person % 16, until, phase=person)
        return [wait async for wait, _ in moves]


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8501")
    parser.add_argument("--model", default="gvae")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    for people in chosen.people:
        drags = (waits_of(chosen.url, chosen.model, person, chosen.seconds) for person in range(people))
        waits = np.concatenate([each[5:] for each in await asyncio.gather(*drags)])
        print(f"{people} people: {len(waits)} images, {spread(waits)}")


if __name__ == "__main__":
    asyncio.run(main())
