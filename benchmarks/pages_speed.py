"""How long the pages take to answer once they are warm, in Chromium and without it, and what they import.

    python benchmarks/pages_speed.py [--runs 5] [--no-browser]

With the shipped models and the data of this checkout:

    import     seconds that `import app` takes in a fresh process, and which heavy libraries it brings
    script     milliseconds of a page's script, run again with everything warm (streamlit.testing)
    heading    milliseconds from the click on the page's link to the page's heading being in the browser
    all        the same until the browser has drawn everything that the script made
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from served import ROOT, SETTLED, app, chromium

HEAVY = (
    *("torch", "sklearn", "umap", "numba", "matplotlib", "skimage", "pylidc", "ray", "optuna", "av"),
    *("pydicom", "lightning"),
)
# file -> parameters of its address with which the page shows most
PAGES = {
    "home.py": {},
    "map/latent_map.py": {"row": "500"},
    "traversal/traversal.py": {"row": "500"},
    "predict/predict.py": {"row": "500"},
    "compare.py": {"row": "500"},
    "evaluation/evaluation.py": {},
    "knowledge/measured.py": {},
    "knowledge/factors.py": {},
    "knowledge/clusters.py": {},
    "knowledge/directions.py": {},
    "work/train.py": {},
    "work/search.py": {},
}
# Clicks the link with that path; returns the milliseconds until the page has another heading, and until its
# script has ended and everything is drawn.
CLICK = """
async (path) => {
  const link = [...document.querySelectorAll("[data-testid='stSidebarNavLink']")]
    .find((each) => new URL(each.href).pathname === path);
  const heading = () => document.querySelector("[data-testid='stMain'] h1")?.innerText;
  const before = heading();
  const start = performance.now();
  let answered = NaN;
  link.click();
  while (performance.now() - start < 60000) {
    await new Promise(requestAnimationFrame);
    const state = document.querySelector("[data-testid='stApp']").dataset.testScriptState;
    if (heading() && heading() !== before && !(answered > 0)) answered = performance.now() - start;
    if (state === "notRunning" && answered > 0) return [answered, performance.now() - start];
  }
  return [NaN, NaN];
}
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-browser", action="store_true")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    seconds, heavy = imported()
    print(f"import app: {seconds:.1f} s; brings {', '.join(heavy)}")
    scripts = {file: script(file, query, chosen.runs) for file, query in PAGES.items()}
    clicks = {} if chosen.no_browser else browser(chosen.runs)
    print(f"{'page':16}{'script, ms':>12}{'heading, ms':>13}{'all, ms':>10}{'slowest':>10}")
    for file in PAGES:
        path = "/map" if file == "map/latent_map.py" else "/" if file == "home.py" else f"/{Path(file).stem}"
        times = clicks.get(path, [])
        figures = ""
        if times:
            heading, all_ = (statistics.median(each) for each in zip(*times, strict=True))
            figures = f"{heading:13.0f}{all_:10.0f}{max(last for _, last in times):10.0f}"
        print(f"{Path(file).stem:16}{statistics.median(scripts[file]):12.0f}{figures}")


def imported() -> tuple[float, list[str]]:
    """(seconds of `import app` in a fresh process, which heavy libraries are then loaded)."""
    code = (
        "import time, sys; start = time.perf_counter(); import app; "
        "import pages.shared.common, pages.shared.lesion_card, pages.predict.upload, pages.shared.film; "
        f"print(time.perf_counter() - start, *[n for n in {HEAVY!r} if n in sys.modules])"
    )
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    seconds, *heavy = output.split()
    return float(seconds), heavy


def script(file: str, query: dict[str, str], runs: int) -> list[float]:
    """Milliseconds of the page's script, warm."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=120)
    app.run().switch_page(file)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        app.run()
        times.append(1000 * (time.perf_counter() - start))
    return times


def browser(runs: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds (heading, all) after the click, by path; the first visit of each page is left out."""
    with app() as (url, _), chromium() as browser:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(f"{url}/map?row=500")
        page.locator(SETTLED).wait_for()
        return _clicks(page, runs)


def _clicks(page: Any, runs: int) -> dict[str, list[tuple[float, float]]]:
    paths = page.locator("[data-testid='stSidebarNavLink']").evaluate_all(
        "links => links.map(link => new URL(link.href).pathname)"
    )
    times: dict[str, list[tuple[float, float]]] = {path: [] for path in paths}
    for turn in range(runs + 1):
        for path in paths:
            page.wait_for_timeout(700)  # what the last page still loads is not counted against the next
            taken = page.evaluate(CLICK, path)
            if turn:
                times[path].append(tuple(taken))
    return times


if __name__ == "__main__":
    main()
