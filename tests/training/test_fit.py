"""Training repeats by seed, resumes to the bit, stops cleanly, and says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from lungvae_core.data.slices import SliceSet, write
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock
from lungvae_core.training import fit as engine
from lungvae_core.training.checkpoints import FEATURES, READER, START, Run
from lungvae_core.training.device import pick_device
from lungvae_core.training.encode import encode
from lungvae_core.training.epochs import read_position
from lungvae_core.training.fit import fit
from lungvae_core.training.validate import validate
from lungvae_core.training.weights_file import content_hash, load_tensors, read_header, save_tensors
from lungvae_core.vae.config import PRESETS, Config, override, preset
from tests.conftest import ROOT, blobs, few_guides

TINY = {"width": 4, "dimensions": 4, "epochs": 2, "batch_size": 32}


pytestmark = pytest.mark.usefixtures("one_thread")

SHARP = {"linear_path": True, "ema": 0.8, "mask_focus": 2, "focal_frequency": 1, "spacing_mm": 0.8}
VARIANTS = {
    **{name: (name, few_guides(name)) for name in sorted(PRESETS)},
    "gvae, all that sharpens": ("gvae", SHARP),
    "gvae-guided, sharp": ("gvae-guided", {**few_guides("gvae-guided"), "adversarial": 1}),
    "dirvae, all that sharpens": ("dirvae", {**SHARP, "rounds": 1, "round_epochs": 1}),
}


@pytest.fixture(params=VARIANTS)
def config(request: pytest.FixtureRequest) -> Config:
    name, changes = VARIANTS[request.param]
    return override(preset(name), {**TINY, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.long
def test_a_stopped_and_resumed_training_is_the_unbroken_one(
    config: Config, tiny_data: Path, tmp_path: Path
) -> None:
    data = SliceSet.open(tiny_data)
    fit(config, data, tmp_path / "whole", device="cpu")
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > 5  # in the middle of the second epoch: four batches an epoch

    _, finished = fit(config, data, tmp_path / "broken", device="cpu", should_stop=stop)
    assert not finished
    torch.rand(7)  # whatever happens in between must not matter
    run, finished = fit(config, data, tmp_path / "broken", device="cpu", resume=True)
    assert finished
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    whole = Run.open(tmp_path / "whole").metrics()
    for ours, theirs in zip(run.metrics(), whole, strict=True):
        assert ours["validation"] == theirs["validation"]
        assert ours["train"] == pytest.approx(theirs["train"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "changes", "kept"),
    [("gvae", {"feature": 1}, FEATURES), ("gvae-guided", few_guides("gvae-guided"), READER)],
)
def test_networks_fitted_before_the_first_epoch_show_progress_and_stop(
    name: str,
    changes: dict[str, Any],
    kept: str,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "REPORT_SECONDS", 0)
    config = override(preset(name), {**TINY, "epochs": 1, **changes})
    data, out, shares = SliceSet.open(tiny_data), tmp_path / "stopped", []

    def stopped_early() -> bool:
        return len(shares) == 3

    run, finished = fit(
        config,
        data,
        out,
        device="cpu",
        on_preparation=lambda what, share: shares.append((what, share)),
        should_stop=stopped_early,
    )
    assert not finished
    assert not run.has(kept)
    assert not run.has("last.safetensors")
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    position = read_position(out)
    assert position is not None
    assert (position["preparing"], position["prepared"]) == shares[-1]

    run, finished = fit(config, data, out, device="cpu", resume=True)
    assert finished
    assert read_position(out).get("preparing") is None
    whole, _ = fit(config, data, tmp_path / "whole", device="cpu")
    assert (out / kept).read_bytes() == (whole.folder / kept).read_bytes()
    assert same(weights(out), weights(whole.folder))


@pytest.mark.long
@pytest.mark.parametrize("name", ["gvae", "dirvae-guided"])
def test_a_training_begins_with_another_runs_weights_and_split(
    name: str, tiny_data: Path, tmp_path: Path
) -> None:
    data, changes = SliceSet.open(tiny_data), {**TINY, "epochs": 1, **few_guides(name)}
    config = override(preset(name), {**changes, "dimensions": 6})
    before, _ = fit(config, data, tmp_path / "before", device="cpu", title="The first")
    still = override(config, {"learning_rate": 1e-12, "seed": 3, "validation_fraction": 0.3})
    (tmp_path / "after").mkdir()
    (tmp_path / "after" / START).touch()  # of a training that was killed while it began
    stopped, finished = fit(
        still, data, tmp_path / "after", device="cpu", start=before, should_stop=lambda: True
    )
    assert not finished
    run, finished = fit(still, data, tmp_path / "after", device="cpu", resume=True)
    assert finished
    assert stopped.info.start == run.info.start
    assert run.info.start is not None
    assert (run.info.start.title, run.info.start.epochs) == ("The first", 1)
    assert run.info.held_out == before.info.held_out
    old, new = weights(before.folder), weights(run.folder)
    for key in old:
        if "running_" not in key and "num_batches" not in key:
            torch.testing.assert_close(new[key], old[key], rtol=0, atol=1e-6, msg=key)
    assert not run.has(START)
    assert run.as_start().epochs == 2
    if before.has(READER):
        assert (run.folder / READER).read_bytes() == (before.folder / READER).read_bytes()


def test_a_start_that_does_not_fit_is_refused(tiny_data: Path, tiny_models: Path, tmp_path: Path) -> None:
    start, data = Run.open(tiny_models / "tiny-gvae"), SliceSet.open(tiny_data)
    wider = override(start.config, {"dimensions": 5})
    with pytest.raises(UserError, match=r"other settings than this training: dimensions=4"):
        fit(wider, data, tmp_path / "a", device="cpu", start=start)
    shaped = {
        "labels": {"rounds": 1},
        "labels of held-out patients": {"rounds": 1, "labels_of": "released"},
        r"guides \(diameter\)": {"guided": ["diameter"]},
        "a discriminator": {"adversarial": 1},
    }
    for what, changes in shaped.items():
        info = start.info.model_copy(update={"config": override(start.config, changes)})
        with pytest.raises(UserError, match=rf"shaped by .*{what}"):
            fit(start.config, data, tmp_path / "c", device="cpu", start=replace(start, info=info))
    other = write(tmp_path / "other", *blobs(60), data.info)
    with pytest.raises(UserError, match="has other content"):
        fit(start.config, other, tmp_path / "b", device="cpu", start=start)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_run_keeps_the_running_mean_of_its_weights(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, name = SliceSet.open(tiny_data), "decoder.network.stem.weight"
    steps: list[torch.Tensor] = []
    update = AveragedModel.update_parameters

    def watched(average: AveragedModel, vae: torch.nn.Module) -> None:
        steps.append(vae.get_parameter(name).detach().clone())
        update(average, vae)

    monkeypatch.setattr(AveragedModel, "update_parameters", watched)
    config = override(preset("gvae"), {**TINY, "ema": 0.75})
    run, _ = fit(config, data, tmp_path / "mean", device="cpu")
    expected = steps[0]
    for step in steps[1:]:
        expected = 0.75 * expected + 0.25 * step
    torch.testing.assert_close(weights(run.folder)[name], expected)
    last, _ = load_tensors(run.folder / "last.safetensors")
    torch.testing.assert_close(last[f"model.{name}"], steps[-1])
    vae, (_, held_out) = run.load_model(), run.split(data.table)
    figures, _, _ = validate(vae, torch.tensor(np.asarray(data.slices[held_out])), config)
    assert run.metrics()[-1]["validation"] == pytest.approx(figures, rel=1e-5)  # what is judged is kept
    fit(override(config, {"ema": 0}), data, tmp_path / "without", device="cpu")
    assert torch.equal(weights(tmp_path / "without")[name], steps[-1])


@pytest.mark.long
def test_a_model_learns(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    for name in ("gvae", "dirvae"):
        # From random weights: from principal components the first epoch is nearly as good as the last.
        changes = {"width": 8, "epochs": 12, "batch_size": 16, "learning_rate": 0.01, "linear_path": False}
        config = override(preset(name), {**TINY, **changes})
        run, _ = fit(config, data, tmp_path / name, device="cpu")
        first, last = run.metrics()[0]["validation"], run.metrics()[-1]["validation"]
        assert last["mse"] < 0.8 * first["mse"]
        assert last["ssim"] > first["ssim"]


def test_the_seed_decides(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    config = override(preset("gvae"), {**TINY, "epochs": 1})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(override(config, {"seed": seed}), data, tmp_path / name, device="cpu")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_run_is_complete(tiny_models: Path) -> None:
    for name in ("tiny-gvae", "tiny-dirvae"):
        run = Run.open(tiny_models / name)
        rows = run.metrics()
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[1]["validation"].keys() >= {"ssim", "mse", "mae", "kl", "active_units"}
        table, codes = run.latents()
        assert codes.shape == (len(table), 4) == (120, 4)
        assert set(table["split"]) == {"train", "validation"}
        held_out = set(table["patient_id"][table["split"] == "validation"])
        assert not held_out & set(table["patient_id"][table["split"] == "train"])
        names = {path.name for path in run.folder.iterdir()}
        assert not {n for n in names if n.endswith((".pkl", ".pt", ".pth", ".tmp"))}
        info = json.loads((run.folder / "config.json").read_text())
        assert info["versions"]["torch"] == torch.__version__


def test_saving_and_loading_is_exact(tiny_models: Path, tiny_data: Path) -> None:
    data = SliceSet.open(tiny_data)
    for name in ("tiny-gvae", "tiny-dirvae"):
        run = Run.open(tiny_models / name)
        _, codes = run.latents()
        np.testing.assert_array_equal(run.load_model().encode_hu(data.slices), codes)


def test_slices_of_other_data_are_unseen(tiny_models: Path, tmp_path: Path) -> None:
    import shutil

    from lungvae_core.data.slices import DatasetInfo

    folder = shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run")
    other = write(tmp_path / "d", *blobs(10, seed=5), DatasetInfo(name="o", source="t", rule="n"))
    encode(Run.open(folder), other)
    assert set(Run.open(folder).latents()[0]["split"]) == {"unseen"}


def test_existing_runs_are_kept(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    config = override(preset("gvae"), {**TINY, "epochs": 1})
    fit(config, data, tmp_path / "a", device="cpu")
    before = (tmp_path / "a" / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="Add --resume"):
        fit(config, data, tmp_path / "a", device="cpu")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == before
    with pytest.raises(UserError, match="no run to resume"):
        fit(config, data, tmp_path / "b", device="cpu", resume=True)
    assert not (tmp_path / "b").exists()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        fit(config, data, tmp_path / "c", device="cpu")
    from lungvae_core.data.slices import DatasetInfo

    other = write(tmp_path / "d", *blobs(30, seed=5), DatasetInfo(name="o", source="t", rule="n"))
    with pytest.raises(UserError, match="other content"):
        fit(config, other, tmp_path / "a", device="cpu", resume=True)


def test_two_processes_do_not_write_one_run(tiny_data: Path, tmp_path: Path) -> None:
    with folder_lock(tmp_path / "a", what="the run"), pytest.raises(UserError, match="Another process"):
        fit(override(preset("gvae"), TINY), SliceSet.open(tiny_data), tmp_path / "a", device="cpu")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]


def test_a_loss_that_is_not_finite_stops_with_the_slices(tiny_data: Path, tmp_path: Path) -> None:
    config = override(preset("gvae"), {**TINY, "learning_rate": 1, "beta": 1e38, "warmup_epochs": 0})
    with pytest.raises(UserError, match=r"not a finite number in epoch 1.*TEST-"):
        fit(config, SliceSet.open(tiny_data), tmp_path / "a", device="cpu")


def test_damaged_models_are_reported(tiny_models: Path, tmp_path: Path) -> None:
    import shutil

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / name))

    folder = copy("truncated")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        Run.open(folder).load_model()
    folder = copy("other")
    raw = json.loads((folder / "config.json").read_text())
    raw["config"]["model"]["dimensions"] = 5
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="do not fit"):
        Run.open(folder).load_model()
    folder = copy("nan")
    tensors, state = load_tensors(folder / "model.safetensors")
    tensors["encoder.network.head.bias"] *= float("nan")
    save_tensors(folder / "model.safetensors", tensors, state)
    with pytest.raises(UserError, match="not finite"):
        Run.open(folder).load_model()
    for content, said in (("{", "not JSON"), ('{"format": 9}', "newer version"), ("[]", "not an object")):
        (folder / "config.json").write_text(content)
        with pytest.raises(UserError, match=said):
            Run.open(folder)
    with pytest.raises(UserError, match="is not a model"):
        Run.open(tmp_path)


def test_devices_that_are_not_there_are_reported() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="no device 'tpu'"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA"):
            pick_device("cuda")


def test_no_room_for_the_network_is_reported(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("lungvae_core.training.fit.VAE", full)
    with pytest.raises(UserError, match="ran out of memory"):
        fit(override(preset("gvae"), TINY), SliceSet.open(tiny_data), tmp_path / "a", device="cpu")


def test_weights_are_checked_against_their_hash(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "weights.safetensors"
    written = {"a": torch.randn(3, 4), "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}
    save_tensors(path, written, {"epoch": 1})
    read, state = load_tensors(path)
    assert state == {"epoch": 1}
    assert all(torch.equal(read[name], value) for name, value in written.items())
    raw = bytearray(path.read_bytes())
    raw[-30] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UserError, match="not those that were written"):
        load_tensors(path)


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "models").glob("*/*.safetensors")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_the_weights_that_ship_have_their_hashes(path: Path) -> None:
    tensors, _ = load_tensors(path)
    assert read_header(path).state["content_sha256"] == content_hash(tensors)


def test_older_weights_are_compared_with_the_hash_beside_them(tmp_path: Path) -> None:
    tensors = {"weight": torch.arange(4.0)}
    path, listed = tmp_path / "model.safetensors", tmp_path / "hashes.json"
    save_file(tensors, path)
    load_tensors(path)
    listed.write_text(json.dumps({path.name: content_hash(tensors)}))
    torch.testing.assert_close(load_tensors(path)[0]["weight"], tensors["weight"])
    listed.write_text(json.dumps({path.name: "0" * 64}))
    with pytest.raises(UserError, match="not those that were written"):
        load_tensors(path)
