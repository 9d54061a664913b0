"""A training that is killed, finds no room, or meets a loss that is no number loses nothing it had saved."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from lungvae_core.data.slices import DatasetInfo, SliceSet, malignant, write
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock, remove_leftovers
from lungvae_core.training import checkpoints, weights_file
from lungvae_core.training import fit as fit_module
from lungvae_core.training.checkpoints import TRAINED, Run
from lungvae_core.training.fit import HALVINGS, fit
from lungvae_core.training.weights_file import load_tensors
from lungvae_core.vae.config import Config, override, preset
from tests.conftest import blobs
from tests.reliability.lives import Moment, ended, live, start

SMALL = {"width": 4, "dimensions": 4, "batch_size": 9, "epochs": 3}  # four batches an epoch of `few`
JOINT = {"rounds": 2, "round_epochs": 1}
SETTINGS = [word for name, value in (SMALL | JOINT).items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SliceSet of 40 slices of 8 patients."""
    folder = tmp_path_factory.mktemp("data") / "few"
    write(
        folder, *blobs(40), DatasetInfo(name="few discs", source="made by the tests", rule="discs in noise")
    )
    return folder


@pytest.fixture(scope="module")
def unbroken(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run with JOINT of a preset that was never killed, trained by the command."""
    base = tmp_path_factory.mktemp("unbroken")

    @cache
    def run(name: str) -> Path:
        words = ["--preset", name, "--data", few, *SETTINGS, "--out", base / name]
        assert live(words, base / "said") == 0, (base / "said").read_text()
        return base / name

    return run


def small(name: str = "gvae", **changes: Any) -> Config:
    return override(preset(name), {**SMALL, **changes})


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in the run's weights and in its newest checkpoint; UserError where one is damaged."""
    both = {}
    for name in ("model", "last"):
        if (folder / f"{name}.safetensors").exists():
            found, _ = load_tensors(folder / f"{name}.safetensors")
            both |= {f"{name}.{key}": tensor for key, tensor in found.items()}
    return both


def assert_same(ours: Path, theirs: Path) -> None:
    """Weights, optimiser, random state and figures of two runs are equal to the bit."""
    a, b = tensors(ours), tensors(theirs)
    assert a.keys() == b.keys()
    assert any(name.startswith("last.optimiser.") for name in a)
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    for mine, other in zip(Run.open(ours).metrics(), Run.open(theirs).metrics(), strict=True):
        assert {**mine, "seconds": 0} == {**other, "seconds": 0}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def moments(generator: random.Random) -> list[Moment]:
    """Ten moments to die at, from the very start to the second joint round."""

    def step(first: int, last: int) -> Moment:
        return Moment("step", "", generator.randint(first, last))

    return [
        Moment("half", "config.json", 1),  # before there is a run
        Moment("flushed", "last.safetensors", 1),  # before the first checkpoint has its name
        step(1, 3),  # with nothing done yet
        step(5, 7),  # in the second epoch
        Moment("half", "last.safetensors", 1),  # at the end of the second epoch, in the checkpoint
        Moment("renamed", "model.safetensors", 1),  # between the weights and the checkpoint
        step(5, 7),  # in the third epoch
        step(5, 7),  # in the first joint round
        Moment("renamed", "metrics.jsonl", 2),  # at its end: all else is newer than the checkpoint
        step(5, 7),  # in the second joint round
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_a_training_killed_ten_times_is_the_unbroken_one(
    name: str, unbroken: Callable[[str], Path], few: Path, tmp_path: Path
) -> None:
    words = ["--preset", name, "--data", few]
    said = tmp_path / "said"
    out = tmp_path / "killed"
    left = 0
    for moment in moments(random.Random(name)):
        begun = ["--resume"] if (out / "config.json").exists() else SETTINGS
        code = live([*words, *begun, "--out", out], said, kill=moment)
        assert code == -signal.SIGKILL, f"{moment}: {said.read_text()}"
        left += len(leftovers(out))
        tensors(out)  # what bears a real name is whole
        if (out / "metrics.jsonl").exists():
            for line in (out / "metrics.jsonl").read_text().splitlines():
                json.loads(line)
    assert left >= 3  # the kills did hit writes
    # And at any time at all, from outside.
    generator = random.Random(name)
    for _ in range(2):
        process = start([*words, "--resume", "--out", out], said)
        time.sleep(generator.uniform(0.05, 0.4))
        process.kill()
        assert ended(process, said) in (0, -signal.SIGKILL), said.read_text()
        tensors(out)
    assert live([*words, "--resume", "--out", out], said) == 0, said.read_text()
    assert_same(out, unbroken(name))
    assert not leftovers(out)


@pytest.mark.long
def test_a_killed_command_goes_on_in_another(
    unbroken: Callable[[str], Path], few: Path, tmp_path: Path
) -> None:
    """As from a shell, with interpreters of their own."""
    words = ["--preset", "gvae", "--data", str(few), *SETTINGS]
    out = tmp_path / "killed"
    options = ["--out", str(out), "--threads", "1", "--device", "cpu", "--no-finish"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lungvae_core.cli", "train", *words, *options], stdout=subprocess.DEVNULL
    )
    while not (out / "progress.json").exists():  # the first batch is done
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert live([*words[:4], "--resume", "--out", out], tmp_path / "said") == 0
    assert_same(out, unbroken("gvae"))


@pytest.mark.long
def test_two_processes_with_one_seed_write_the_same_bytes(few: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = ["--data", few, "--out", tmp_path / name, "--epochs", 1, "--seed", 5, *SETTINGS[:6]]
        assert live(words, tmp_path / "said") == 0, (tmp_path / "said").read_text()
    assert_same(tmp_path / "a", tmp_path / "b")
    raw = json.loads((tmp_path / "a" / "config.json").read_text())
    assert raw["versions"].keys() == {"lungvae", "python", "torch", "numpy"}
    assert raw["config"]["training"]["seed"] == 5
    assert raw["config"]["model"]["width"] == 4


def test_a_checkpoint_has_all_that_resuming_needs(few: Path, tmp_path: Path) -> None:
    """In the middle of an epoch as at its end, and of a joint round with its classifier."""
    config = small(epochs=1, rounds=1, round_epochs=1)
    steps = iter(range(1000))
    run, finished = fit(
        config,
        SliceSet.open(few),
        tmp_path / "a",
        device="cpu",
        should_stop=lambda: next(steps) == 6,  # two batches into the second epoch
    )
    assert not finished
    found, position = load_tensors(run.folder / "last.safetensors")
    assert (position["epoch"], position["batch"], position["halvings"]) == (1, 2, 0)
    assert len(position["sums"]) == len(fit_module.SUMS)
    assert position["sums"][0] > 0
    kinds = {name.split(".")[0] for name in found}
    assert kinds == {"model", "optimiser", "guide", "random"}
    learned = [p for p in run.load_model().parameters() if p.requires_grad]
    for index in range(len(learned)):
        assert {f"optimiser.{index}.{name}" for name in ("step", "exp_avg", "exp_avg_sq")} <= found.keys()
    assert found["random.cpu"].dtype == torch.uint8


@pytest.mark.long
def test_long_epochs_are_saved_in_their_middle(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And going on from there, after a kill, gives what never stopping gives."""
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    config, data = small(epochs=1, batch_size=1), SliceSet.open(tiny_data)
    fit(config, data, tmp_path / "whole", device="cpu")

    class Killed(BaseException):
        pass

    def kill_after_65() -> bool:
        nonlocal steps
        steps += 1
        if steps > 65:
            raise Killed
        return False

    steps = 0
    with pytest.raises(Killed):
        fit(config, data, tmp_path / "broken", device="cpu", should_stop=kill_after_65)
    assert load_tensors(tmp_path / "broken" / "last.safetensors")[1]["batch"] == 64
    fit(config, data, tmp_path / "broken", device="cpu", resume=True)
    assert_same(tmp_path / "broken", tmp_path / "whole")


def test_only_a_trainings_own_leftovers_are_cleaned_away(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    fit(small(epochs=1), SliceSet.open(few), out, device="cpu")
    ours = [f".{name}.x1y2.tmp" for name in TRAINED]
    theirs = [".latents.parquet.x1y2.tmp", "thesis.tmp", ".last.safetensors.tmp.txt"]
    for name in ours + theirs:
        (out / name).write_bytes(b"half")
    with folder_lock(out, what="the run"), pytest.raises(UserError, match="Another process"):
        fit(small(), SliceSet.open(few), out, device="cpu", resume=True)
    assert set(ours + theirs) <= {path.name for path in out.iterdir()}  # somebody else may be writing them
    fit(small(), SliceSet.open(few), out, device="cpu", resume=True)
    assert {path.name for path in out.iterdir()} & set(ours + theirs) == set(theirs)
    remove_leftovers(tmp_path / "nowhere", TRAINED)  # nothing there, nothing to do


# A disk without room, and folders that cannot be written


@pytest.mark.slow
@pytest.mark.long
def test_a_full_disk_is_reported_and_loses_nothing(
    unbroken: Callable[[str], Path], few: Path, tmp_path: Path
) -> None:
    words = ["--preset", "gvae", "--data", few]
    said, out = tmp_path / "said", tmp_path / "full"
    kill = Moment("step", "", 6)
    assert live([*words, *SETTINGS, "--out", out], said, kill=kill) == -signal.SIGKILL
    before = (out / "last.safetensors").read_bytes()
    model = (out / "model.safetensors").stat().st_size
    for name, most in (("last.safetensors", len(before) - 256), ("model.safetensors", model - 1), ("", 4000)):
        assert live([*words, "--resume", "--out", out], said, most_bytes=most) == 2
        text = said.read_text()
        assert text.count("Error: Cannot write ") == 1
        assert str(out) in text
        assert "File too large" in text
        assert "Traceback" not in text
        assert len([line for line in text.splitlines() if line.startswith("Error")]) == 1
        assert name in text
        assert (out / "last.safetensors").read_bytes() == before
        assert not leftovers(out)
    assert live([*words, "--resume", "--out", out], said) == 0, said.read_text()
    assert_same(out, unbroken("gvae"))


@pytest.mark.parametrize("broken", ["fsync", "save_file", "mkstemp", "replace"])
def test_no_space_left_is_reported_wherever_it_is_noticed(
    broken: str, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = SliceSet.open(few), tmp_path / "a"
    fit(small(epochs=2), data, tmp_path / "whole", device="cpu")
    fit(small(epochs=2), data, out, device="cpu", until=1)
    before = (out / "last.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        if broken == "save_file":
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        owner = {"fsync": os, "save_file": weights_file, "mkstemp": sys.modules["tempfile"], "replace": Path}
        patch.setattr(owner[broken], broken, full)
        with pytest.raises(UserError, match=r"^Cannot write .*No space left on device"):
            fit(small(), data, out, device="cpu", resume=True)
    assert (out / "last.safetensors").read_bytes() == before
    assert not leftovers(out)
    fit(small(), data, out, device="cpu", resume=True)
    assert_same(out, tmp_path / "whole")


@pytest.mark.long
def test_folders_that_cannot_be_written_are_reported(few: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file" / "run", Path("/proc/run")):  # root may write everywhere else
        words = ["--data", few, "--out", out, "--epochs", 1, *SETTINGS[:6]]
        assert live(words, tmp_path / "said") == 2
        text = (tmp_path / "said").read_text().strip()
        assert text.startswith(f"Error: Cannot write {out}")
        assert "Traceback" not in text
        assert len(text.splitlines()) == 1


# A loss that is not finite


def explode(monkeypatch: pytest.MonkeyPatch, when: Callable[[Any], bool]) -> list[tuple[int, int, float]]:
    """Make the loss NaN in every step for whose training `when` holds; (epoch, batch, rate) of all steps.

    `when` takes the training in progress, whose `at` has the epoch and batch of the step, from 0.
    """
    steps: list[tuple[int, int, float]] = []
    now: list[Any] = []
    step, whole = fit_module._Fit._step, fit_module.objective

    def remember(self: Any, order: torch.Tensor) -> None:
        now[:] = [self]
        steps.append((self.at.epoch, self.at.batch, self._rate()))
        step(self, order)

    def broken(*words: Any, **named: Any) -> Any:
        terms = whole(*words, **named)
        return replace(terms, loss=terms.loss * float("nan")) if when(now[0]) else terms

    monkeypatch.setattr(fit_module._Fit, "_step", remember)
    monkeypatch.setattr(fit_module, "objective", broken)
    return steps


def finite(folder: Path) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors(folder).values())


def test_a_loss_that_is_not_finite_stops_with_the_batch_and_the_last_good_checkpoint(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = SliceSet.open(few), small(epochs=3, schedule="constant")
    once = small().training.learning_rate
    steps = explode(
        monkeypatch, lambda fit: (fit.at.epoch, fit.at.batch) == (1, 2) and fit._rate() > 0.06 * once
    )
    with pytest.raises(UserError, match=r"epoch 2, batch 3 \(slices TEST-.*on_nonfinite=halve") as raised:
        fit(config, data, tmp_path / "a", device="cpu")
    report = json.loads((tmp_path / "a" / "not-finite.json").read_text())
    assert (report["epoch"], report["batch"]) == (2, 3)
    # The keys are those of the batch: an epoch's order follows from the seed and the epoch.
    trained, _ = Run.open(tmp_path / "a").split(data.table)
    order = torch.randperm(len(trained), generator=torch.Generator().manual_seed(1)).numpy()
    rows = data.table.iloc[trained[order[18:27]]]
    keys = [f"{row.patient_id}/{row.nodule}/{row.slice}" for row in rows.itertuples()]
    assert report["slices"] == keys
    assert ", ".join(keys[:4]) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert finite(tmp_path / "a")
    assert load_tensors(tmp_path / "a" / "last.safetensors")[1]["epoch"] == 1

    # Going on as it was ends where it ended; going on with halving passes the spot at half the rate.
    with pytest.raises(UserError, match="epoch 2, batch 3"):
        fit(config, data, tmp_path / "a", device="cpu", resume=True)
    steps.clear()
    run, finished = fit(config, data, tmp_path / "a", device="cpu", resume=True, on_nonfinite="halve")
    assert finished
    assert [row.get("halvings", 0) for row in run.metrics()] == [0, 1, 1]
    rates = [rate for epoch, batch, rate in steps if (epoch, batch) == (1, 2)]
    assert len(rates) == 2
    assert rates[1] == rates[0] / 2
    assert finite(tmp_path / "a")


def test_halving_gets_over_an_explosion(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    def third_step_of_the_second_epoch(fit: Any) -> bool:
        nonlocal seen
        seen += (fit.at.epoch, fit.at.batch) == (1, 2)
        return (fit.at.epoch, fit.at.batch, seen) == (1, 2, 1)

    steps = explode(monkeypatch, third_step_of_the_second_epoch)
    config = small(on_nonfinite="halve", schedule="constant")
    run, finished = fit(config, SliceSet.open(few), tmp_path / "a", device="cpu")
    assert finished
    rows = run.metrics()
    assert [row.get("halvings", 0) for row in rows] == [0, 1, 1]
    assert [step[:2] for step in steps[4:10]] == [(1, 0), (1, 1), (1, 2), (1, 0), (1, 1), (1, 2)]
    assert rows[1]["learning_rate"] == pytest.approx(steps[-5][2])
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert finite(tmp_path / "a")


def test_halving_gives_up_in_a_sentence_and_saves_no_bad_weights(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = explode(monkeypatch, lambda fit: (fit.at.epoch, fit.at.batch) == (1, 1))
    config = small(on_nonfinite="halve", schedule="constant")
    with pytest.raises(UserError, match=f"Halving the learning rate {HALVINGS} times did not help"):
        fit(config, SliceSet.open(few), tmp_path / "a", device="cpu")
    rates = [rate for epoch, batch, rate in steps if (epoch, batch) == (1, 1)]
    assert len(rates) == HALVINGS + 1
    assert rates[-1] == pytest.approx(rates[0] / 2**HALVINGS)
    assert finite(tmp_path / "a")
    assert load_tensors(tmp_path / "a" / "last.safetensors")[1]["epoch"] == 1


def test_time_spent_before_a_halving_is_not_counted_twice(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    explode(monkeypatch, lambda fit: fit.at.epoch == 1 and fit.at.halvings < 4)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    step = fit_module._Fit._step

    def slow(self: Any, order: torch.Tensor) -> None:
        clock[0] += 1
        step(self, order)

    monkeypatch.setattr(fit_module._Fit, "_step", slow)
    config = small(on_nonfinite="halve", epochs=2)
    run, _ = fit(config, SliceSet.open(few), tmp_path / "a", device="cpu")
    assert [row["seconds"] for row in run.metrics()] == [4, 8]


def test_losses_looked_at_late_end_alike(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU they are looked at every fifty batches; the weights in between are never saved."""
    explode(monkeypatch, lambda fit: (fit.at.epoch, fit.at.batch) == (1, 1) and fit.at.halvings == 0)
    check = fit_module._Fit._check_finite

    def late(self: Any) -> None:
        if self.at.batch == self._batches(self.at.epoch):
            check(self)

    monkeypatch.setattr(fit_module._Fit, "_check_finite", late)
    data = SliceSet.open(few)
    with pytest.raises(UserError, match="epoch 2, batch 2 "):
        fit(small(), data, tmp_path / "a", device="cpu")
    assert finite(tmp_path / "a")
    _, finished = fit(small(), data, tmp_path / "a", device="cpu", resume=True, on_nonfinite="halve")
    assert finished
    assert finite(tmp_path / "a")


# Stopping after an epoch, splits, memory


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_until_stops_after_that_epoch(name: str, few: Path, tmp_path: Path) -> None:
    data, config = SliceSet.open(few), small(name, epochs=2, rounds=1, round_epochs=1)
    fit(config, data, tmp_path / "whole", device="cpu")
    for until in (1, 2, 3):
        run, finished = fit(config, data, tmp_path / "a", device="cpu", resume=until > 1, until=until)
        assert finished == (until == 3)
        assert len(run.metrics()) == until
        assert load_tensors(run.folder / "last.safetensors")[1]["epoch"] == until
    assert_same(tmp_path / "a", tmp_path / "whole")
    # Another look at a finished run changes nothing.
    _, finished = fit(config, data, tmp_path / "a", device="cpu", resume=True)
    assert finished
    assert_same(tmp_path / "a", tmp_path / "whole")


def test_a_split_of_ones_own_is_kept(few: Path, tmp_path: Path) -> None:
    data = SliceSet.open(few)
    split = list(grouped_folds(data.table, 4, seed=3))[2]
    kept = data.table["patient_id"].iloc[split[0]].unique()[3:]  # three patients are set aside
    split = (np.flatnonzero(data.table["patient_id"].isin(kept)), split[1])
    run, _ = fit(small(epochs=1), data, tmp_path / "a", device="cpu", split=split)
    for found, given in zip(Run.open(run.folder).split(data.table), split, strict=True):
        np.testing.assert_array_equal(found, given)
    raw = json.loads((run.folder / "config.json").read_text())
    patients = data.table["patient_id"]
    assert raw["trained"] == sorted(set(patients.iloc[split[0]]))
    assert raw["held_out"] == sorted(set(patients.iloc[split[1]]))
    assert not set(raw["trained"]) & set(raw["held_out"])
    # And it is what the training goes by: other held-out patients, other figures.
    default, _ = fit(small(epochs=1), data, tmp_path / "b", device="cpu")
    assert default.metrics()[0]["validation"] != run.metrics()[0]["validation"]


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides_of_the_default_split(seed: int, tiny_data: Path) -> None:
    data = SliceSet.open(tiny_data)
    config = small(seed=seed)
    train, held_out = checkpoints.default_split(config, data.table)
    patients = data.table["patient_id"].to_numpy()
    assert not set(patients[train]) & set(patients[held_out])
    assert len(train) + len(held_out) == len(data)
    assert np.isin(malignant(data.table)[held_out], [0, 1]).any()


def test_splits_that_share_patients_or_lack_a_side_are_refused(few: Path, tmp_path: Path) -> None:
    data = SliceSet.open(few)
    rows = np.arange(len(data))
    for split in ((rows[:23], rows[23:]), (rows, rows[:0]), (rows[:0], rows)):
        with pytest.raises(UserError, match="each side needs patients of its own"):
            fit(small(), data, tmp_path / "a", device="cpu", split=split)
    assert not (tmp_path / "a" / "config.json").exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["runtime", "torch", "cpu", "python"],
)
def test_a_device_without_memory_is_reported_with_the_batch_to_try(
    error: Exception, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    data = SliceSet.open(few)
    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "objective", fail)
        with pytest.raises(UserError, match=r"ran out of memory.*Try --set batch_size=4\b"):
            fit(small(), data, tmp_path / "a", device="cpu")
        with pytest.raises(UserError, match="narrower network"):
            fit(small(batch_size=1), data, tmp_path / "b", device="cpu")
    _, finished = fit(small(), data, tmp_path / "a", device="cpu", resume=True, until=1)
    assert not finished


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(fit_module, "objective", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        fit(small(), SliceSet.open(few), tmp_path / "a", device="cpu")
