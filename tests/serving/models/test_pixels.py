"""The slices behind a model's codes, where a data set of this machine has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.serving.models.pixels import locate
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run


def test_real_images_where_the_data_is(registry: Registry, tiny_data: Path, tmp_path: Path) -> None:
    model, data = registry.load("tiny-gvae"), SliceSet.open(tiny_data)
    image, real = model.image(5)
    assert real
    np.testing.assert_allclose(image, np.clip((data.slices[5] + 1000) / 1400, 0, 1), atol=1e-6)


def test_the_same_crops_in_another_data_set_stand_behind_the_codes(
    registry: Registry, tiny_data: Path, tmp_path: Path
) -> None:
    """A model trained on imported slices shows those of LIDC-IDRI prepared anew, but never a phantom's."""
    data = SliceSet.open(tiny_data)
    run = Run.open(registry.settings.runs / "tiny-gvae")
    crops = {"series_uid": "1.2.3", "row0": 100, "col0": 200}
    table, codes = run.latents()
    run.write_latents(table.assign(**crops), codes)
    raw = json.loads((run.folder / "config.json").read_text())
    raw["data"]["generated"], raw["data_folder"] = False, ""
    (run.folder / "config.json").write_text(json.dumps(raw))
    settings = Settings(models=tmp_path / "no", runs=registry.settings.runs, data=tmp_path / "sets")
    again = Registry(settings)
    assert not again.load("tiny-gvae").real.any()

    # Fewer slices, in another order; one of them is another crop of the same slice.
    rows = np.arange(60)[::-1]
    other = data.table.iloc[rows].reset_index(drop=True).assign(**crops)
    other.loc[0, "row0"] = 101
    info = DatasetInfo(name="o", source="t", rule="r")
    for name, generated in (("a-phantom", True), ("real", False)):
        write(
            settings.data / name,
            data.slices[rows],
            data.masks[rows],
            other,
            info.model_copy(update={"generated": generated}),
        )
    model = again.load("tiny-gvae")  # found without a restart
    assert model.pixels is not None
    assert model.pixels.data.folder.name == "real"
    assert model.real[:59].all()
    assert not model.real[59:].any()
    images, real = model.images(np.array([3, 100]))
    assert real.tolist() == [True, False]
    np.testing.assert_allclose(images[0], np.clip((data.slices[3] + 1000) / 1400, 0, 1), atol=1e-6)


def test_data_sets_that_are_damaged_or_of_others_are_passed_over(
    registry: Registry, tiny_data: Path, tmp_path: Path
) -> None:
    run = Run.open(registry.settings.runs / "tiny-gvae")
    table, _ = run.latents()
    damaged = shutil.copytree(tiny_data, tmp_path / "damaged")
    (damaged / "dataset.json").write_text("{")
    assert locate(run.info.data, table, [damaged, tmp_path / "nowhere"]) is None
    other = run.info.data.model_copy(update={"content_hash": "another"})
    assert locate(other, table, [tiny_data]) is None  # generated slices are no other set's
    found = locate(run.info.data, table, [damaged, tiny_data])
    assert found is not None
    np.testing.assert_array_equal(found.at, np.arange(120))
    np.testing.assert_array_equal(found.slices(np.array([5, 2])), SliceSet.open(tiny_data).slices[[5, 2]])
