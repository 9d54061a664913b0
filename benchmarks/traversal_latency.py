"""How long from a mouse move on a traversal slider to new pixels, in Chromium, button held down.

    python benchmarks/traversal_latency.py --model gvae [--moves 60] [--runs 3] [--beside 19]

It starts the app, opens the Traversal page and drags the first slider with real mouse events. A move is shown
when the canvas first has pixels of this move or a later one: while an answer is under way only the newest
value waits, so some moves are overtaken. Three times are reported for each move:

    handled    from the slider's input event being handled to the pixels being put on the canvas
    moved      from the browser's time stamp of the mouse event (before it was handed to the page) to the same
    on screen  from that time stamp to the next animation frame, in which a compositor would show the pixels;
               without a GPU this waits for a software clock of 60 Hz

With --beside so many other people drag meanwhile, by WebSockets from this machine (`live_people.py`).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Page
from served import app, chromium, spread

# Records every input event and every decoded image; runs in the page before the drag.
RECORD = """
() => {
  const record = { inputs: [], puts: [] };
  window.__record = record;
  let stamp = 0;
  document.addEventListener("pointermove", (event) => { stamp = event.timeStamp; }, true);
  document.addEventListener("input", (event) => {
    const input = event.composedPath()[0];
    if (input.type === "range") {
      record.inputs.push({ value: Number(input.value), handled: performance.now(), stamp });
    }
  }, true);
  document.addEventListener("decoded", (event) => {
    const put = { value: event.detail.move ? event.detail.move[1] : null, put: event.detail.put };
    record.puts.push(put);
    requestAnimationFrame(() => { put.frame = performance.now(); });
  });
}
"""


@contextmanager
def others(url: str, model: str, count: int) -> Iterator[None]:
    """Other people who drag meanwhile, simulated by another process."""
    if not count:
        yield
        return
    script = Path(__file__).with_name("live_people.py")
    options = ["--url", url, "--model", model, "--people", str(count), "--seconds", "3600"]
    process = subprocess.Popen([sys.executable, str(script), *options], stdout=subprocess.DEVNULL)
    try:
        time.sleep(5)
        yield
    finally:
        process.terminate()
        process.wait(10)


def drag(page: Page, moves: int, pause_ms: float) -> dict:
    """Drag the first slider there and back with the button down; the page's record of it."""
    slider = page.locator("input[type=range][data-dimension]").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    share = float(slider.evaluate("e => (e.value - e.min) / (e.max - e.min)"))
    radius = 8
    x = box["x"] + radius + share * (box["width"] - 2 * radius)
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(RECORD)
    left, right = box["x"] + 20, box["x"] + box["width"] - 20
    for at in range(moves):
        phase = (1 - np.cos(2 * np.pi * (at + 1) / moves)) / 2
        page.mouse.move(left + (right - left) * phase, y)
        page.wait_for_timeout(pause_ms)
    page.wait_for_timeout(400)
    record = page.evaluate("window.__record")  # before the button is let go
    page.mouse.up()
    return record


def latencies(record: dict) -> dict[str, np.ndarray]:
    """Milliseconds of each move, by kind; moves without any later pixels are an error."""
    puts = [put for put in record["puts"] if put["value"] is not None]
    times: dict[str, list[float]] = {"handled": [], "moved": [], "on screen": []}
    values, order = [event["value"] for event in record["inputs"]], [0]
    for put in puts:  # which input each answer belongs to; answers come in order
        if put["value"] not in values[order[-1] :]:
            raise SystemExit("an answer belongs to no move")
        order.append(values.index(put["value"], order[-1]))
    for number, event in enumerate(record["inputs"]):
        shown = next((put for put, of in zip(puts, order[1:], strict=True) if of >= number), None)
        if shown is None:
            raise SystemExit("a move was never shown")
        times["handled"].append(shown["put"] - event["handled"])
        times["moved"].append(shown["put"] - event["stamp"])
        times["on screen"].append(shown["frame"] - event["stamp"])
    return {name: np.array(values) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a model's name")
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--pause", type=float, default=16, help="milliseconds between moves")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", type=int, default=0, help="other people who drag meanwhile")
    arguments = parser.parse_args()
    with app() as (url, _), chromium() as browser, others(url, arguments.model, arguments.beside):
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(f"{url}/traversal?model={arguments.model}&start=prior")
        page.locator("input[type=range][data-dimension]").first.wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        everything: dict[str, list[np.ndarray]] = {}
        for run in range(arguments.runs):
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            record = drag(page, arguments.moves, arguments.pause)
            page.wait_for_timeout(1500)  # the rerun after the release
            times = latencies(record)
            print(
                f"run {run + 1}: {len(record['inputs'])} moves, {len(record['puts'])} images, "
                f"load average {load:.1f}"
            )
            for name, values in times.items():
                everything.setdefault(name, []).append(values)
                print(f"  {name:<10} {spread(values)}")
        print(f"all runs, {arguments.model}:")
        for name, parts in everything.items():
            print(f"  {name:<10} {spread(np.concatenate(parts))}")
        print(f"{os.cpu_count()} cores, {processor()}, Chromium {browser.version}, {platform.platform()}")


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return name[1] if name else platform.processor()


if __name__ == "__main__":
    main()
