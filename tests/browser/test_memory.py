"""Nothing piles up: after 1,000 slider moves and 100 changes of page, server and browser are as large."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.conftest import PROCESSES, settled

MOVES, CHANGES = 1000, 100
# With the shipped models the server was 24 and 96 MB smaller afterwards, in two runs, and the page's heap 3
# MB larger: two cores, no GPU. The bounds leave room for an allocator's moods, and lie below what an image
# kept for every move (64 kB with its difference) or a model, table or page kept for every change would take.
SERVER_MB, HEAP_MB = 48, 16


@pytest.mark.long
@pytest.mark.exhaustive  # minutes of moves
@pytest.mark.timeout(900)
def test_memory_does_not_grow(page, shipped_url):
    process = PROCESSES[shipped_url]
    page.goto(f"{shipped_url}/traversal?model=gvae&start=prior", wait_until="domcontentloaded")
    slider = page.locator("input[type=range][data-dimension]").first
    slider.wait_for()
    move(page, slider, 100)  # caches fill, arenas open
    visit(page, 24)
    to_traversal(page)
    server, heap = resident_mb(process), heap_mb(page)
    move(page, slider, MOVES)
    visit(page, CHANGES)
    to_traversal(page)
    grown = resident_mb(process) - server, heap_mb(page) - heap
    print(f"server {server:.0f} MB and {grown[0]:+.1f}; JavaScript {heap:.1f} MB and {grown[1]:+.1f}")
    assert grown[0] < SERVER_MB
    assert grown[1] < HEAP_MB


def to_traversal(page):
    """Open the Traversal page by its link."""
    page.locator("[data-testid='stSidebarNavLink']").filter(
        has_text=re.compile("^tune?Traversal$|Traversal$")
    ).first.click()
    page.get_by_role("heading", name="Traversal", level=1).wait_for()
    page.locator("input[type=range][data-dimension]").first.wait_for()
    settled(page)


def move(page, slider, times):
    """Move the slider as a hand does: one input event a move; images come while the next are made."""
    images = slider.evaluate(
        """async (input, times) => {
          let images = 0;
          document.addEventListener("decoded", () => { images += 1; }, true);
          const [low, high] = [Number(input.min), Number(input.max)];
          for (let at = 0; at < times; at += 1) {
            input.value = String(low + (high - low) * (0.5 + 0.5 * Math.sin(at / 7)));
            input.dispatchEvent(new Event("input", { bubbles: true }));
            await new Promise((done) => setTimeout(done, 12));
          }
          input.dispatchEvent(new Event("change", { bubbles: true }));
          return images;
        }""",
        times,
    )
    assert images > times / 10  # moves that the server cannot follow are left out, newest first
    settled(page)


def visit(page, times):
    """Change the page by the navigation's links, in turn."""
    links = page.locator("[data-testid='stSidebarNavLink']")
    count = links.count()
    for at in range(times):
        before = page.locator("[data-testid='stMain'] h1").first.inner_text()
        links.nth((at + 1) % count).click()
        page.wait_for_function(
            "before => document.querySelector(\"[data-testid='stMain'] h1\")?.innerText !== before",
            arg=before,
        )
        settled(page)


def heap_mb(page):
    """The page's JavaScript heap after a collection, in MB."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used / 2**20


def resident_mb(process):
    """What the server holds in memory, in MB."""
    gc.collect()
    if sys.platform == "linux":
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True
    )
    return int(said.stdout) / 1024
