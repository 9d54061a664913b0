"""Fixtures shared by the whole suite: small data, tiny trained models, and real data where there is any."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

# A core each for the workers of a run and the programs that they start: threads that share a core with
# another's wait for each other, spinning, for most of their time. Read when numpy and torch are imported.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
from anyio.from_thread import start_blocking_portal

from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.vae.config import PRESETS
from lungvae_core.vae.lesion import KINDS
from tests.commands import Forks, World, made_inputs

ROOT = Path(__file__).resolve().parents[1]
# Every command that a test starts writes the traces that it caught here; there are to be none.
FAULTS = Path(os.environ.setdefault("LUNGVAE_FAULTS", str(Path(tempfile.mkdtemp(prefix="faults-")) / "log")))

# A shell's background job is deaf to Ctrl-C and hands that on to every program that a test starts and
# interrupts; a terminal's is not. The tests are about the latter, however they are started themselves.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The same examples in every run; LUNGVAE_RANDOM=1 looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("default" if os.environ.get("LUNGVAE_RANDOM") else "same")

# A table of long tests with more cases is tried in part by continuous integration.
WHOLE_TABLE = 5


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark most cases of a large table of long tests `exhaustive`; their names alone decide which stay."""
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("exhaustive"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tables.values():
        by_name = sorted(cases, key=lambda item: zlib.crc32(item.nodeid.encode()))
        for item in by_name[WHOLE_TABLE:]:
            item.add_marker("exhaustive")


class _FailuresAtOnce:
    """Shows a failure when it happens: a run that is stopped from outside never comes to its summary."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\n{report.nodeid} failed ({report.when}):\n{str(report.longrepr)[-3000:]}")


def pytest_configure(config: pytest.Config) -> None:
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        config.pluginmanager.register(_FailuresAtOnce(config))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a command needed the command line's last resort: the cause is to be mended."""
    if FAULTS.is_file():
        print(f"\nCommands ended in a fault of the program:\n{FAULTS.read_text(encoding='utf-8')}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def lidc() -> Path:
    """The folder of real LIDC slices and DICOM that LUNGVAE_LIDC names; skips where there is none."""
    folder = os.environ.get("LUNGVAE_LIDC")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real LIDC data: set LUNGVAE_LIDC to its folder")
    return Path(folder)


def blobs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Slices (N, 64, 64) HU of bright discs in lung, their masks, and a table of five slices a patient.

    Large discs are malignant, so that a classifier has something to find.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.repeat(generator.uniform(3, 14, -(-count // 5)), 5)[:count]
    masks = (y**2 + x**2 < radius[:, None, None] ** 2).astype(np.uint8)
    slices = -850 + 880.0 * masks + generator.normal(0, 30, (count, 64, 64))
    patient = np.arange(count) // 5
    malignancy = np.select([radius < 7, radius < 9], [2, 3], default=4)
    spacing = 0.7
    table = pd.DataFrame(
        {
            "patient_id": [f"TEST-{number:04d}" for number in patient],
            "nodule": 0,
            "slice": np.arange(count) % 5,
            "malignancy": pd.array(malignancy, dtype="Int64"),
            "n_readers": 2,
            "diameter_mm": 2 * radius * spacing,
            "area_px": masks.reshape(count, -1).sum(1),
            "pixel_spacing_mm": spacing,
            "z_mm": np.arange(count) % 5 * 2.5,
            "malignancy_all": [f"{rating}|{rating}" for rating in malignancy],
            # A nodule's slices share what its readers said.
            "texture_all": generator.choice(["5|5", "4|5", "1|2"], count)[patient * 5],
            "spiculation_all": generator.choice(["1|1", "3|4", "5|5"], count)[patient * 5],
        }
    )
    return slices.round().astype(np.int16), masks, table


def few_guides(name: str) -> dict[str, Any]:
    """Changes that let a preset with guided dimensions fit small models, and data with few ratings."""
    if PRESETS[name].model.lesion_layer:
        return {"guided": [*KINDS, "malignancy"], "dimensions": 6}
    return {"guided": ["diameter", "malignancy"]} if PRESETS[name].objective.guided else {}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: sums come in one order, and a forked process lacks none."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wait(condition: Callable[[], object], seconds: float = 600) -> None:
    """Return once the condition holds; fail after so many seconds: enough for a slow, busy machine."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def run_coroutine(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """What a coroutine function returns, run in another thread: Playwright's loop may run in this one."""
    with start_blocking_portal() as portal:
        return portal.call(function, *arguments)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SliceSet of 120 slices of 24 patients, in a folder `tiny` below a folder of its own."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    slices, masks, table = blobs(120)
    info = DatasetInfo(name="tiny discs", source="made by the tests", rule="discs in noise", generated=True)
    write(folder, slices, masks, table, info)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A folder of two tiny finished runs, `tiny-gvae` and `tiny-dirvae`, as the app's registry finds them."""
    from lungvae_core.evaluation.classify import classify
    from lungvae_core.explore.maps import UNITS, make_maps
    from lungvae_core.training.classifier import ClassifierConfig
    from lungvae_core.training.encode import encode
    from lungvae_core.training.fit import fit
    from lungvae_core.vae.config import override, preset

    base = tmp_path_factory.mktemp("models")
    data = SliceSet.open(tiny_data)
    for name in ("gvae", "dirvae"):
        config = override(preset(name), {"width": 4, "dimensions": 4, "epochs": 2, "batch_size": 32})
        run, finished = fit(config, data, base / f"tiny-{name}", device="cpu", title=f"Tiny {name}")
        assert finished
        encode(run, data)
        classify(run, ClassifierConfig(hidden=(8,), epochs=3))
        # UMAP's compiler takes longer than all else here; its own test covers it. The layout stands in.
        make_maps(run, ("pca",))
        for unit in UNITS:
            table = run.read_table(f"map-{unit}.parquet", hint="")
            for method in ("umap", "tsne"):
                table[f"{method}_x"], table[f"{method}_y"] = table["pca_x"], table["pca_y"]
            run.write_table(f"map-{unit}.parquet", table)
    return base


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A finished search with halving, of six trials."""
    from lungvae_core.training.search.run import search
    from lungvae_core.training.search.setup import make
    from lungvae_core.training.search.spaces import space

    folder = tmp_path_factory.mktemp("searched") / "search-1"
    tiny = {"width": 4, "dimensions": 4, "batch_size": 32, "epochs": 3}
    asked = make(space("gvae"), tiny_data, trials=6, halving=True, fixed=tiny)
    search(asked, folder, workers=1, device="cpu")
    return folder


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """A process that calls commands, quickly."""
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> dict[str, object]:
    """What commands read, by their parameters' names, on a disk where there is space."""
    return made_inputs(tmp_path_factory.mktemp("inputs"), tiny_data)


@pytest.fixture
def world(tmp_path: Path, tiny_models: Path, inputs: dict[str, object]) -> World:
    """Folders with a run in them, where commands are called."""
    (tmp_path / "there").mkdir()
    (tmp_path / "temporary").mkdir()
    return World(tmp_path / "there", tiny_models, inputs, tmp_path / "temporary")


@pytest.fixture
def job_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_data: Path) -> Iterator[Path]:
    """Folders of the test's own, without models, for jobs on the tiny data; jobs that are left are killed."""
    from lungvae_core.serving.jobs.queue import Jobs

    for name in ("models", "runs", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("LUNGVAE_DATA", str(tiny_data.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    yield tmp_path
    for job in Jobs().all():
        if job.active and job.keeper:
            os.killpg(job.keeper, signal.SIGKILL)
        elif job.active:
            Jobs().stop(job.id)
