"""Searching and preparing on a Ray cluster of two nodes, one worker of which is killed on the way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.data.slices import SliceSet

pytest.importorskip("ray", reason="needs Ray: pip install 'lungvae[cluster]'")

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """HOST:PORT of a cluster of two nodes of one CPU each, started by `ray start` as a person would."""
    ray = Path(sys.executable).parent / "ray"
    if not ray.exists():
        pytest.skip("the ray command is not beside this Python")
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: Ray puts sockets below it
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    port = free_port()
    shared = [
        "--num-cpus=1",
        "--num-gpus=0",
        "--object-store-memory=100000000",
        "--disable-usage-stats",
        "--block",
    ]
    head = [f"--port={port}", "--head", "--include-dashboard=false", f"--temp-dir={folder}"]
    nodes: list[subprocess.Popen] = []

    def start(*options: str) -> None:
        nodes.append(
            subprocess.Popen(
                [str(ray), "start", *options, *shared],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that everything that it starts can be ended with it
            )
        )

    try:
        start("--node-ip-address=127.0.0.1", *head)
        wait_for_nodes(f"127.0.0.1:{port}", 1)
        start(f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.1")
        wait_for_nodes(f"127.0.0.1:{port}", 2)
        yield f"127.0.0.1:{port}"
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_nodes(address: str, count: int, seconds: float = 120) -> None:
    code = (
        "import ray, sys, logging\n"
        f"ray.init(address={address!r}, log_to_driver=False, logging_level=logging.ERROR)\n"
        "print(sum(node['Alive'] for node in ray.nodes()))"
    )
    until = time.monotonic() + seconds
    host, port = address.split(":")
    while time.monotonic() < until:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.3)
            continue
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and int(done.stdout.split()[-1]) >= count:
            return
        time.sleep(0.5)
    pytest.fail(f"the cluster did not get {count} node(s)")


def lungvae(*words: object, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lungvae_core.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def test_a_search_uses_both_nodes_and_survives_the_death_of_a_worker(
    cluster: str, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    fixed = [f"--set={pair}" for pair in ("width=4", "dimensions=4", "batch_size=32", "epochs=40")]
    running = lungvae(
        *("search", "--data", tiny_data, "--out", out, "--space", "gvae", "--trials", 4, *fixed),
        *("--ray", cluster, "--device", "cpu"),
    )
    try:
        victim = worker_in_the_middle(out, running)
        os.kill(victim, signal.SIGKILL)
        text, _ = running.communicate(timeout=500)
    finally:
        running.kill()
    assert running.returncode == 0, text
    assert "its worker died" in text
    table = pd.read_csv(out / "trials.csv")
    assert list(table["state"]) == ["complete"] * 4
    assert table["restarts"].sum() == 1
    (row,) = table[table["restarts"] == 1].itertuples()
    # It went on from its checkpoint: the epochs before the kill are there once.
    metrics = out / "trials" / f"{row.number:04d}" / "fold-1" / "metrics.jsonl"
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == list(range(1, 41))
    nodes = {where.split("/")[1] for cell in table["where"] for where in cell.split()}
    assert len(nodes) == 2
    assert all(node.startswith("node-") for node in nodes)


def worker_in_the_middle(out: Path, running: subprocess.Popen, seconds: float = 200) -> int:
    """The process of a worker that has trained an epoch and is far from its last."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and running.poll() is None:
        for path in out.glob("trials/*/fold-1/worker.json"):
            found = json.loads(path.read_text())
            if 1 <= found.get("epoch", 0) <= 20:
                return int(found["where"].rsplit("/", 1)[1])
        time.sleep(0.05)
    running.kill()
    pytest.fail(f"no worker was seen: {running.communicate()[0]}")


@pytest.mark.exhaustive
def test_a_search_stopped_on_a_cluster_goes_on_without_one(
    cluster: str, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    fixed = [f"--set={pair}" for pair in ("width=4", "dimensions=4", "batch_size=32", "epochs=20")]
    running = lungvae(
        *("search", "--data", tiny_data, "--out", out, "--space", "gvae", "--trials", 2, *fixed),
        *("--ray", cluster, "--device", "cpu"),
    )
    worker_in_the_middle(out, running)
    running.send_signal(signal.SIGINT)
    text, _ = running.communicate(timeout=200)
    assert running.returncode == 130, text
    assert f"--resume --ray {cluster}" in text
    assert "Traceback" not in text
    done = lungvae("search", "--out", out, "--resume", "--device", "cpu", "--workers", 1)
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 0, text
    table = pd.read_csv(out / "trials.csv")
    assert list(table["state"]) == ["complete"] * 2
    assert "node-" in table["where"][0]
    assert "node-" not in table["where"][0].split()[-1]


def test_prepare_makes_the_same_set_as_on_one_machine(
    cluster: str, tmp_path: Path, write_series, cohort_store: Path
) -> None:
    for number, patient in enumerate(("LIDC-IDRI-0023", "LIDC-IDRI-0058")):
        write_series(tmp_path / "dicom" / str(number), patient, seed=100 * number)
    for name, options in (("alone", ["--workers", 1]), ("cluster", ["--ray", cluster])):
        done = lungvae("prepare", tmp_path / "dicom", "--out", tmp_path / name, *options)
        text, _ = done.communicate(timeout=200)
        assert done.returncode == 0, text
    alone, together = (SliceSet.open(tmp_path / name) for name in ("alone", "cluster"))
    assert len(alone) > 0
    assert alone.info.content_hash == together.info.content_hash


def test_classify_spreads_folds_and_seeds(cluster: str, tiny_models: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))
    settings = ["--set", "hidden=[8]", "--set", "epochs=3"]
    reports = []
    for options in ([], ["--ray", cluster]):
        done = lungvae("classify", run, "--seeds", 2, *settings, *options)
        text, _ = done.communicate(timeout=200)
        assert done.returncode == 0, text
        assert "Over 2 seeds" in text
        reports.append(json.loads((run / "evaluation.json").read_text()))
    for report in reports:
        for name in ("seconds", "command", "created"):
            del report[name]
    assert reports[0] == reports[1]
    assert [row["seed"] for row in reports[0]["per_seed"]] == [0, 1]
