"""The wheel, installed where no checkout is and started where nothing can be written, serves every page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import served, settled
from tests.conftest import ROOT

SOURCES = [
    *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"),
    *("app.py", ".streamlit/config.toml", "docs/seeds.json", "lungvae_core", "pages", "models"),
]
LINKS = "[data-testid='stSidebarNavLink']"
ELSEWHERE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
# Root may write anywhere unless it gives its capabilities up.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, since a build leaves its folders in what it builds from
    for name in SOURCES:
        place = source / name
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, place)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(source)], check=True)
    (path,) = folder.glob("lungvae-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Python of an environment that has the wheel; what the wheel needs comes from the tests' environment."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, env=ELSEWHERE)
    (packages,) = folder.glob("lib/*/site-packages")
    # A path alone: the editable installation of the checkout, which stands in a .pth there, does not count.
    (packages / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


@pytest.fixture(scope="module")
def wheel_url(installed, tmp_path_factory, chromium) -> Iterator[str]:
    base = tmp_path_factory.mktemp("empty")
    empty = base / "empty"
    empty.mkdir(mode=0o555)
    prefix = POWERLESS if os.geteuid() == 0 else []
    if prefix and not shutil.which(prefix[0]):
        pytest.skip("needs setpriv, since root may write anywhere")
    yield from served(base, {}, python=[*prefix, installed], cwd=empty, base=ELSEWHERE)
    assert list(empty.iterdir()) == []


def test_the_installed_package_is_the_wheels(installed):
    show = "import lungvae_core.app_files as files; print(files.ROOT)"
    done = subprocess.run(
        [installed, "-c", show], check=True, capture_output=True, text=True, cwd="/", env=ELSEWHERE
    )
    root = Path(done.stdout.strip())
    assert installed.parents[1] in root.parents
    assert {path.name for path in root.iterdir()} >= {"app.py", "pages", "models", "docs", ".streamlit"}


def test_every_page_opens_from_the_wheel(page, wheel_url, errors):
    page.goto(wheel_url)
    settled(page)
    paths = page.locator(LINKS).evaluate_all("links => links.map(link => new URL(link.href).pathname)")
    assert len(paths) > 10
    for path in paths:
        page.goto(f"{wheel_url}{path}", wait_until="domcontentloaded")
        settled(page)
        assert page.get_by_role("heading", level=1).count() == 1, path
        assert page.locator("[data-testid='stException']").count() == 0, path
        assert errors == [], path


def test_shipped_models_are_shown_where_nothing_can_be_written(page, wheel_url):
    page.goto(f"{wheel_url}/map", wait_until="domcontentloaded")
    page.locator(".map[data-ready]").wait_for()
    page.goto(f"{wheel_url}/evaluation", wait_until="domcontentloaded")
    settled(page)
    page.locator("[data-testid='stPlotlyChart']").first.wait_for()
    assert page.locator("[data-testid='stAlertContentError']").count() == 0
    page.goto(f"{wheel_url}/train", wait_until="domcontentloaded")
    page.get_by_text("LUNGVAE_WORKSPACE").first.wait_for()
