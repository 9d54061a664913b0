"""A run's files: columns by exact names, whatever a person's are called; a published model's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import READER, Run
from lungvae_core.training.weights_file import load_tensors, save_tensors
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.model import VAE
from tests.conftest import few_guides


@pytest.fixture
def run(tiny_data: Path, tmp_path: Path) -> tuple[Run, SliceSet]:
    config = override(preset("gvae"), {"width": 4, "dimensions": 4})
    data = SliceSet.open(tiny_data)
    (tmp_path / "run").mkdir()
    return Run.create(tmp_path / "run", config, data, device="cpu"), data


def test_columns_that_begin_as_codes_do_are_the_persons_own(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    codes = np.arange(len(data) * 4, dtype=np.float32).reshape(-1, 4)
    made.write_latents(data.table.assign(code_site="A", code_of_scanner=1, split="train"), codes)
    table, read = made.latents()
    np.testing.assert_array_equal(read, codes)
    assert {"code_site", "code_of_scanner", "split"} <= set(table)


def test_a_score_without_its_kind_is_not_the_models(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    codes = np.zeros((len(data), 4), np.float32)
    made.write_latents(data.table.assign(score=0.9, label="x"), codes)
    table, _ = made.latents()
    assert {"own:score", "own:label"} <= set(table)
    assert not {"score", "label"} & set(table)
    made.write_latents(data.table.assign(score=0.9, score_kind="fitted"), codes)
    assert {"score", "score_kind"} <= set(made.latents()[0])


def test_codes_of_another_number_are_damage(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    made.write_latents(data.table, np.zeros((len(data), 3), np.float32))
    with pytest.raises(UserError, match="3 code columns, but the model has 4"):
        made.latents()


def test_a_patient_spelled_otherwise_stays_on_their_side(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    train, held_out = made.split(data.table)
    other = data.table.assign(patient_id=data.table["patient_id"].str.lower().str.replace("-0", "_"))
    again = made.split(other)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(held_out, again[1])
    assert len(train)
    assert len(held_out)


def test_rating_networks_are_published_in_a_file_of_their_own(tiny_data: Path, tmp_path: Path) -> None:
    config = override(preset("gvae-guided"), {**few_guides("gvae-guided"), "width": 4})
    (tmp_path / "run").mkdir()
    run = Run.create(tmp_path / "run", config, SliceSet.open(tiny_data), device="cpu")
    vae = VAE(config.model)
    run.save_model(vae)
    whole = run.load_model().state_dict()
    run.publish_model(vae)
    tensors, _ = load_tensors(run.folder / "model.safetensors")
    assert not any(".reader." in name for name in tensors)
    for name, weight in run.load_model().state_dict().items():
        torch.testing.assert_close(weight, whole[name], atol=1e-3, rtol=1e-3)
    (run.folder / READER).write_bytes((run.folder / READER).read_bytes()[:-4])
    with pytest.raises(UserError, match=READER):
        run.load_model()
    (run.folder / READER).unlink()
    with pytest.raises(UserError, match=f"{READER} does not exist"):
        run.load_model()


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_published_weights_are_rounded_where_that_does_not_show(
    tiny_data: Path, tmp_path: Path, name: str
) -> None:
    config = override(preset(name), {"dimensions": 16, "linear_path": True, "width": 16})
    (tmp_path / "run").mkdir()
    run = Run.create(tmp_path / "run", config, SliceSet.open(tiny_data), device="cpu")
    vae = VAE(config.model).eval()
    run.publish_model(vae)
    tensors, _ = load_tensors(run.folder / "model.safetensors")
    kinds = {weight: tensors[weight].dtype for weight in vae.state_dict()}
    assert torch.int8 in kinds.values()
    assert {kind for weight, kind in kinds.items() if ".path.weight" in f".{weight}"} == {torch.float16}
    assert (run.folder / "model.safetensors").stat().st_size < 0.4 * sum(
        4 * weight.numel() for weight in vae.state_dict().values()
    )
    loaded = run.load_model()
    for weight, exact in vae.state_dict().items():
        rounded = loaded.state_dict()[weight]
        assert rounded.dtype == exact.dtype
        torch.testing.assert_close(rounded, exact, atol=float(exact.abs().max()) / 250, rtol=1e-3)
    hu = np.random.default_rng(0).uniform(-1000, 400, (4, 64, 64)).astype(np.float32)
    codes = vae.encode_hu(hu)
    np.testing.assert_allclose(loaded.encode_hu(hu), codes, atol=0.05 * codes.std())
    np.testing.assert_allclose(loaded.decode_codes(codes), vae.decode_codes(codes), atol=0.01)


def test_weights_in_eight_bits_without_their_steps_are_refused(tiny_data: Path, tmp_path: Path) -> None:
    config = override(preset("gvae"), {"width": 16})
    (tmp_path / "run").mkdir()
    run = Run.create(tmp_path / "run", config, SliceSet.open(tiny_data), device="cpu")
    run.publish_model(VAE(config.model))
    path = run.folder / "model.safetensors"
    tensors, _ = load_tensors(path)
    step = next(name for name in tensors if name.endswith(".step"))
    for changed in (
        {name: tensor for name, tensor in tensors.items() if name != step},
        tensors | {step: tensors[step][:-1]},
        tensors | {step: tensors[step] * float("nan")},
        tensors | {"decoder.step": tensors[step]},
    ):
        save_tensors(path, changed, {})
        with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
            run.load_model()
