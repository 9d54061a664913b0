"""What a page costs the server: processor time, messages and bytes, one person alone.

    python benchmarks/page_cost.py [--rounds 10] [--pages map,traversal,predict]

With twenty people pages wait for each other, so waits grow much faster than costs. Costs can be compared
between changes, even on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import numpy as np
from served import app, connection, page_request
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


def processor_seconds(process: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def costs(url: str, process: int, pages: list[str], rounds: int) -> None:
    """Open the pages in turn, of one lesion after another, and print a line a page, after a warm-up."""
    random = np.random.default_rng(0)
    seen: dict[str, list[tuple[float, int, int]]] = {page: [] for page in pages}
    async with connection(url, "_stcore/stream", "streamlit") as socket:
        for _ in range(rounds + 1):
            for page in pages:
                request = page_request(page, f"model=gvae&row={random.integers(0, 10_000)}")
                before, messages, size = processor_seconds(process), 0, 0
                await socket.send(request)
                while True:
                    answer = await socket.recv()
                    messages, size = messages + 1, size + len(answer)
                    if ForwardMsg.FromString(answer).WhichOneof("type") == "script_finished":
                        break
                await asyncio.sleep(0.3)
                seen[page].append((1000 * (processor_seconds(process) - before), messages, size))
    for page, each in seen.items():
        time, messages, size = np.median(each[1:], axis=0)
        print(f"{page:10} {time:5.0f} ms of processor time, {messages:.0f} messages, {size / 1000:.0f} kB")


def main() -> None:
    """Start the app, open its pages, print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pages", default="map,traversal,predict")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        app(runs=Path(folder) / "runs", workspace=Path(folder) / "workspace") as (url, server),
    ):
        asyncio.run(costs(url, server.pid, chosen.pages.split(","), chosen.rounds))


if __name__ == "__main__":
    main()
