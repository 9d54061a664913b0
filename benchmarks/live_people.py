"""How long a wish of the live view takes while many people drag at once.

    python benchmarks/live_people.py --url http://127.0.0.1:8501 --model gvae --people 20 --seconds 20

Each person is a WebSocket that moves one dimension at up to 60 wishes a second, the next one only after the
last was answered, as the page does. Needs a running app.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time

import numpy as np
from websockets.asyncio.client import connect


async def drag(address: str, person: int, seconds: float) -> list[float]:
    """Milliseconds of each wish of one person."""
    waits: list[float] = []
    async with connect(address, max_size=None) as socket:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            value = 0.5 + 0.4 * math.sin(3 * now + person)
            move = [person % 16, value]
            wish = {"id": len(waits), "start": f"row:{37 * person}", "move": move, "quick": True}
            sent = time.perf_counter()
            await socket.send(json.dumps(wish))
            await socket.recv()
            waits.append(1000 * (time.perf_counter() - sent))
            await asyncio.sleep(max(0.0, 1 / 60 - (time.perf_counter() - sent)))
    return waits


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8501")
    parser.add_argument("--model", default="gvae")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    address = chosen.url.replace("http", "ws", 1) + f"/api/live/{chosen.model}"
    for people in chosen.people:
        drags = await asyncio.gather(*(drag(address, person, chosen.seconds) for person in range(people)))
        waits = np.concatenate([np.array(each[5:]) for each in drags])
        median, high = np.percentile(waits, [50, 95])
        print(
            f"{people} people: {len(waits)} images, median {median:.1f} ms, 95th percentile {high:.1f} ms, "
            f"largest {waits.max():.1f} ms"
        )


if __name__ == "__main__":
    asyncio.run(main())
