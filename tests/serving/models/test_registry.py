"""Models are found, opened once, renewed when their files change, and left out with a reason when damaged."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.caches import size_of
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import CROSS_VALIDATED, FITTED
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings


def test_models_are_opened_once_and_renewed(registry: Registry) -> None:
    assert [entry.name for entry in registry.entries()] == ["tiny-dirvae", "tiny-gvae"]
    first = registry.load("tiny-gvae")
    assert registry.load("tiny-gvae") is first
    (first.entry.folder / "samples.png").touch()
    assert registry.load("tiny-gvae") is first
    (first.entry.folder / "evaluation.json").write_text("{}")
    assert registry.load("tiny-gvae") is not first


def test_a_shipped_guided_model_is_the_default(tiny_models: Path, tmp_path: Path) -> None:
    for place in ("models", "runs"):
        shutil.copytree(tiny_models, tmp_path / place)
    for place in ("models", "runs"):
        config = tmp_path / place / "tiny-gvae" / "config.json"
        info = json.loads(config.read_text())
        info["config"]["objective"]["guided"] = ["diameter"]
        config.write_text(json.dumps(info))
    (tmp_path / "runs" / "tiny-gvae").rename(tmp_path / "runs" / "mine")
    registry = Registry(Settings(models=tmp_path / "models", runs=tmp_path / "runs", data=tmp_path / "no"))
    entries = [(entry.name, entry.guided) for entry in registry.entries()]
    assert entries == [("tiny-gvae", True), ("tiny-dirvae", False), ("mine", True)]


def test_unfinished_and_damaged_models_are_left_out(registry: Registry) -> None:
    folder = registry.settings.runs / "tiny-gvae"
    (folder / "latents.parquet").unlink()
    assert [entry.name for entry in registry.entries()] == ["tiny-dirvae"]
    (registry.settings.runs / "tiny-dirvae" / "config.json").write_text("{")
    assert registry.entries() == []
    assert list(registry.broken()) == [str(registry.settings.runs / "tiny-dirvae")]
    with pytest.raises(UserError, match="damaged"):
        registry.load("tiny-dirvae")


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_predictions_match_the_saved_codes(registry: Registry, tiny_data: Path, name: str) -> None:
    model, data = registry.load(name), SliceSet.open(tiny_data)
    own = str(model.table["patient_id"][7])
    found = model.predict(data.slices[7], exclude_patient=own)
    np.testing.assert_allclose(found.code, model.codes[7], atol=1e-6)
    assert own not in {near["patient_id"] for near in found.neighbours}
    same = model.predict(data.slices[7], exclude_patient=f" {own.lower()}")  # an old run's other spelling
    assert [near["row"] for near in same.neighbours] == [near["row"] for near in found.neighbours]
    distances = [near["distance"] for near in found.neighbours]
    assert distances == sorted(distances)
    assert model.predict(data.slices[7]).neighbours[0]["row"] == 7
    np.testing.assert_allclose(found.reconstruction, model.decode(model.codes[7][None])[0], atol=1e-6)
    assert 0 <= found.ssim_rank <= 1
    assert 0 <= found.distance_rank <= 1
    with pytest.raises(UserError, match="64x64"):
        model.predict(data.slices[7][:32])


def test_pages_begin_with_a_usual_lesion_of_a_patient_that_the_model_was_not_trained_on(
    registry: Registry,
) -> None:
    model = registry.load("tiny-gvae")
    nodules = model.table.iloc[model.nodules[0]["row"].to_numpy()]
    unseen = nodules[nodules["split"] != "train"]
    assert 0 < len(unseen) < len(nodules)
    chosen = model.table.iloc[model.usual_row]
    assert chosen["split"] != "train"
    # Of a size that an eye finds, and among these drawn as well as usual.
    low, high = unseen["area_px"].quantile([0.25, 0.75])
    assert low <= chosen["area_px"] <= high
    unseen, chosen = unseen[unseen["area_px"].between(low, high)]["ssim"], chosen["ssim"]
    assert abs((unseen < chosen).sum() - (unseen > chosen).sum()) <= 1


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_starts_ranges_and_places(registry: Registry, name: str) -> None:
    model = registry.load(name)
    assert set(model.starts) == {"prior", "malignant", "benign", "indeterminate"}
    assert model.ranges.shape == (4, 2)
    assert (model.ranges[:, 0] < model.ranges[:, 1]).all()
    assert sorted(model.order) == [0, 1, 2, 3]
    if name == "tiny-dirvae":
        for code in model.starts.values():
            assert code.sum() == pytest.approx(1, abs=1e-5)
    for unit, count in (("slice", 120), ("nodule", 24)):
        xy = model.map(unit, "pca")
        assert xy.shape == (count, 2)
        place = model.place(model.codes[0], unit, "pca")
        assert (place >= xy.min(0)).all()
        assert (place <= xy.max(0)).all()
    with pytest.raises(UserError, match="no 'nonsense' map"):
        model.map("slice", "nonsense")


def test_what_is_said_of_a_score_is_true_of_how_it_was_made(registry: Registry) -> None:
    """Only labelled slices are cross-validated; others share patients with the classifier's training."""
    for name in ("tiny-gvae", "tiny-dirvae"):
        table = registry.load(name).table
        labelled = table["malignancy"].to_numpy() != 3
        assert set(table["score_kind"][labelled]) == {CROSS_VALIDATED}
        assert set(table["score_kind"][~labelled]) == {FITTED}


def test_opened_models_hold_no_more_than_the_bound(registry: Registry) -> None:
    one = size_of(registry.load("tiny-gvae"))
    small = Registry(registry.settings, most_bytes=one + one // 2)
    first = weakref.ref(small.load("tiny-gvae"))
    assert first() is not None
    second = small.load("tiny-dirvae")
    gc.collect()
    assert first() is None
    assert small.load("tiny-dirvae") is second
    assert small.load("tiny-gvae").codes.shape == (120, 4)
    assert [entry.name for entry in small.entries()] == ["tiny-dirvae", "tiny-gvae"]
    both = Registry(registry.settings, most_bytes=3 * one)
    kept = both.load("tiny-gvae")
    both.load("tiny-dirvae")
    assert both.load("tiny-gvae") is kept


def test_what_models_make_on_first_use_counts(registry: Registry) -> None:
    """A model that has grown since it was opened gives way like a large one."""
    grown = registry.load("tiny-gvae")
    before = size_of(grown)
    assert grown.order.shape == grown.starts["prior"].shape
    vars(grown)["_features"] = np.zeros((1_000, 1_000))
    assert size_of(grown) > before + 8_000_000
    small = Registry(registry.settings, most_bytes=4_000_000)
    vars(small.load("tiny-gvae"))["_features"] = np.zeros((1_000, 1_000))
    used_last = small.load("tiny-dirvae")
    assert small.load("tiny-dirvae") is used_last
    assert "_features" not in vars(small.load("tiny-gvae"))


def test_threads_that_open_more_than_fits_all_get_their_model(registry: Registry) -> None:
    small = Registry(registry.settings, most_bytes=1)
    names = ["tiny-gvae", "tiny-dirvae"] * 20
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(small.load, names))
    assert [model.entry.name for model in opened] == names
