"""One watch, one split and one window measure all contestants; packages that are missing are left out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.training.checkpoints import default_split
from lungvae_core.vae.config import preset
from tests.conftest import ROOT


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("peer_trainings")


@pytest.fixture
def peers(trainings: ModuleType) -> ModuleType:
    return importlib.import_module("peers")


class Clock:
    """A clock that stands still unless moved."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


def test_looks_at_held_out_slices_do_not_count_as_training_time(
    trainings: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(trainings, "time", clock)
    images = torch.rand(3, 1, 64, 64)
    watch = trainings.Watch(limit=11, images=images, pause=4, began=clock.now)
    network = torch.nn.Dropout()

    def reconstruct(x: torch.Tensor) -> torch.Tensor:
        assert not network.training
        clock.now += 7
        return x if len(watch.looks) else torch.zeros_like(x)

    times_up = []
    for _ in range(6):
        clock.now += 2
        times_up.append(watch.step(network, reconstruct))
    assert network.training
    assert times_up == [False] * 5 + [True]
    assert [look.seconds for look in watch.looks] == [4, 8, 12]
    assert watch.steps == 6
    assert watch.looks[0].ssim_wide < 0.5
    assert watch.looks[1][1:] == pytest.approx((1, 1))
    assert watch.seconds_to(0.7) == 8
    assert watch.seconds_to(1.1) is None


def test_all_are_judged_between_minus_500_and_400_hu(trainings: ModuleType) -> None:
    hu = torch.tensor([-1000.0, -500.0, -50.0, 400.0])
    low, high = trainings.WINDOW
    assert trainings.judged((hu - low) / (high - low)).tolist() == pytest.approx([0, 0, 0.5, 1], abs=1e-6)


def test_the_slices_are_split_as_those_of_a_training(trainings: ModuleType, tiny_data: Path) -> None:
    data = SliceSet.open(tiny_data)
    slices = trainings.Slices.of(str(tiny_data), patients=0)
    for rows, same in zip(
        (slices.train, slices.held_out), default_split(preset("gvae"), data.table), strict=True
    ):
        assert np.array_equal(rows, same)
    few = trainings.Slices.of(str(tiny_data), patients=8)
    patients = data.table["patient_id"].to_numpy()
    assert len(np.unique(patients[np.concatenate([few.train, few.held_out])])) == 8
    assert not set(patients[few.train]) & set(patients[few.held_out])
    assert few.images(few.train).shape == (len(few.train), 1, 64, 64)


def run(peers: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["peers.py", *options])
    peers.main()


def test_a_package_that_is_not_installed_is_left_out(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    run(peers, monkeypatch, "--only", "pythae,monai")
    printed = capsys.readouterr().out
    for package in ("pythae", "monai"):
        assert f"{package} is left out; install it with: {sys.executable} -m pip install {package}" in printed
    assert "failed" not in printed


@pytest.mark.long
def test_our_preset_trains_in_a_process_of_its_own(
    peers: ModuleType,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = tmp_path / "peers.json"
    options = ("--data", str(tiny_data), "--only", "gvae-64", "--threads", "1", "--json", str(report))
    run(peers, monkeypatch, *options, "--minutes", "0.01")
    assert "| gvae-64 | 0.001 | 32 | 3.59 M |" in capsys.readouterr().out
    (row,) = peers.json.loads(report.read_text(encoding="utf-8"))["rows"]
    assert row["seconds"] >= 0.6
    assert row["images_per_second"] * row["seconds"] == pytest.approx(row["epochs"] * row["slices"][0])
    assert row["looks"][-1] == [row["seconds"], row["ssim"], row["ssim_wide"]]
    assert row["peak_mb"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pythae-dense-its-rate", "pythae-resnet-our-rate", "monai-its-rate"])
def test_the_packages_train(name: str, trainings: ModuleType, tiny_data: Path) -> None:
    contestant = trainings.CONTESTANTS[name]
    pytest.importorskip(contestant.module)
    slices = trainings.Slices.of(str(tiny_data), patients=0)
    watch = trainings.Watch(limit=0.1, images=slices.images(slices.held_out))
    contestant.train(slices, watch, **contestant.settings)
    assert watch.steps >= 1
    assert 0 <= watch.looks[-1].ssim <= 1


def row(name: str, seconds: float | None) -> dict[str, Any]:
    return {"name": name, "seconds": 600.0, "seconds_to": {"0.70": seconds}}


def test_the_ratio_is_to_the_best_of_the_others(peers: ModuleType) -> None:
    ours, late = row("gvae-64", 50.0), row("gvae-256", None)
    rows = [ours, late, row("pythae-conv", 400.0), row("monai", 200.0), row("paper-its-rate", None)]
    assert peers.ratios(rows, "0.70") == [
        "gvae-64 reached 0.70 in 50 s, 4.0 times sooner than the best of pythae and MONAI.",
        "gvae-64 reached 0.70 in 50 s, at least 12.0 times sooner than the released network, which did not "
        "reach it.",
        "gvae-256 did not reach 0.70.",
    ]
