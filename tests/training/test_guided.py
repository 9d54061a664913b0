"""Guided dimensions: what they follow, that they follow it, and that held-out patients have no part in it."""

from __future__ import annotations

from pathlib import Path
from statistics import median_high

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from lungvae_core.data.outlines import outlines_of
from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import classify
from lungvae_core.training.checkpoints import default_split
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.encode import encode
from lungvae_core.training.fit import fit
from lungvae_core.training.guided import guided_loss, guides
from lungvae_core.training.weights_file import load_tensors
from lungvae_core.vae.config import Config, ObjectiveConfig, override, preset
from tests.conftest import blobs

# A lesion drawn apart and what a reader reads of it have tests of their own.
TINY = {
    "width": 4,
    "dimensions": 4,
    "epochs": 1,
    "batch_size": 32,
    "lesion_layer": False,
    "guided_ratings": 0,
    "guided_anchor": 5,
    "pca_start": False,
}


def config_of(guided: str, name: str = "gvae-guided", **changes: object) -> Config:
    return override(preset(name), {**TINY, "guided": guided, **changes})


def drawn(count: int = 40) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Ellipses in noise of known size, brightness, elongation and edge: (hu, masks, the truth)."""
    generator = np.random.default_rng(0)
    truth = pd.DataFrame(
        {
            "diameter": generator.uniform(10, 26, count),
            "density": generator.uniform(-300, 100, count),
            "elongation": generator.uniform(1, 1.8, count),
            "edge": generator.uniform(0.5, 2.5, count),  # the steeper the sharper
        }
    )
    y, x = np.mgrid[:64, :64] - 31.75
    stretch = np.sqrt(truth["elongation"].to_numpy())[:, None, None]
    distance = np.hypot(y * stretch, x / stretch) - truth["diameter"].to_numpy()[:, None, None] / 2
    share = 1 / (1 + np.exp(2 * truth["edge"].to_numpy()[:, None, None] * distance))
    hu = -850 + (truth["density"].to_numpy()[:, None, None] + 850) * share
    noisy = hu + generator.normal(0, 10, hu.shape)
    return noisy.round().astype(np.int16), (distance < 0).astype(np.uint8), truth


def test_outlines_of_masks_hold_what_the_masks_do() -> None:
    hu, masks, _ = drawn()
    result = outlines_of(hu, masks)
    assert result.trusted.all()
    np.testing.assert_allclose(result.area(), masks.sum((1, 2)), rtol=0.08)
    assert (result.masks() != (masks > 0)).mean() < 0.01
    empty = outlines_of(hu[:2], np.zeros_like(masks[:2]))
    assert not empty.trusted.any()
    assert len(outlines_of(hu[:0], masks[:0]).radius) == 0


def test_measured_guides_follow_the_truth_and_rows_beyond_have_none() -> None:
    hu, masks, truth = drawn()
    names = ["diameter", "density", "elongation", "edge"]
    rows = np.arange(30)
    result, _ = guides(config_of(",".join(names), dimensions=6), hu, masks, truth, rows)
    assert result.shape == (40, 4)
    assert np.isnan(result[30:]).all()
    for at, name in enumerate(names):
        assert spearmanr(result[rows, at], truth[name].to_numpy()[rows])[0] > 0.95, name
    assert abs(spearmanr(result[rows, 3], result[rows, 1])[0]) < 0.4  # brighter is not sharper
    narrow, _ = guides(config_of("density", hu_high=-100), hu, masks, truth, rows)
    assert np.nanmax(narrow) == pytest.approx(-100, abs=1)  # what lies beyond the window is not told apart


def test_rated_guides_are_the_readers_means() -> None:
    table = pd.DataFrame(
        {"spiculation_all": ["1|2", "5", "", "3|3|4"], "calcification_all": ["6|6", "6|3", "", "1"]}
    )
    hu = np.zeros((4, 64, 64), np.int16)
    config = config_of("spiculation,calcification")
    result, _ = guides(config, hu, np.zeros((4, 64, 64), np.uint8), table, np.array([0, 1, 2]))
    expected = [[1.5, 0], [5, 0.5], [np.nan, np.nan], [np.nan, np.nan]]
    np.testing.assert_allclose(result, expected)


@pytest.mark.parametrize(
    ("guided", "message"),
    [("lobulation", "no column lobulation_all"), ("edge", "differ in edge.*readers' masks")],
)
def test_guides_that_the_data_lack_are_named(guided: str, message: str) -> None:
    slices, masks, table = blobs(20)
    with pytest.raises(UserError, match=message):
        guides(config_of(guided), slices, np.zeros_like(masks), table, np.arange(20))


@pytest.mark.parametrize("guided", ["lobulation", "edge"])
def test_data_that_cannot_guide_leave_no_run_behind(guided: str, tmp_path: Path) -> None:
    slices, masks, table = blobs(20)
    info = DatasetInfo(name="x", source="tests", rule="", generated=True)
    write(tmp_path / "data", slices, np.zeros_like(masks), table, info)
    with pytest.raises(UserError, match=guided):
        fit(config_of(guided), SliceSet.open(tmp_path / "data"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_loss_is_its_formula() -> None:
    values = torch.tensor([[1.0, 4.0], [2.0, float("nan")], [2.0, 1.0], [5.0, 2.0]])
    own = torch.tensor([[0.3, -0.2], [0.1, 5.0], [1.2, 0.4], [2.0, 0.9]])
    weights = ObjectiveConfig(guided_weight=7, guided_slope=2)
    expected = 0.0
    for guide in range(2):
        for i in range(4):
            for j in range(4):
                a, b = values[i, guide], values[j, guide]
                if torch.isnan(a) or torch.isnan(b):
                    continue
                apart = torch.tanh(2 * (own[i, guide] - own[j, guide]))
                expected += 7 * float((apart - torch.sign(a - b)).abs()) / 16
    assert float(guided_loss((own, own[:, :0]), values, weights)) == pytest.approx(expected, rel=1e-5)
    in_order = 50 * torch.nan_to_num(values)
    assert float(guided_loss((in_order[:, :1], own), values[:, :1], weights)) < 1e-3
    against = float(guided_loss((-in_order[:, :1], own), values[:, :1], weights))
    assert against == pytest.approx(7 * 2 * 10 / 16)


def test_free_dimensions_pay_for_saying_what_a_guide_says() -> None:
    generator = torch.Generator().manual_seed(0)
    values, free = torch.randn(40, 2, generator=generator), torch.randn(40, 5, generator=generator)
    values[3, 1] = float("nan")
    weights = ObjectiveConfig(guided_weight=0, guided_apart=10)
    expected = 0.0
    for guide in range(2):
        has = ~torch.isnan(values[:, guide])
        each = [np.corrcoef(values[has, guide], free[has, at])[0, 1] ** 2 for at in range(5)]
        expected += 10 * float(np.mean(each))
    assert float(guided_loss((values, free), values, weights)) == pytest.approx(expected, rel=1e-3)
    copied = torch.cat([values[:, :1], free], 1)
    assert float(guided_loss((values, copied), values, weights)) > expected + 1


@pytest.mark.parametrize("whose", ["held-out", "training"])
def test_nothing_of_held_out_patients_reaches_a_weight(whose: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    slices, masks, table = blobs(60)
    config = config_of("diameter,density,spiculation,malignancy", dimensions=6, mask_focus=1, guided_apart=5)
    train, held_out = default_split(config, table)

    def trained(name: str) -> dict[str, torch.Tensor]:
        info = DatasetInfo(name=name, source="tests", rule="", generated=True)
        write(tmp_path / name, slices, masks, table, info)
        # The same patients whatever their labels, by which the default split draws alike.
        split, folder = (train, held_out), tmp_path / f"{name}-run"
        run, _ = fit(config, SliceSet.open(tmp_path / name), folder, device="cpu", split=split)
        return load_tensors(run.folder / "model.safetensors")[0]

    before = trained("before")
    rows = train if whose == "training" else held_out
    generator = np.random.default_rng(1)
    masks[rows] *= generator.random(masks[rows].shape) < 0.8
    for column in ("malignancy_all", "spiculation_all"):
        of_patient = generator.choice(["1|1", "3|2", "5|5"], 12)  # with a nodule of five slices each
        table.loc[rows, column] = of_patient[rows // 5]
    table["malignancy"] = [median_high(map(int, text.split("|"))) for text in table["malignancy_all"]]
    table.loc[rows, "diameter_mm"] *= 3
    if whose == "held-out":
        slices[rows] = generator.permutation(slices[rows])
    after = trained("after")
    same = all(torch.equal(before[name], after[name]) for name in before)
    assert same == (whose == "held-out")  # what is changed here does reach them, where it may


@pytest.mark.long
@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_a_guided_dimension_follows_its_guide_on_held_out_patients(
    name: str, tiny_data: Path, tmp_path: Path
) -> None:
    data = SliceSet.open(tiny_data)
    changes = {"epochs": 8, "batch_size": 16, "learning_rate": 0.01, "guided_weight": 200}
    run, _ = fit(config_of("diameter", name, **changes), data, tmp_path / name, device="cpu")
    assert run.metrics()[-1]["train"]["guided_loss"] < 0.5 * run.metrics()[0]["train"]["guided_loss"]
    encode(run, data)
    table, codes = run.latents()
    vae, held_out = run.load_model(), (table["split"] != "train").to_numpy()
    guided, _ = vae.latent.coordinates(torch.tensor(codes.copy()), 1)
    assert spearmanr(guided[held_out, 0], table["area_px"][held_out])[0] > 0.8
    report = classify(run, ClassifierConfig(hidden=(8,), epochs=2))
    assert report["protocol"] == "joint"  # labels of the others shaped the codes: held-out patients alone
