"""Take the README's pictures of the pages, with the shipped models and without any patient's pixels.

    python docs/make_screenshots.py [--out docs/images]

Needs Playwright and Chromium (LUNGVAE_CHROMIUM names one that is not on the PATH). The app is started with
empty data and run folders, so that every lesion shown is a reconstruction.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PAGES = {
    "home": "/?model=gvae",
    "map": "/map?model=gvae",
    "traversal": "/traversal?model=gvae",
    "predict": "/predict?model=gvae",
    "train": "/train",
}


def main() -> None:
    """Start the app, look at each page, save a picture of it."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "images")
    parser.add_argument("--seconds", type=float, default=6, help="how long each page settles")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        empty = {f"LUNGVAE_{name}": f"{folder}/{name}" for name in ("DATA", "RUNS", "WORKSPACE")}
        command = [sys.executable, "-m", "lungvae_core.cli", "app", "--port", str(port)]
        server = subprocess.Popen(command, env=os.environ | empty, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/api/health")
            binary = os.environ.get("LUNGVAE_CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            for name, address in PAGES.items():
                page.goto(url + address)
                page.locator("[data-testid='stApp'][data-test-script-state='notRunning']").wait_for()
                page.wait_for_timeout(1000 * chosen.seconds)
                if name == "traversal":
                    _drag(page)
                page.screenshot(path=chosen.out / f"{name}.png")
                print(chosen.out / f"{name}.png")
            browser.close()
        finally:
            server.terminate()
            server.wait(10)


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


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The app did not start.")


if __name__ == "__main__":
    main()
