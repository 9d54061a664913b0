"""A folder of DICOM becomes the cohort's slices, and what is wrong with it is told."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lungvae_core.cli import app
from lungvae_core.cli import lidc as _commands  # noqa: F401  (registers the commands)
from lungvae_core.data import cohort as paper
from lungvae_core.data import prepare as preparing
from lungvae_core.data.prepare import prepare
from lungvae_core.data.slices import KEY, SliceSet
from lungvae_core.data.volumes.dicom import CT_IMAGE, Header
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock

pytestmark = pytest.mark.slow  # they need the computed cohort

MR = "1.2.840.10008.5.1.4.1.1.4"
ONE, TWO = "LIDC-IDRI-0023", "LIDC-IDRI-0058"


@pytest.fixture
def rows(cohort_table):
    """rows(patient): that patient's rows of the cohort."""
    return lambda patient: cohort_table[cohort_table["patient_id"] == patient].reset_index(drop=True)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "sets" / "lidc"


@pytest.fixture
def reads(monkeypatch):
    """The paths whose headers and whose pixels were read, in order (with one worker)."""
    seen: dict[str, list[str]] = {"header": [], "pixels": []}

    def count(kind, function):
        def counted(path, **how):
            seen[kind].append(str(path))
            return function(path, **how)

        return counted

    monkeypatch.setattr(preparing, "read_header", count("header", preparing.read_header))
    monkeypatch.setattr(preparing, "read_ct", count("pixels", preparing.read_ct))
    return seen


def left_behind(out) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []


def cropped(image: np.ndarray, row) -> np.ndarray:
    """(64, 64) HU that a row of the cohort takes from an image of stored values."""
    return image[row.row0 : row.row0 + 64, row.col0 : row.col0 + 64] - 1024


def expected_crops(table: pd.DataFrame, make_image, seed: int = 0) -> np.ndarray:
    order = sorted(set(table["z_mm"]))
    return np.array([cropped(make_image(seed + order.index(row.z_mm)), row) for row in table.itertuples()])


def test_slices_are_found_whatever_the_folders_are_called(
    tmp_path, out, rows, write_ct, write_series, make_image, reads
):
    folder = tmp_path / "manifest-1600709154662"
    write_series(folder / "a b" / "ü" / "01-01-2000-NA", ONE)
    write_series(folder / "series.1", TWO, seed=100)
    write_ct(folder / "MR" / "1", make_image(1), SOPClassUID=MR, Modality="MR")
    write_ct(folder / "other ct" / "1", make_image(1))
    uid = rows(ONE)["series_uid"][0]
    for number in range(5):  # slices of the series without a lesion
        place = {"SeriesInstanceUID": uid, "ImagePositionPatient": [0, 0, 500.0 + number]}
        write_ct(folder / "series.1" / f"far{number}", make_image(number), **place)
    (folder / "annotations.xml").write_text("<xml/>")
    (folder / "nothing").mkdir()

    done = prepare(folder, out, workers=1)

    assert left_behind(out) == ["lidc"]
    dataset = SliceSet.open(out)
    table = pd.concat([rows(ONE), rows(TWO)], ignore_index=True)
    # Identifiers are text in a data set, whatever the database holds them as.
    cohort = table.assign(scan_id=table["scan_id"].astype("string"))
    pd.testing.assert_frame_equal(dataset.table[table.columns], cohort, check_dtype=False)
    np.testing.assert_array_equal(dataset.slices[: len(rows(ONE))], expected_crops(rows(ONE), make_image))
    np.testing.assert_array_equal(
        dataset.slices[len(rows(ONE)) :], expected_crops(rows(TWO), make_image, 100)
    )
    np.testing.assert_array_equal(dataset.masks, paper.cohort_masks(table))
    assert set(dataset.table["manufacturer"]) == {"Nobody"}
    assert dataset.table["sop_uid"].nunique() == table.groupby("patient_id")["z_mm"].nunique().sum()
    assert "CC BY 3.0" in dataset.info.attribution
    assert len(done.problems) == 0
    assert done.expected == len(table)
    assert len(done.missing_patients) == 873
    assert done.passed_over == {"MR": 1, "CT of other series": 1, "not DICOM": 1}
    assert len(reads["pixels"]) == table.groupby("patient_id")["z_mm"].nunique().sum()
    assert not any("far" in path for path in reads["pixels"])


@pytest.mark.long
def test_several_processes_make_the_same_set(tmp_path, write_series):
    write_series(tmp_path / "a", ONE)
    write_series(tmp_path / "b", TWO)
    alone = prepare(tmp_path, tmp_path / "alone", workers=1)
    together = prepare(tmp_path, tmp_path / "together", workers=2)
    assert alone.dataset.info.content_hash == together.dataset.info.content_hash


def test_what_is_missing_or_damaged_is_listed_and_stops_nothing(
    tmp_path, out, rows, write_ct, write_series, make_image
):
    folder = tmp_path / "dicom"
    paths = write_series(folder, ONE)
    positions = sorted(paths)
    gone, truncated, small, resampled, beheaded = positions[:5]
    paths[gone].unlink()
    os.truncate(paths[truncated], 300_000)
    uid = rows(ONE)["series_uid"][0]
    place = {"SeriesInstanceUID": uid, "PixelSpacing": [0.742188, 0.742188]}
    write_ct(paths[small], make_image(0, 256), **place, ImagePositionPatient=[0, 0, small])
    place["PixelSpacing"] = [1, 1]
    write_ct(paths[resampled], make_image(0), **place, ImagePositionPatient=[0, 0, resampled])
    os.truncate(paths[beheaded], 400)
    (folder / "nothing.dcm").touch()

    done = prepare(folder, out, workers=1)

    table = rows(ONE)
    good = table[~table["z_mm"].isin(positions[:5])]
    assert len(done.dataset) == len(good) == done.expected - 5
    expected = [cropped(make_image(positions.index(row.z_mm)), row) for row in good.itertuples()]
    np.testing.assert_array_equal(done.dataset.slices, expected)
    report = pd.read_csv(out / "prepare-report.csv")
    slices = report[report["slice"].notna()].set_index("z_mm")["reason"].to_dict()
    assert slices.keys() == set(positions[:5])
    assert slices[gone] == slices[beheaded] == "no file of this slice is in the folder"
    assert "is truncated" in slices[truncated]
    assert "256 x 256 pixels" in slices[small]
    assert "pixels of 1 mm" in slices[resampled]
    files = report[report["slice"].isna()].set_index("file")["reason"].to_dict()
    assert files.keys() == {str(paths[beheaded]), str(folder / "nothing.dcm")}
    assert done.dataset.info.details["slices_missing_or_damaged"] == 5


def test_of_two_files_at_one_position_the_lower_instance_counts(
    tmp_path, out, rows, write_ct, write_series, make_image
):
    folder = tmp_path / "dicom"
    paths = write_series(folder, ONE, InstanceNumber=10)
    first, second = sorted(paths)[:2]
    place = {"SeriesInstanceUID": rows(ONE)["series_uid"][0], "PixelSpacing": [0.742188, 0.742188]}
    for z, instance in ((first, 3), (second, 30)):
        lower = {"InstanceNumber": instance, "ImagePositionPatient": [0, 0, z]}
        write_ct(folder / "again" / f"{instance}", make_image(77), **place, **lower)
    os.truncate(paths[second], 100_000)  # the better one of the second position is broken
    done = prepare(folder, out, workers=1)
    assert len(done.problems) == 0
    assert done.passed_over == {"at the place of one with a lower instance number": 2}
    for z in (first, second):
        (row,) = rows(ONE)[rows(ONE)["z_mm"] == z].itertuples()
        np.testing.assert_array_equal(done.dataset.slices[row.Index], cropped(make_image(77), row))


def test_a_link_to_a_parent_folder_and_a_target_inside_the_source(tmp_path, write_series):
    write_series(tmp_path / "dicom", ONE)
    (tmp_path / "dicom" / "loop").symlink_to(tmp_path / "dicom", target_is_directory=True)
    (tmp_path / "dicom" / "broken").symlink_to(tmp_path / "gone")
    out = tmp_path / "dicom" / "sets" / "lidc"
    first = prepare(tmp_path / "dicom", out, workers=1)
    again = prepare(tmp_path / "dicom", out, overwrite=True, workers=1)
    assert again.dataset.info.content_hash == first.dataset.info.content_hash
    assert len(again.problems) == 0


def test_file_names_that_are_no_text(tmp_path, out, write_series):
    write_series(tmp_path / "dicom", ONE)
    odd = os.fsdecode(os.fsencode(tmp_path / "dicom") + b"/\xff\xfe.dcm")
    Path(odd).touch()  # a name that is no UTF-8
    done = prepare(tmp_path / "dicom", out, workers=1)
    assert len(done.problems) == 1
    result = CliRunner().invoke(app, ["prepare", str(tmp_path / "dicom"), "--out", str(out), "--overwrite"])
    assert result.exit_code == 0, result.output
    assert "udcff" in result.output


# --- bad input ----------------------------------------------------------------


@pytest.fixture
def useless(tmp_path, cohort_store, write_ct, write_series, make_image) -> dict[str, Path]:
    """Paths from which nothing can be prepared, by what is wrong with them."""
    image = make_image(1)
    folders = {name: tmp_path / name for name in ("missing", "a file", "empty", "empty folders", "no DICOM")}
    for name in ("empty", "empty folders/a/b", "no DICOM"):
        (tmp_path / name).mkdir(parents=True)
    folders["a file"].write_text("x")
    (folders["no DICOM"] / "readme.txt").write_text("x")
    folders["no CT"] = write_ct(tmp_path / "no CT" / "1", image, SOPClassUID=MR, Modality="MR").parent
    folders["other CT"] = write_ct(tmp_path / "other CT" / "1", image).parent
    for path in write_series(tmp_path / "truncated", ONE).values():
        os.truncate(path, 10_000)
    write_series(tmp_path / "no lesion", ONE, positions=[500.0, 501.0])
    return folders | {name: tmp_path / name for name in ("truncated", "no lesion")}


def test_a_folder_of_no_use_is_reported_and_leaves_nothing(useless, out):
    for name, sentence in (
        ("missing", "does not exist"),
        ("a file", "is a file"),
        ("empty", "is empty"),
        ("empty folders", "There is no file"),
        ("no DICOM", "1 not DICOM"),
        ("no CT", "1 MR"),
        ("other CT", "1 CT of other series"),
        ("truncated", "None of the 11 lesion slices .* is truncated"),
        ("no lesion", "None of the 11 lesion slices .* no file of this slice"),
    ):
        with pytest.raises(UserError, match=sentence) as caught:
            prepare(useless[name], out, workers=1)
        assert "\n" not in str(caught.value)
        assert left_behind(out) == []


def test_strict_writes_nothing_when_a_slice_is_missing(tmp_path, out, write_series):
    paths = write_series(tmp_path / "dicom", ONE)
    removed = paths[min(paths)].read_bytes()
    paths[min(paths)].unlink()
    with pytest.raises(UserError, match="1 of 11 lesion slices"):
        prepare(tmp_path / "dicom", out, strict=True, workers=1)
    assert left_behind(out) == []
    paths[min(paths)].write_bytes(removed)
    assert len(prepare(tmp_path / "dicom", out, strict=True, workers=1).dataset) == 11


def test_an_existing_target_is_left_alone(tmp_path, out, write_series):
    write_series(tmp_path / "dicom", ONE)
    out.mkdir(parents=True)
    (out / "mine").write_text("x")
    with pytest.raises(UserError, match="--overwrite"):
        prepare(tmp_path / "dicom", out, workers=1)
    assert (out / "mine").read_text() == "x"
    prepare(tmp_path / "dicom", out, overwrite=True, workers=1)
    assert not (out / "mine").exists()
    assert left_behind(out) == ["lidc"]


def test_two_processes_do_not_write_one_target(tmp_path, out, write_series):
    write_series(tmp_path / "dicom", ONE)
    with (
        folder_lock(out.parent / ".lidc.preparing", what="it"),
        pytest.raises(UserError, match="Another process is writing"),
    ):
        prepare(tmp_path / "dicom", out, workers=1)
    assert not out.exists()


def test_a_target_that_may_not_be_written(tmp_path, write_series):
    write_series(tmp_path / "dicom", ONE)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="Cannot write"):
        prepare(tmp_path / "dicom", tmp_path / "file" / "lidc", workers=1)


# --- going on -----------------------------------------------------------------


def test_interrupted_it_goes_on_where_it_was(tmp_path, out, write_series, reads, monkeypatch):
    folder = tmp_path / "dicom"
    write_series(folder / "1", ONE)
    write_series(folder / "2", TWO)
    counted = preparing.read_ct

    def interrupted(path, **how):
        if reads["pixels"] and Path(reads["pixels"][0]).parent != Path(path).parent:
            raise KeyboardInterrupt  # the first patient is done
        return counted(path, **how)

    monkeypatch.setattr(preparing, "read_ct", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, out, workers=1)
    assert left_behind(out) == [".lidc.preparing"]
    everything, first = set(reads["header"]), set(reads["pixels"])
    reads["header"].clear()
    reads["pixels"].clear()
    monkeypatch.setattr(preparing, "read_ct", counted)

    done = prepare(folder, out, workers=1)

    assert reads["header"] == []
    assert first
    assert set(reads["pixels"]) == everything - first
    assert left_behind(out) == ["lidc"]
    fresh = prepare(folder, tmp_path / "fresh", workers=1)
    assert done.dataset.info.content_hash == fresh.dataset.info.content_hash


def test_files_that_came_or_changed_after_an_interruption_are_seen(
    tmp_path, out, write_series, make_image, rows, monkeypatch
):
    folder = tmp_path / "dicom"
    paths = write_series(folder / "1", ONE)
    monkeypatch.setattr(preparing, "_assemble", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, out, workers=1)
    monkeypatch.undo()
    monkeypatch.setenv("LUNGVAE_CACHE", str(paper.cache_folder()))
    changed = sorted(paths)[3]
    data = pydicom.dcmread(paths[changed])
    data.PixelData = make_image(99).tobytes()
    data.save_as(paths[changed])
    os.utime(paths[changed], ns=(1, 1))
    write_series(folder / "2", TWO)
    done = prepare(folder, out, workers=1)
    assert set(done.dataset.table["patient_id"]) == {ONE, TWO}
    (row,) = rows(ONE)[rows(ONE)["z_mm"] == changed].itertuples()
    np.testing.assert_array_equal(done.dataset.slices[row.Index], cropped(make_image(99), row))


@pytest.fixture
def start(tmp_path):
    """start(*arguments): `lungvae prepare` in a process of its own, and a function that waits for its end."""

    def run(*arguments):
        command = [sys.executable, "-m", "lungvae_core.cli", "prepare", *map(str, arguments)]
        out, err = tmp_path / "stdout", tmp_path / "stderr"
        with out.open("w") as output, err.open("w") as errors:
            process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)

        def wait() -> tuple[int, str, str]:
            return process.wait(timeout=120), out.read_text(), err.read_text()

        return process, wait

    return run


@pytest.mark.long
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_killed_it_goes_on_where_it_was(tmp_path, out, write_series, start, how, code):
    folder = tmp_path / "dicom"
    paths = write_series(folder / "0", ONE)
    for copy in range(1, 40):
        (folder / str(copy)).mkdir()
        for number, path in itertools.product(range(5), paths.values()):
            os.link(path, folder / str(copy) / f"{number}-{path.name}")
    process, wait = start(folder, "--out", out)
    journals = f".{out.name}.preparing/headers-*.jsonl"
    limit = time.monotonic() + 60
    while not any(path.stat().st_size for path in out.parent.glob(journals)):
        assert process.poll() is None, wait()
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(process.pid, how)
    returned, _, err = wait()
    assert returned == code, err
    assert not out.exists()
    if how == signal.SIGINT:
        assert "Traceback" not in err
        assert "goes on where it was" in err
    (journal,) = out.parent.glob(journals)
    assert 0 < journal.read_bytes().count(b"\n") < 40

    _, wait = start(folder, "--out", out)
    returned, text, err = wait()
    assert returned == 0, err
    assert text.startswith("11 slices of 1 nodule and 1 patient are in ")
    assert left_behind(out) == ["lidc"]
    assert len(SliceSet.open(out)) == 11


@given(cut=st.integers(0, 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_journal_cut_anywhere_keeps_what_was_whole(tmp_path, cut):
    path = tmp_path / "journal"
    path.unlink(missing_ok=True)
    journal = preparing._Journal(path)
    for number in range(5):
        journal.add(f"key {number}", {"value": [number, "ü\udcff"]})
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))])
    journal = preparing._Journal(path)
    lines = whole[: min(cut, len(whole))].count(b"\n")
    assert journal.entries == {f"key {number}": {"value": [number, "ü\udcff"]} for number in range(lines)}
    journal.add("more", {"value": 1})
    journal.close()
    reopened = preparing._Journal(path)
    reopened.close()
    assert len(reopened.entries) == lines + 1


@given(
    lesions=st.lists(st.integers(-1000, 1000), min_size=1, max_size=20, unique=True),
    z=st.floats(-1100, 1100, allow_nan=False),
)
def test_a_file_counts_only_at_a_lesions_position(lesions, z):
    positions = np.sort(np.array(lesions, dtype=float))
    header = Header(CT_IMAGE, "", "CT", "", series_uid="uid", instance=1, z_mm=z)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "read_header", lambda *_, **__: header)
        _, result = preparing._headers_of(("key", "folder", ["path"]), {"uid": positions})
    near = [p for p in positions if abs(p - z) <= preparing.Z_TOLERANCE_MM]
    assert [place[1] for place in result["slices"]] == near
    assert result["series"] == {"uid": 1}


# --- the command --------------------------------------------------------------


def test_the_command_gives_an_account(tmp_path, out, write_ct, write_series, make_image):
    folder = tmp_path / "dicom"
    paths = write_series(folder, ONE)
    paths[min(paths)].unlink()
    os.truncate(paths[max(paths)], 100_000)
    write_ct(folder / "mr", make_image(1), SOPClassUID=MR, Modality="MR")
    result = CliRunner().invoke(app, ["prepare", str(folder), "--out", str(out), "--workers", "1"])
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert f"9 slices of 1 nodule and 1 patient are in {out}." in text
    assert "9 of 11 lesion slices of the patients in this folder were used. Left out: 2 missing or" in text
    assert "LIDC-IDRI-0023 nodule 0 slice 1 (z -93.25 mm): no file of this slice" in text
    assert "is truncated" in text
    assert "1 MR" in text
    assert "874 patients of the cohort are not in this folder (--list-missing lists them)." in text
    assert text.count("\n") < 10
    again = ["prepare", str(folder), "--out", str(out), "--workers", "1", "--overwrite", "--list-missing"]
    assert CliRunner().invoke(app, again).stdout.count("  LIDC-IDRI-") == 876  # 874 patients and 2 slices


def test_a_long_account_is_cut(tmp_path, out, write_series):
    folder = tmp_path / "dicom"
    write_series(folder, ONE)
    for number in range(50):
        (folder / f"{number}.dcm").touch()
    result = CliRunner().invoke(app, ["prepare", str(folder), "--out", str(out), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("is not a DICOM file") == 20
    assert "and 30 more; all are listed in" in result.stdout
    assert len(pd.read_csv(out / "prepare-report.csv")) == 50


def test_the_command_ends_with_2_and_one_sentence(tmp_path, start):
    returned, text, err = start(tmp_path / "nowhere", "--out", tmp_path / "out")[1]()
    assert (returned, text) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


@pytest.mark.lidc
def test_the_real_series(lidc, out, rows):
    done = prepare(lidc / "dicom", out)
    dataset = SliceSet.open(out)
    pd.testing.assert_frame_equal(dataset.table[KEY], rows(ONE)[KEY], check_dtype=False)
    assert set(dataset.table["malignancy"]) == {5}
    assert len(dataset) == 11
    assert len(done.problems) == 0
    images = {}
    for path in (lidc / "dicom").iterdir():
        data = pydicom.dcmread(path)
        images[float(data.ImagePositionPatient[2])] = data.pixel_array.astype(int)
    for index, row in enumerate(dataset.table.itertuples()):
        np.testing.assert_array_equal(dataset.slices[index], cropped(images[row.z_mm], row))
