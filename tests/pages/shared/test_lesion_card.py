"""A lesion's card, without a browser."""

from __future__ import annotations

import shutil

import pandas as pd
from streamlit.testing.v1 import AppTest

from lungvae_core.files import read_json, write_json
from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import component_data, html, run, text


def card(row: int, wide: bool) -> None:
    import streamlit as st

    from lungvae_core.serving.http.routes import registry
    from pages.shared import lesion_card

    picked = lesion_card.show(registry().load("tiny-gvae"), row, key="card", wide=wide)
    st.text(f"picked {picked}")


def opened(row: int, *, wide: bool = False) -> AppTest:
    app = AppTest.from_function(card, default_timeout=60, args=(row, wide))
    return run(app)


def test_the_card_tells_readers_scores_size_and_neighbours(models):
    app, table = opened(12), registry().load("tiny-gvae").table
    said = text(app)
    assert f"{table['patient_id'].iloc[12]}, nodule 0" in said
    assert "Slice 3 of 5" in said
    assert "not a probability of cancer" in said
    assert "Cross-validated" in said or "Not labelled" in said
    tables = html(app)
    for word in (
        "malignancy",
        "texture",
        "spiculation",
        f"{table['diameter_mm'].iloc[12]:.1f} mm",
        "0.70 mm",
    ):
        assert word in tables
    viewer = component_data(app, "slice_viewer")
    assert (viewer["count"], viewer["at"], viewer["generated"]) == (5, 2, False)
    assert viewer["spacing"] == 0.7
    assert viewer["outlines"]
    assert viewer["presets"]["Model's"] == [1400, -300]
    neighbours = component_data(app, "lesion_cards")["cards"]
    patients = table["patient_id"].iloc[[each["row"] for each in neighbours]]
    assert patients.is_unique
    assert table["patient_id"].iloc[12] not in set(patients)
    assert any("malignancy" in line for line in neighbours[0]["lines"])


def test_the_wide_card_says_the_same(models):
    assert text(opened(12, wide=True)) == text(opened(12))


def test_the_slice_that_drives_the_score_can_be_gone_to(models):
    app = opened(12)
    button = next(each for each in app.button if each.label.startswith("Show slice"))
    most = int(button.label.split()[-1])
    button.click().run()
    assert component_data(app, "slice_viewer")["at"] == most - 1
    assert f"Slice {most} of 5" in text(app)


def test_a_slice_that_is_not_there_is_said(models):
    assert "There is no slice 999" in text(opened(999))


def test_a_table_without_ratings_and_scores_still_has_a_card(models, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(models / "tiny-gvae", folder)
    (folder / "classifier.safetensors").unlink()
    config = folder / "config.json"
    write_json(config, {**read_json(config, what=""), "data_folder": ""})
    latents = pd.read_parquet(folder / "latents.parquet")
    bare = [name for name in latents if name.startswith("code_") or name in ("patient_id", "nodule", "slice")]
    latents[bare].to_parquet(folder / "latents.parquet")
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "nothing"))
    registry.cache_clear()
    app = opened(12)
    assert "Model score" not in text(app)
    assert "What every reader said" not in text(app)
    assert "generated" in text(app)
    viewer = component_data(app, "slice_viewer")
    assert (viewer["generated"], viewer["outlines"], viewer["spacing"]) == (True, "", None)
