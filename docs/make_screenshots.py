"""Take the README's pictures of the pages, with the shipped models and without any patient's pixels.

    python docs/make_screenshots.py [--out docs/images]

Needs Playwright and Chromium (LUNGVAE_CHROMIUM names one that is not on the PATH). The app is started with a
phantom as its only data, so that every lesion shown is a reconstruction or generated.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from served import SETTLED, app, chromium

TRAINING = """
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.kinds import Training
from lungvae_core.serving.workspace.settings import Settings
changes = {"width": 8, "dimensions": 16, "epochs": 200}
Jobs().start(Training.of, "phantom-dirvae", Settings().data / "phantom", "dirvae", changes, threads=1)
"""

PAGES = {
    "home": "/?model=gvae-guided",
    "tour": "/map?model=gvae-guided&tour=2",
    "map": "/map?model=gvae-guided",
    "lesion-card": "/map?model=gvae-guided&row=500",
    "traversal": "/traversal?model=gvae-guided",
    "predict": "/predict?model=gvae-guided",
    "upload": "/predict?model=gvae-guided&source=upload",
    "compare": "/compare?model=gvae-guided&row=500",
    "train": "/train?job=1",
    "search": "/search?search=demo",
    "evaluation": "/evaluation?report=dirvae-nested-mvb",
    "measured": "/measured?model=gvae-guided",
    "factors": "/factors?model=gvae",
    "clusters": "/clusters?model=gvae-guided",
    "directions": "/directions?model=gvae&direction=malignancy",
}
TALL = {"compare": 1180, "lesion-card": 1000, "search": 1180}  # heights of pages that need more than 768 px
SEARCH = ["--space", "gvae", "--trials", "12", "--halving", "--min-epochs", "1"]
SMALL = ["--set", "epochs=3", "--set", "width=4", "--choices", "dimensions=4,8,16"]


def main() -> None:
    """Start the app, look at each page, save a picture of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "images")
    parser.add_argument("--seconds", type=float, default=6, help="how long each page settles")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: f"{folder}/{name}" for name in ("data", "runs", "workspace")}
        environment = os.environ | {f"LUNGVAE_{name.upper()}": path for name, path in folders.items()}
        command = [sys.executable, "-m", "lungvae_core.cli"]
        phantom = ["phantom", "--out", f"{folder}/data/phantom", "--count", "800"]
        subprocess.run([*command, *phantom], env=environment, check=True)
        search = ["search", "--data", f"{folder}/data/phantom", "--out", f"{folder}/runs/demo"]
        subprocess.run([*command, *search, *SEARCH, *SMALL], env=environment, check=True)
        subprocess.run([sys.executable, "-c", TRAINING], env=environment, check=True)
        with app(**folders) as (url, _), chromium() as browser:
            page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme="dark")
            for name, address in PAGES.items():
                page.set_viewport_size({"width": 1366, "height": TALL.get(name, 768)})
                page.goto(url + address)
                page.locator(SETTLED).wait_for()
                page.wait_for_timeout(1000 * chosen.seconds)
                if name == "map":
                    _lasso(page)
                if name == "traversal":
                    _drag(page)
                if name == "upload":
                    _bring(page, Path(folder) / "data" / "phantom")
                page.screenshot(path=chosen.out / f"{name}.png")
                print(chosen.out / f"{name}.png")
            subprocess.run([*command, "jobs", "stop", "1"], env=environment, check=True)


def _lasso(page) -> None:
    """Draw around a group, then point at a lesion beside it."""
    box = page.locator("canvas").first.bounding_box()
    x, y = box["x"] + 0.5 * box["width"], box["y"] + 0.38 * box["height"]
    page.mouse.move(x + 40, y)
    page.mouse.down()
    for step in range(25):
        angle = 2 * math.pi * step / 24
        page.mouse.move(x + 40 * math.cos(angle), y + 40 * math.sin(angle))
    page.mouse.up()
    page.wait_for_timeout(4000)
    for across in range(60):
        page.mouse.move(x - 60 - across, y + 50)
    page.wait_for_timeout(1000)


def _drag(page) -> None:
    """Move the first two sliders, so that there is a difference to see."""
    for number in (0, 1):
        slider = page.locator("input[type=range][data-dimension]").nth(number)
        box = slider.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.85 * box["width"], box["y"] + box["height"] / 2, steps=8)
        page.mouse.up()
    page.wait_for_timeout(3000)


def _bring(page, phantom: Path) -> None:
    """Upload a slice of the phantom, as somebody would bring a lesion of their own."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, np.load(phantom / "slices.npy", mmap_mode="r")[7])
    page.locator("input[type=file]").first.set_input_files(
        {"name": "phantom.npy", "mimeType": "application/octet-stream", "buffer": content.getvalue()}
    )
    page.wait_for_timeout(6000)


if __name__ == "__main__":
    main()
