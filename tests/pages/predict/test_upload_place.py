"""Where the lesion is in an upload: the box, an outline, a mask, several slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lungvae_core.data.masks import centres
from lungvae_core.data.series import Series
from lungvae_core.serving.lesions.uploads import Upload
from pages.predict import upload_place
from tests.made_series import MIDDLE, dicom, lesion, zipped
from tests.pages.conftest import component_data, press, run, text
from tests.pages.predict.conftest import npy, opened, place, uploaded


def test_a_series_is_outlined_and_its_nodule_judged(models):
    hu, mask = lesion()
    files = {f"a/IM{number}": content for number, content in enumerate(dicom(hu))}
    app = uploaded("series.zip", zipped(files))
    assert component_data(app, "slice_viewer")["count"] == len(hu)
    place(app, *MIDDLE)
    assert len(app.metric) == 1
    press(app, "Outline it")
    assert [metric.label.split(" ")[0] for metric in app.metric] == ["Nodule", "Model"]
    viewer = component_data(app, "slice_viewer")
    assert viewer["outlines"]
    slices = sorted(int(number) for number in viewer["positions"])
    assert abs(len(slices) - mask.any((1, 2)).sum()) <= 1
    np.testing.assert_allclose(viewer["positions"][str(MIDDLE[0])], MIDDLE[1:], atol=1)
    assert "found automatically: check it" in text(app)
    most = next(button for button in app.button if "drives it most" in button.label)
    if not most.disabled:
        most.click().run()
        assert component_data(app, "slice_viewer")["at"] in slices
    press(app, "Clear")
    assert len(app.metric) == 1
    assert not component_data(app, "slice_viewer")["outlines"]


def test_a_mask_beside_the_image_puts_the_box_by_the_papers_rule(models):
    hu, mask = lesion()
    app = opened(source="upload")
    app.file_uploader[0].set_value([("ct.npy", npy(hu), "x/y"), ("ct_mask.npy", npy(mask), "x/y")])
    run(app)
    assert component_data(app, "slice_viewer")["positions"] == {
        str(number): list(pair) for number, pair in sorted(centres(mask).items())
    }
    assert app.metric[0].label.startswith("Nodule score")


def test_a_range_of_slices_is_a_nodule(models):
    app = uploaded("stack.npy", npy(lesion()[0][4:9, 20:84, 20:84]))
    assert len(app.metric) == 1
    slider = app.slider[0]
    assert (slider.min, slider.max) == (1, 5)
    slider.set_value((2, 4)).run()
    assert app.metric[0].label.startswith("Nodule score")
    press(app, "Clear")
    assert len(app.metric) == 1


def stack(shape: tuple[int, int, int] = (5, 80, 90), **more: Any) -> Upload:
    return Upload(Series("stack", np.zeros(shape, np.int16), **more))


def test_boxes_come_from_the_outline_or_from_the_slices_that_were_chosen():
    state = upload_place.State("token", at=2)
    assert state.all_boxes() == {}
    state.position = (10, 20)
    assert state.all_boxes() == {2: (10, 20)}
    state.slices = (1, 3)
    assert state.all_boxes() == dict.fromkeys((1, 2, 3), (10, 20))
    state.boxes = {4: (30, 40)}
    assert state.all_boxes() == {4: (30, 40)}


def test_a_new_upload_begins_in_its_middle_and_a_small_one_has_its_box(monkeypatch):
    monkeypatch.setattr(upload_place.st, "session_state", {})
    large = upload_place.current("first", stack())
    assert (large.at, large.position) == (2, None)
    assert upload_place.current("first", stack()) is large
    small = upload_place.current("second", stack((1, 64, 64)))
    assert (small.at, small.position) == (0, (31.5, 31.5))


def test_a_mask_gives_the_boxes_until_it_is_cleared():
    upload, state = stack(), upload_place.State("token", at=0)
    mask = np.zeros((5, 80, 90), np.uint8)
    mask[2:4, 30:41, 50:61] = 1
    mask[3, 30:45, 50:61] = 1  # the larger slice
    upload_place.bring(state, upload, "mask.npy", npy(mask))
    assert state.drawn == "mask"
    assert state.boxes == centres(mask.astype(bool))
    assert state.at == 3
    np.testing.assert_array_equal(upload.mask, mask)
    upload_place.clear(state, upload)
    assert (upload.mask, state.boxes, state.drawn) == (None, {}, "")
    assert state.all_boxes() == {3: centres(mask.astype(bool))[3]}  # the box stays where it was


@pytest.mark.parametrize(
    "content",
    [b"no mask", npy(np.zeros((5, 80, 90), np.uint8)), npy(np.ones((2, 3, 4), np.uint8))],
    ids=["bytes", "empty", "of another shape"],
)
def test_a_mask_that_does_not_fit_is_a_sentence_and_changes_nothing(content):
    upload, state = stack(), upload_place.State("token", at=1, position=(10, 20))
    upload_place.bring(state, upload, "mask.npy", content)
    assert state.trouble.endswith(".")
    assert (state.boxes, state.position, upload.mask) == ({}, (10, 20), None)


def test_where_there_is_no_lesion_nothing_is_outlined():
    upload, state = stack(), upload_place.State("token", at=1, position=(40, 45))
    upload_place.find(state, upload)
    assert state.trouble
    assert upload.mask is None
