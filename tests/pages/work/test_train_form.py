"""The Train page's form, without a browser: its settings, and what it refuses."""

from __future__ import annotations

from lungvae_core.data.slices import DatasetInfo, write
from lungvae_core.serving.jobs.form import GROUPS, MAIN
from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.vae.config import preset
from tests.conftest import blobs
from tests.pages.conftest import open_page, run, text
from tests.pages.work.conftest import fill


def test_form_has_the_presets_settings_within_their_ranges(folders):
    app = open_page("work/train.py")
    assert "Not for clinical use" in text(app)
    assert "What this does not mean" in [expander.label for expander in app.expander]
    app = run(app.selectbox(key="train-preset").select("gvae"))
    epochs = app.number_input(key="train-gvae-epochs")
    assert epochs.value == preset("gvae").training.epochs
    assert (epochs.min, epochs.max) == (1, 10_000)
    assert "train-gvae-prior_alpha" not in [field.key for field in app.number_input]
    assert app.number_input(key="train-threads").value == max(
        1, app.number_input(key="train-threads").max - 1
    )
    app = run(app.selectbox(key="train-preset").select("dirvae"))
    assert app.number_input(key="train-dirvae-prior_alpha").value == preset("dirvae").model.prior_alpha
    # The data set is named with its size.
    (label,) = app.selectbox(key="train-data").options
    assert "120 slices, 24 patients" in label


def test_without_data_it_says_how_to_get_some_and_can_make_some(folders, monkeypatch):
    monkeypatch.setenv("LUNGVAE_DATA", str(folders / "no-data"))
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    app = open_page("work/train.py")
    assert "There is no data set" in text(app)
    assert any("lungvae phantom" in code.value for code in app.code)
    run(app.button(key="train-phantom").click())
    (job,) = Jobs().all()
    assert (job.kind, job.name) == (Phantom.kind, "phantom")


def test_dicom_of_the_server_is_prepared_from_the_page(folders, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    monkeypatch.setenv("LUNGVAE_SOURCES", str(folders.parent))
    app = open_page("work/train.py")
    app = run(app.button(key="prepare-start").click())
    assert "is not below a folder" in app.error[0].value
    app.text_input(key="prepare-folder").set_value(str(folders))
    run(app.button(key="prepare-start").click())
    (job,) = Jobs().all()
    assert (job.kind, job.who) == ("preparation", "this machine")
    assert job.argv[-1] == str(folders)


def test_bad_names_and_settings_are_sentences_and_start_nothing(folders):
    app = open_page("work/train.py")
    fill(app, "../up")
    app = run(app.button(key="train-start").click())
    assert "cannot be the name of a run" in app.error[0].value
    fill(app, "fine", hu_low=900.0)
    app = run(app.button(key="train-start").click())
    assert "hu_low must be below hu_high" in app.error[0].value
    assert len(app.error) == 1
    assert Jobs().all() == []
    assert not (folders / "runs").exists()


def test_settings_are_grouped_and_those_that_do_not_apply_are_hidden(folders):
    app = open_page("work/train.py")
    groups = [expander.label for expander in app.expander if expander.label in GROUPS]
    assert sorted(groups) == sorted(set(GROUPS) - {MAIN})
    dirichlet = {"train-dirvae-alpha_floor", "train-dirvae-prior_alpha"}
    assert dirichlet <= {field.key for field in app.number_input}
    assert app.selectbox(key="train-dirvae-sampler").options == ["pathwise", "laplace"]
    assert "released (leaks)" in app.selectbox(key="train-dirvae-labels_of").options
    assert "labels of held-out patients reach the encoder" in text(app)
    app = run(app.selectbox(key="train-preset").select("gvae"))
    keys = {field.key for kind in (app.number_input, app.selectbox, app.toggle) for field in kind}
    assert not {f"train-gvae-{name}" for name in ("sampler", "alpha_floor", "prior_alpha")} & keys
    assert {f"train-gvae-{name}" for name in ("rounds", "free_bits", "compile", "rotate_degrees")} <= keys


def test_joint_rounds_without_labels_of_both_classes_are_refused(folders, tmp_path, monkeypatch):
    slices, masks, table = blobs(30)
    table["malignancy"], table["malignancy_all"] = 4, "4|4"
    info = DatasetInfo(name="all malignant", source="made by the tests", rule="discs", generated=True)
    write(tmp_path / "sets" / "one-class", slices, masks, table, info)
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "sets"))
    app = open_page("work/train.py")
    fill(app, "joint", rounds=1)
    app = run(app.button(key="train-start").click())
    assert "needs labels of both classes" in app.error[0].value
    assert Jobs().all() == []


def test_guides_are_picked_and_what_the_data_lack_is_refused(folders, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    app = open_page("work/train.py")
    app = run(app.selectbox(key="train-preset").select("gvae"))
    guided = app.multiselect(key="train-gvae-guided")
    assert guided.value == []
    assert {"diameter", "edge", "spiculation", "malignancy"} <= set(guided.options)
    fill(app, "guided")
    guided.set_value(["density", "lobulation"])
    app = run(app.button(key="train-start").click())
    assert "no column lobulation_all" in app.error[0].value
    assert Jobs().all() == []
    app.multiselect(key="train-gvae-guided").set_value(["density", "texture"])
    app = run(app.button(key="train-start").click())
    (job,) = Jobs().all()
    assert '--set=guided=["density", "texture"]' in job.argv
    app = run(open_page("work/train.py").selectbox(key="train-preset").select("gvae-guided"))
    assert app.multiselect(key="train-gvae-guided-guided").value[:2] == ["diameter", "density"]
