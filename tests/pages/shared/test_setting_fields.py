"""Widgets for settings: of the setting's kind, with its label, bounds and default."""

from __future__ import annotations

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.vae.config import PRESETS
from lungvae_core.workers import cores
from tests.pages.conftest import labelled, run


def page() -> None:
    import streamlit as st

    from lungvae_core.serving.jobs.form import settings_of
    from lungvae_core.vae.config import PRESETS
    from pages.shared import setting_fields

    for setting in settings_of(PRESETS["dirvae"]):
        setting_fields.show(st.container(), setting, setting.name)
    setting_fields.preset(st.container(), "preset", "help")
    setting_fields.cores_used(st.container(), "Cores", "cores", "help")
    setting_fields.device(st.container(), "device")


@pytest.fixture(scope="module")
def shown() -> AppTest:
    return run(AppTest.from_function(page, default_timeout=60))


def test_each_kind_of_setting_has_its_widget(shown):
    config = PRESETS["dirvae"]
    epochs, alpha = shown.number_input(key="epochs"), shown.number_input(key="prior_alpha")
    assert (epochs.value, epochs.min, epochs.max, epochs.step) == (config.training.epochs, 1, 10_000, 1)
    assert isinstance(epochs.value, int)
    assert (alpha.value, alpha.max) == (config.model.prior_alpha, 100)
    assert isinstance(alpha.value, float)
    assert shown.selectbox(key="sampler").value == "pathwise"
    assert shown.toggle(key="flips").value == config.training.flips
    assert "diameter" in shown.multiselect(key="guided").options


def test_one_core_is_left_to_the_app_where_there_are_several(shown):
    field = shown.number_input(key="cores")
    assert (field.min, field.max, field.value) == (1, cores(), max(1, cores() - 1))
    assert shown.selectbox(key="preset").value == "dirvae"
    assert "auto" in shown.selectbox(key="device").options or "cpu" in shown.selectbox(key="device").options


def listing() -> None:
    import streamlit as st

    from pages.shared import setting_fields

    st.text([data.folder.name for data in setting_fields.data_sets()])


def test_a_damaged_data_set_is_left_out_with_the_reason(tiny_data, tmp_path, monkeypatch):
    for name in ("good", "bad"):
        shutil.copytree(tiny_data, tmp_path / name)
    (tmp_path / "bad" / "dataset.json").write_text("{")
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path))
    app = run(AppTest.from_function(listing, default_timeout=60))
    assert app.text[0].value == "['good']"
    assert "The data set bad was left out" in app.warning[0].value


def starting() -> None:
    import streamlit as st

    from pages.shared import setting_fields

    def start(preset: str, key: str) -> None:
        st.session_state["started"] = (preset, st.session_state[key])

    with st.form("form"):
        setting_fields.start_row("run", "training", "train", "dirvae-1", start, "dirvae")


def test_the_button_starts_with_the_name_in_the_field():
    app = run(AppTest.from_function(starting, default_timeout=60))
    labelled(app.text_input, "Name of the run").set_value("mine")
    run(labelled(app.button, "Start training").click())
    assert app.session_state["started"] == ("dirvae", "mine")
