"""Arrays and manifests of any supported image file become the same SliceSet; what does not fit is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lungvae_core.data.crops import box_of, patch_of
from lungvae_core.data.importing import import_arrays, import_manifest
from lungvae_core.data.series import read_path
from lungvae_core.errors import UserError
from tests.conftest import blobs


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, Path]:
    slices, masks, table = blobs(20)
    packed = np.packbits(masks.reshape(20, -1), axis=1)
    for name, array in (("s.npy", slices), ("m.npy", masks), ("packed.npy", packed)):
        np.save(tmp_path / name, array)
    table.to_csv(tmp_path / "t.csv", index=False)
    return {name: tmp_path / name for name in ("s.npy", "m.npy", "packed.npy", "t.csv", "out")}


@pytest.mark.parametrize("masks", ["m.npy", "packed.npy"])
def test_arrays_come_in_whole(arrays: dict[str, Path], masks: str) -> None:
    made = import_arrays(arrays["s.npy"], arrays["t.csv"], arrays["out"], masks=arrays[masks])
    slices, outlines, table = blobs(20)
    np.testing.assert_array_equal(made.slices, slices)
    np.testing.assert_array_equal(made.masks, outlines)
    assert made.table["malignancy_all"].tolist() == table["malignancy_all"].tolist()
    assert made.table["malignancy"].tolist() == table["malignancy"].tolist()


def test_masks_of_every_pixel_are_refused(arrays: dict[str, Path]) -> None:
    slices = np.load(arrays["s.npy"])
    np.save(arrays["m.npy"], np.ones(slices.shape, np.uint8))
    with pytest.raises(UserError, match="marks every pixel of every slice"):
        import_arrays(arrays["s.npy"], arrays["t.csv"], arrays["out"], masks=arrays["m.npy"])
    assert not arrays["out"].exists()


def test_real_slices_come_in_whole(lidc: Path, tmp_path: Path) -> None:
    made = import_arrays(lidc / "slices.npy", lidc / "slices.csv", tmp_path / "out", masks=lidc / "masks.npy")
    assert len(made) == 10_318
    assert made.table["patient_id"].nunique() == 686
    area = made.masks.reshape(len(made), -1).sum(1)
    whole = ~made.table["mask_clipped"].to_numpy()
    np.testing.assert_array_equal(area[whole], made.table["area_px"].to_numpy()[whole])
    np.testing.assert_array_equal(made.slices[::1000], np.load(lidc / "slices.npy", mmap_mode="r")[::1000])


def test_rows_that_differ_in_number_are_reported(arrays: dict[str, Path]) -> None:
    pd.read_csv(arrays["t.csv"]).iloc[:-1].to_csv(arrays["t.csv"], index=False)
    with pytest.raises(UserError, match=r"s\.npy has 20.*t\.csv has 19"):
        import_arrays(arrays["s.npy"], arrays["t.csv"], arrays["out"])
    assert not arrays["out"].exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="patient_id"), "needs a column patient_id"),
        (lambda t: t.assign(patient_id=None), "row 2, patient_id: is empty"),
        (lambda t: t.assign(malignancy=[7] + [1] * 19), r"row 2, malignancy: '7' is outside 1 to 5"),
        (lambda t: t.iloc[:0], "no rows"),
    ],
)
def test_bad_tables_are_reported(arrays: dict[str, Path], change, sentence: str) -> None:
    change(pd.read_csv(arrays["t.csv"])).to_csv(arrays["t.csv"], index=False)
    with pytest.raises(UserError, match=sentence):
        import_arrays(arrays["s.npy"], arrays["t.csv"], arrays["out"])


def test_bad_arrays_are_reported(arrays: dict[str, Path]) -> None:
    for bad, sentence in (
        (np.zeros((20, 32, 32), np.int16), "shape"),
        (np.full((20, 64, 64), np.nan), "not numbers"),
        (np.array([{"a": 1}] * 20), "holds objects"),
    ):
        np.save(arrays["s.npy"], bad)
        with pytest.raises(UserError, match=sentence):
            import_arrays(arrays["s.npy"], arrays["t.csv"], arrays["out"])
    np.save(arrays["s.npy"], blobs(20)[0])
    np.save(arrays["m.npy"], np.zeros((20, 5)))
    with pytest.raises(UserError, match="packed bits"):
        import_arrays(arrays["s.npy"], arrays["t.csv"], arrays["out"], masks=arrays["m.npy"])
    assert not arrays["out"].exists()


def test_a_manifest_of_mixed_files(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    big = np.random.default_rng(0).integers(-1000, 400, (100, 120)).astype(np.int16)
    np.save(tmp_path / "a.npy", big)
    mask = np.zeros_like(big)
    mask[45:56, 60:71] = 1
    np.save(tmp_path / "mask.npy", mask)
    grey = (np.arange(64 * 64) % 256).astype(np.uint8).reshape(64, 64)
    Image.fromarray(grey).save(tmp_path / "b.png")
    # Canonical NIfTI axes are right, anterior, superior; rows run to posterior and columns to the left.
    volume = np.stack([big[::-1, ::-1].T] * 3, axis=2)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.8, 0.8, 2, 1])), tmp_path / "c.nii.gz")
    (tmp_path / "manifest.csv").write_text(
        "file,patient_id,row,column,index,hu_low,hu_high,mask,malignancy\n"
        "a.npy,A,50,65,,,,mask.npy,5\n"
        "b.png,B,,,,-1000,550,,1\n"
        "c.nii.gz,C,50,65,1,,,,\n"
    )
    made = import_manifest(tmp_path / "manifest.csv", tmp_path / "out")
    expected = big[50 - 31 - 1 :, 65 - 31 - 1 :][:64, :64]
    np.testing.assert_array_equal(made.slices[0], expected)
    assert made.masks[0].sum() == made.table["area_px"][0] == 121
    assert made.slices[1].min() == -1000
    assert made.slices[1].max() == 550
    np.testing.assert_array_equal(made.slices[2], expected)
    assert made.table["pixel_spacing_mm"][2] == pytest.approx(0.8)
    assert made.table["malignancy"].tolist()[:2] == [5, 1]


def test_a_manifest_names_the_bad_row(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", blobs(1)[0][0])
    Image.new("L", (64, 64)).save(tmp_path / "b.png")
    (tmp_path / "m.csv").write_text("file,patient_id\na.npy,A\nb.png,B\n")
    with pytest.raises(UserError, match=r"row 3: b\.png.*State the HU range"):
        import_manifest(tmp_path / "m.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_images_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    (tmp_path / "broken.npy").write_bytes(b"nonsense")
    (tmp_path / "text.txt").write_text("hello")
    np.save(tmp_path / "unit.npy", np.random.default_rng(0).random((64, 64)))
    np.save(tmp_path / "stack.npy", blobs(3)[0])
    np.save(tmp_path / "object.npy", np.array([{"a": 1}]))
    for name, keywords, sentence in (
        ("nowhere.npy", {}, "no image at"),
        ("text.txt", {}, "no kind that is read"),
        ("broken.png", {"hu_range": (-1000, 400)}, "damaged or of another kind"),
        ("broken.npy", {}, "damaged"),
        ("object.npy", {}, "holds objects"),
        ("unit.npy", {}, "between 0 and 1"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_path(tmp_path / name, **keywords)
    stack = read_path(tmp_path / "stack.npy")
    with pytest.raises(UserError, match="3 slices"):
        box_of(stack, where="stack")
    with pytest.raises(UserError, match="no slice 3"):
        box_of(stack, index=3, where="stack")
    assert patch_of(stack, box_of(stack, index=2, where="stack"), where="stack").shape == (64, 64)
    with pytest.raises(UserError, match="empty"):
        read_path(tmp_path / "unit.npy", hu_range=(400, -1000))
