"""Reconstruction figures: known errors give known figures, and nobody is judged on whom a run trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lungvae_core.data.resample import masks_at_spacing, to_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import share_of_patients
from lungvae_core.errors import UserError
from lungvae_core.evaluation.reconstruction import (
    INSIDE,
    WHOLE,
    compare,
    reconstruction,
    slice_figures,
    summarise,
    trained_patients,
)
from lungvae_core.evaluation.subgroups import SIZE_BANDS
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.joint import RELEASED_SHARE
from lungvae_core.vae.config import override

WINDOW = (-1000.0, 400.0)


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> SliceSet:
    return SliceSet.open(tiny_data)


@pytest.fixture(scope="module")
def run(tiny_models: Path) -> Run:
    return Run.open(tiny_models / "tiny-gvae")


@pytest.fixture(scope="module")
def held_out(run: Run, data: SliceSet) -> np.ndarray:
    return run.split(data.table)[1]


def discs(count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Images (N, 1, 64, 64) in 0..1 of texture, and the mask (N, 64, 64) of a disc in each."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.5
    masks = (y**2 + x**2 < np.linspace(4, 12, count)[:, None, None] ** 2).astype(np.uint8)
    images = 0.25 + 0.4 * masks + 0.05 * generator.normal(size=(count, 64, 64))
    return torch.tensor(images, dtype=torch.float32).clamp(0, 0.8)[:, None], masks


def of(figures: pd.DataFrame, count: int, *, size: float = 10.0) -> pd.DataFrame:
    """The frame that `slice_figures` makes of them, every slice being of a patient of its own."""
    where = {"row": range(count), "patient_id": [f"P{number}" for number in range(count)]}
    return pd.DataFrame({**where, "diameter_mm": size}).join(figures)


@pytest.mark.parametrize("offset", [0.1, 0.02])
def test_a_constant_offset_has_the_figures_that_one_can_write_down(offset: float) -> None:
    x, masks = discs(4)
    found = summarise(of(compare(x, x + offset, masks, WINDOW), 4), WINDOW, resamples=20)
    expected = {
        "mse": offset**2,
        "mae": offset,
        "psnr": -20 * np.log10(offset),
        "mae_hu": offset * 1400,
        "rmse_hu": offset * 1400,
    }
    for part in ("whole", "inside_mask"):
        for name, value in expected.items():
            figure = found[part][name]
            assert figure["value"] == pytest.approx(value, rel=1e-4)
            # All slices have the same error, so that no resample can differ.
            assert figure["low"] == pytest.approx(value, rel=1e-4)
            assert figure["high"] == pytest.approx(value, rel=1e-4)
    assert found["window_hu"] == [-1000.0, 400.0]


def test_a_perfect_reconstruction_is_perfect_and_finite() -> None:
    x, masks = discs(3)
    found = summarise(of(compare(x, x, masks, WINDOW), 3), WINDOW, resamples=20)
    assert found["whole"]["ssim"]["value"] == pytest.approx(1)
    assert found["whole"]["ms_ssim"]["value"] == pytest.approx(1)
    assert found["whole"]["psnr"]["value"] == found["inside_mask"]["psnr"]["value"] == pytest.approx(100)
    assert found["whole"]["rmse_hu"]["value"] == 0


def test_figures_inside_the_mask_know_only_what_is_inside() -> None:
    x, masks = discs(4)
    inside = torch.tensor(masks > 0)[:, None]
    outside_wrong = compare(x, torch.where(inside, x, x + 0.2), masks, WINDOW)
    assert (outside_wrong["inside_mse"] == 0).all()
    assert (outside_wrong["mse"] > 0).all()
    inside_wrong = compare(x, torch.where(inside, x + 0.2, x), masks, WINDOW)
    assert np.allclose(inside_wrong["inside_mse"], 0.04, atol=1e-6)
    assert np.allclose(inside_wrong["inside_mae"], 0.2, atol=1e-6)
    share = masks.reshape(4, -1).mean(1)
    assert np.allclose(inside_wrong["mse"], 0.04 * share, atol=1e-7)


def test_ssim_and_psnr_are_those_of_scikit_image() -> None:
    x, masks = discs(5)
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    found = compare(x, y, masks, WINDOW)
    for row, (one, other) in enumerate(zip(x[:, 0].double().numpy(), y[:, 0].double().numpy(), strict=True)):
        ssim = structural_similarity(
            one, other, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert found["ssim"][row] == pytest.approx(ssim, abs=1e-4)
        psnr = peak_signal_noise_ratio(one, other, data_range=1.0)
        assert found["psnr"][row] == pytest.approx(psnr, abs=1e-4)


def test_every_slice_counts_once_and_whole_patients_are_resampled() -> None:
    x, masks = discs(4)
    y = x.clone()
    y[0] += 0.2
    frame = of(compare(x, y, masks, WINDOW), 4)
    whole = summarise(frame, WINDOW, resamples=2000)["whole"]
    assert whole["mae"]["value"] == pytest.approx(0.05, rel=1e-4)
    assert whole["rmse_hu"]["value"] == pytest.approx(1400 * np.sqrt(0.04 / 4), rel=1e-4)
    # The number of draws of the bad patient is binomial (4, 1/4): none in 32 %, three or more in 5 %.
    assert whole["mae"]["low"] == 0
    assert whole["mae"]["high"] == pytest.approx(0.15, rel=1e-3)
    one = summarise(frame.assign(patient_id="P"), WINDOW)
    assert one["patients"] == 1
    assert one["whole"]["mae"] == {"value": pytest.approx(0.05, rel=1e-4), "low": None, "high": None}


def test_size_bands_take_the_slices_of_their_diameters() -> None:
    x, masks = discs(6)
    offset = torch.tensor([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])[:, None, None, None]
    frame = of(compare(x, x + offset, masks, WINDOW), 6)
    frame["diameter_mm"] = [5.9, 6.0, 7.9, 8.0, 15.0, np.nan]
    found = summarise(frame, WINDOW, resamples=20)
    assert [(band["band"], band["slices"]) for band in found["by_size"]] == [
        ("under 6 mm", 1),
        ("6 to under 8 mm", 2),
        ("8 to under 15 mm", 1),
        ("15 mm and over", 1),
    ]
    values = [band["mae"]["value"] for band in found["by_size"]]
    assert values == pytest.approx([0.01, 0.025, 0.04, 0.05], rel=1e-3)
    assert [band["inside_mae"]["value"] for band in found["by_size"]] == pytest.approx(values, rel=1e-3)
    assert found["slices"] == 6
    assert list(SIZE_BANDS) == [band["band"] for band in found["by_size"]]


def test_slices_without_a_mask_have_no_figure_inside() -> None:
    x, masks = discs(4)
    masks[1] = 0
    found = compare(x, x + 0.1, masks, WINDOW)
    assert np.isnan(found["inside_mse"][1])
    inside = summarise(of(found, 4), WINDOW, resamples=20)["inside_mask"]
    assert inside["mae"]["value"] == pytest.approx(0.1, rel=1e-4)
    assert summarise(of(compare(x, x, 0 * masks, WINDOW), 4), WINDOW, resamples=20)["inside_mask"] is None


def test_a_runs_figures_are_those_of_its_own_reconstructions(
    run: Run, data: SliceSet, held_out: np.ndarray
) -> None:
    found = reconstruction(run, data, held_out, resamples=50)
    turned = reconstruction(run, data, held_out[::-1], resamples=50)
    for name, figure in found["whole"].items():
        assert figure == pytest.approx(turned["whole"][name], rel=1e-5)
    assert list(found["whole"]) == list(WHOLE)
    assert list(found["inside_mask"]) == list(INSIDE)
    assert found["patients"] == data.table.iloc[held_out]["patient_id"].nunique()
    hu = np.clip(data.slices[held_out].astype(float), *WINDOW)
    vae = run.load_model()
    drawn = vae.decode_codes(vae.encode_hu(data.slices[held_out])).astype(float) * 1400 - 1000
    assert found["whole"]["mae_hu"]["value"] == pytest.approx(np.abs(hu - drawn).mean(), rel=1e-4)
    assert found["whole"]["rmse_hu"]["value"] == pytest.approx(
        np.sqrt(np.square(hu - drawn).mean()), rel=1e-4
    )
    table, _ = run.latents()  # what encoding kept
    assert found["whole"]["ssim"]["value"] == pytest.approx(table["ssim"].iloc[held_out].mean(), abs=1e-4)
    for figure in (*found["whole"].values(), *found["inside_mask"].values()):
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_what_lies_beyond_the_window_is_not_judged(run: Run, data: SliceSet, held_out: np.ndarray) -> None:
    row = held_out[:1]
    bright = np.where(data.masks[row] > 0, 3000, data.slices[row]).astype(np.int16)
    clipped = np.minimum(bright, 400).astype(np.int16)
    figures = []
    for hu in (bright, clipped):
        slices = np.array(data.slices)
        slices[row] = hu
        figures.append(reconstruction(run, replace(data, slices=slices), row, resamples=2))
    assert figures[0] == figures[1]


def test_training_patients_are_refused(run: Run, data: SliceSet, held_out: np.ndarray) -> None:
    trained = run.split(data.table)[0]
    with pytest.raises(
        UserError, match=r"1 of the \d+ slices are of 1 patients that the model .* trained on"
    ):
        reconstruction(run, data, np.append(held_out, trained[0]))
    with pytest.raises(UserError, match="no held-out slice"):
        reconstruction(run, data, held_out[:0])
    # Under the same names in another set of the same kind they are the same patients.
    elsewhere = replace(data, info=data.info.model_copy(update={"content_hash": "another"}))
    with pytest.raises(UserError, match="trained on"):
        slice_figures(run, elsewhere, trained[:3])


def test_an_old_run_tells_its_patients_by_its_seed_or_its_codes(run: Run, data: SliceSet) -> None:
    trained = {str(name) for name in data.table.iloc[run.split(data.table)[0]]["patient_id"]}
    old = replace(run, info=run.info.model_copy(update={"trained": None, "held_out": None}))
    assert trained_patients(old, data) == trained
    part = replace(data, table=data.table.iloc[:50])
    assert trained_patients(old, part) == trained
    without_codes = replace(old, folder=run.folder / "nowhere")
    with pytest.raises(UserError, match="does not say on which patients"):
        trained_patients(without_codes, part)
    scanned = replace(data, info=data.info.model_copy(update={"generated": False}))
    assert trained_patients(run, scanned) == set()


def test_the_released_joint_phase_has_trained_on_held_out_patients_too(run: Run, data: SliceSet) -> None:
    config = override(run.config, {"rounds": 1, "labels_of": "released"})
    leaking = replace(run, info=run.info.model_copy(update={"config": config}))
    shared = share_of_patients(data.table, share=RELEASED_SHARE, seed=config.training.seed)
    known = trained_patients(leaking, data)
    assert known == trained_patients(run, data) | set(data.table.iloc[shared]["patient_id"])
    assert known > trained_patients(run, data)


def test_a_model_of_fixed_spacing_compares_what_it_sees(
    run: Run, data: SliceSet, held_out: np.ndarray
) -> None:
    config = override(run.config, {"spacing_mm": 0.9})
    fixed = replace(run, info=run.info.model_copy(update={"config": config}))
    found = slice_figures(fixed, data, held_out)
    hu = to_spacing(data.slices[held_out], np.full(len(held_out), 0.7), 0.9)
    vae = run.load_model()
    error = vae.decode_codes(vae.encode_hu(hu)) - (np.clip(hu, *WINDOW) + 1000) / 1400
    mask = masks_at_spacing(data.masks[held_out], data.table.iloc[held_out], 0.9) > 0
    assert np.allclose(found["mae"], np.abs(error).mean((1, 2)), atol=1e-5)
    assert found["inside_mae"].mean() == pytest.approx(
        np.mean([np.abs(one[where]).mean() for one, where in zip(error, mask, strict=True)]), rel=1e-4
    )
    unknown = replace(data, table=data.table.drop(columns="pixel_spacing_mm"))
    with pytest.raises(UserError, match="pixel spacing is not known"):
        slice_figures(fixed, unknown, held_out)


def test_another_window_within_the_models_is_that_of_clipped_slices(
    run: Run, data: SliceSet, held_out: np.ndarray
) -> None:
    whole = slice_figures(run, data, held_out)
    assert np.allclose(slice_figures(run, data, held_out, window_hu=WINDOW)["mse"], whole["mse"], atol=1e-7)
    narrow = slice_figures(run, data, held_out, window_hu=(-500, 400))
    drawn = run.load_model().decode_codes(run.load_model().encode_hu(data.slices[held_out])) * 1400 - 1000
    real = np.clip(data.slices[held_out], -500, 400)
    mae = np.abs(np.clip(drawn, -500, 400) - real).mean((1, 2)) / 900
    assert np.allclose(narrow["mae"], mae, atol=1e-5)
    found = reconstruction(run, data, held_out, window_hu=(-500, 400), resamples=5)
    assert found["window_hu"] == [-500, 400]
    for beyond in ((-1200, 400), (-500, 500), (0, 0)):
        with pytest.raises(UserError, match="not within the model's"):
            reconstruction(run, data, held_out, window_hu=beyond)
