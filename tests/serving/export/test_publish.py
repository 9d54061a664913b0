"""What ships has no pixels, no checkpoint and no path of the machine, and opens where there is no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.serving.export.publish import publish
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run


def test_a_published_model_stands_alone(
    tiny_models: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SliceSet.open(tiny_data)
    monkeypatch.setattr("sys.argv", ["lungvae", "publish", str(tiny_models / "tiny-gvae")])
    for name in ("tiny-gvae", "tiny-dirvae"):
        size = publish(Run.open(tiny_models / name), data, tmp_path / "models" / name, title="Shipped")
        folder = tmp_path / "models" / name
        names = {path.name for path in folder.iterdir()}
        assert not names & {"samples.png", "last.safetensors", "progress.json", ".lock"}
        assert size == sum(path.stat().st_size for path in folder.iterdir())
        text = "".join(
            (folder / each).read_text() for each in ("config.json", "README.md", "evaluation.json")
        )
        assert str(tiny_models.parent) not in text
        assert "Not for clinical use" in text
        assert "diameter alone" in text
    settings = Settings(models=tmp_path / "models", runs=tmp_path / "no", data=tmp_path / "no")
    registry = Registry(settings)
    titles = [entry.title for entry in registry.entries()]
    assert titles == ["Shipped: tiny-dirvae", "Shipped: tiny-gvae"]  # one title: the names tell them apart
    model = registry.load("tiny-gvae")
    assert model.pixels is None
    np.testing.assert_array_equal(model.vae.encode_hu(data.slices).astype(np.float16), model.codes)
    stored = pq.read_schema(settings.models / "tiny-gvae" / "latents.parquet")
    assert {str(stored.field(name).type) for name in stored.names if name.startswith("code_")} == {
        "halffloat"
    }
    full = Run.open(tiny_models / "tiny-gvae").latents()[1]
    np.testing.assert_allclose(model.codes, full, atol=0.01 * np.abs(full).max())
    image, real = model.image(3)
    assert not real
    assert image.shape == (64, 64)


def test_an_unfinished_run_is_not_published(tiny_models: Path, tiny_data: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))
    (folder / "map-slice.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks map-slice\.parquet"):
        publish(Run.open(folder), SliceSet.open(tiny_data), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    np.testing.assert_equal(len(list(tmp_path.iterdir())), 1)
