"""How the latent map feels in Chromium: first paint, panning, lasso, hover, colours, at several sizes.

    python benchmarks/map_speed.py [--model gvae] [--points 10318 13852 100000] [--runs 5]

Models of other sizes are made of the shipped one for the run: rows are repeated as other patients' and moved
a little on the map. Without pixels, images are reconstructions.

    paint      ms from the navigation to the map's first frame with all points, the server warm: in a browser
               that has nothing, in one that was here before, and when the page is clicked from another
    pan        frames a second while the map is dragged for two seconds, ms of drawing one frame (median, p95)
    turn       the same of a map in three dimensions that is turned
    lasso      ms from the button's release to the frame with the selection, and until the group is shown
    hover      ms from the pointer's move to the card with the lesion's image, of 100 lesions, and how many
               of them asked the server for one
    bytes      as sent (gzip where the browser takes it) for the first paint, and for a change of colour
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from served import ROOT, SETTLED, app, chromium

VIEWPORT = {"width": 1366, "height": 768}
SETUP = """
const find = (node, selector) => {
  for (const each of node.querySelectorAll("*")) {
    if (each.matches(selector)) return each;
    const inner = each.shadowRoot && find(each.shadowRoot, selector);
    if (inner) return inner;
  }
  return null;
};
const pointer = (canvas, kind, x, y, buttons) => canvas.dispatchEvent(new PointerEvent(kind, {
  clientX: x, clientY: y, buttons, button: kind === "pointermove" ? -1 : 0, pointerId: 1, bubbles: true,
  composed: true, isPrimary: true, pointerType: "mouse",
}));
const map = find(document, ".map");
const canvas = find(document, "canvas.overlay");
const box = canvas.getBoundingClientRect();
"""
# Drags the map for `seconds`, a move at each frame: [ms between frames, ...].
PAN = f"""
async ([seconds]) => {{
  {SETUP}
  canvas.setPointerCapture = () => {{}};
  map.querySelector("[data-tool=pan]").click();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  pointer(canvas, "pointermove", x, y, 0);
  pointer(canvas, "pointerdown", x, y, 1);
  const times = [];
  let before = await new Promise(requestAnimationFrame);
  const start = before;
  while (before - start < 1000 * seconds) {{
    const t = (before - start) / 1000;
    pointer(canvas, "pointermove", x + 90 * Math.sin(5 * t) + 8, y + 60 * Math.sin(3 * t), 1);
    const now = await new Promise(requestAnimationFrame);
    times.push(now - before);
    before = now;
  }}
  pointer(canvas, "pointerup", x, y, 0);
  return times;
}}
"""
# A lasso around the left half: ms until the selection is drawn.
LASSO = f"""
async () => {{
  {SETUP}
  canvas.setPointerCapture = () => {{}};
  map.querySelector("[data-tool=lasso]").click();
  const [cx, cy] = [box.left + box.width / 2, box.top + box.height / 2];
  pointer(canvas, "pointerdown", cx, cy - 5, 1);
  for (let i = 0; i <= 200; i++) {{
    const angle = (2 * Math.PI * i) / 200;
    const radius = 0.4 + 0.05 * Math.sin(9 * angle);
    pointer(canvas, "pointermove", cx + radius * box.width * Math.cos(angle),
      cy + radius * box.height * Math.sin(angle), 1);
  }}
  await new Promise(requestAnimationFrame);
  const start = performance.now();
  pointer(canvas, "pointerup", cx, cy - 5, 0);
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return [performance.now() - start, Number(map.dataset.selected)];
}}
"""
# Moves to 100 places: [ms until the card shows a lesion's image, ...].
HOVER = f"""
async () => {{
  {SETUP}
  const card = map.querySelector(".card");
  const times = [];
  for (let i = 0; times.length < 100 && i < 4000; i++) {{
    const [u, v] = [(0.1 + 0.618034 * i) % 0.8 + 0.1, (0.2 + 0.754878 * i) % 0.8 + 0.1];
    const before = map.dataset.card;
    const start = performance.now();
    pointer(canvas, "pointermove", box.left + u * box.width, box.top + v * box.height, 0);
    await new Promise(requestAnimationFrame);
    if (!card.hidden && map.dataset.card !== before) {{
      const image = card.querySelector("canvas");
      const pixels = image.getContext("2d").getImageData(64, 64, 128, 128).data;
      if (pixels.some((value, at) => at % 4 !== 3 && value > 0)) times.push(performance.now() - start);
      await new Promise((done) => setTimeout(done, 5));
    }}
  }}
  return times;
}}
"""


def main() -> None:
    """Measure each size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gvae")
    parser.add_argument("--points", type=int, nargs="+", default=[10_318, 13_852, 100_000])
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, Chromium headless, 1366x768")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("models", "workspace", "data"):
            (base / name).mkdir()
        names = {count: f"points-{count}" for count in chosen.points}
        for count, name in names.items():
            enlarged(ROOT / "models" / chosen.model, base / "models" / name, count)
        folders = {name: base / name for name in ("models", "workspace")}
        with app(**folders, runs=base / "runs") as (url, _), chromium() as browser:
            for count, name in names.items():
                print(f"\n{count:,} points", flush=True)
                for line in measure(browser, url, name, chosen.runs):
                    print("  " + line, flush=True)


def enlarged(source: Path, target: Path, count: int) -> None:
    """A copy of a model whose tables have `count` slices."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("map-*.parquet", "latents.parquet"))
    random = np.random.default_rng(0)
    latents = pd.read_parquet(source / "latents.parquet")
    rows = np.arange(count) % len(latents)
    turn = np.arange(count) // len(latents)
    again = latents.iloc[rows].reset_index(drop=True)
    again["patient_id"] = [
        f"{each}-{n}" if n else each for each, n in zip(again["patient_id"], turn, strict=True)
    ]
    again.to_parquet(target / "latents.parquet", index=False)
    places = pd.read_parquet(source / "map-slice.parquet").iloc[rows].reset_index(drop=True)
    spread = places.std().to_numpy() * 0.02
    places += random.normal(size=places.shape).astype("float32") * spread * (turn > 0)[:, None]
    places.astype("float32").to_parquet(target / "map-slice.parquet", index=False)
    if count == len(latents):
        shutil.copy(source / "map-nodule.parquet", target)


def measure(browser: Any, url: str, name: str, runs: int) -> list[str]:
    """The lines of one size."""
    page = browser.new_page(viewport=VIEWPORT)
    address = f"{url}/map?model={name}"
    sent: dict[str, int] = {}  # bytes by the address that they were asked for

    def finished(request: Any) -> None:
        if "/api/models/" in request.url:
            sent[request.url] = sent.get(request.url, 0) + request.sizes()["responseBodySize"]

    page.on("requestfinished", finished)
    _open(page, address)
    page.wait_for_timeout(4000)  # sprites and all caches of the server
    first = {_kind(each): size for each, size in sent.items()}
    lines = [
        _painted(browser, address, runs),
        "bytes     " + ", ".join(f"{kind} {size / 1000:,.0f} kB" for kind, size in first.items()),
        _recoloured(page, sent),
        _panned(page),
        _hovered(page, sent),
        _selected(page, runs),
    ]
    _open(page, f"{address}&dims=3")
    page.wait_for_timeout(1500)
    lines.append("turn, 3D  " + _frames(page.evaluate(PAN, [2])))
    page.close()
    return lines


def _painted(browser: Any, address: str, runs: int) -> str:
    anew, again, clicked = [], [], []
    for _ in range(runs):
        fresh = browser.new_context(viewport=VIEWPORT).new_page()
        anew.append(_open(fresh, address))
        again.append(_open(fresh, address))
        clicked.append(_clicked(fresh))
        fresh.context.close()
    return f"paint     first visit {_waits(anew)}; again {_waits(again)}; clicked {_waits(clicked)}"


def _recoloured(page: Any, sent: dict[str, int]) -> str:
    sent.clear()
    page.get_by_test_id("stMainBlockContainer").get_by_test_id("stSelectbox").first.click()
    page.get_by_role("option", name="Size: bands").click()
    page.locator(".map[data-view$='/bands']").wait_for()
    page.wait_for_timeout(500)
    kinds = ", ".join(f"{_kind(each)} {size / 1000:.1f} kB" for each, size in sent.items())
    return f"          a change of colour sends {kinds or 'nothing'}"


def _panned(page: Any) -> str:
    page.locator(".map [data-do=fit]").click()
    return "pan       " + _frames(page.evaluate(PAN, [2]))


def _hovered(page: Any, sent: dict[str, int]) -> str:
    page.locator(".map [data-do=fit]").click()
    page.evaluate(HOVER)  # once warm
    sent.clear()
    hover = page.evaluate(HOVER)
    images = sum(".png" in each for each in sent)
    if not hover:
        return "hover     no card came"
    return (
        f"hover     95th percentile {np.percentile(hover, 95):.1f} ms, largest {max(hover):.1f} ms of "
        f"{len(hover)} lesions; {images} asked the server for an image"
    )


def _selected(page: Any, runs: int) -> str:
    lassos, count, servers = [], 0, []
    for _ in range(runs):
        page.locator("canvas.overlay").press("Escape")
        page.get_by_text("Nothing selected yet").wait_for()
        start = time.perf_counter()
        took, count = page.evaluate(LASSO)
        page.get_by_text("Nothing selected yet").wait_for(state="detached")
        page.locator(SETTLED).wait_for()
        servers.append(1000 * (time.perf_counter() - start))
        lassos.append(took)
    return f"lasso     {_waits(lassos)} around {count:,} points; group shown {_waits(servers)}"


def _open(page: Any, address: str) -> float:
    """Open an address; ms from the navigation to the first painted frame of the map."""
    page.goto(address, wait_until="commit")
    page.locator(".map[data-ready]").wait_for(timeout=120_000)
    page.locator(SETTLED).wait_for()
    return float(page.evaluate("performance.getEntriesByName('latent-map-painted')[0].startTime"))


def _clicked(page: Any) -> float:
    """From Home to the map by a click on its link; ms from the click to the painted frame."""
    page.locator("[data-testid='stSidebarNavLink']").first.click()
    page.locator(".map").wait_for(state="detached")
    page.locator(SETTLED).wait_for()
    page.wait_for_timeout(700)
    start = page.evaluate(
        "() => { performance.clearMarks(); const now = performance.now(); "
        "[...document.querySelectorAll('[data-testid=stSidebarNavLink]')]"
        ".find((each) => new URL(each.href).pathname === '/map').click(); return now; }"
    )
    page.locator(".map[data-ready]").wait_for(timeout=120_000)
    return float(page.evaluate("performance.getEntriesByName('latent-map-painted')[0].startTime")) - start


def _kind(address: str) -> str:
    """What an address of the map's routes is of, such as "points"."""
    return address.partition("?")[0].rsplit("/", 1)[-1]


def _waits(times: list[float]) -> str:
    return f"median {statistics.median(times):.0f} ms, slowest {max(times):.0f}"


def _frames(times: list[float]) -> str:
    """Frames a second of the ms between them."""
    array = np.array(times[5:])
    return (
        f"{1000 / array.mean():.0f} frames a second; between frames median {np.median(array):.1f} ms, "
        f"95th percentile {np.percentile(array, 95):.1f} ms"
    )


if __name__ == "__main__":
    main()
