from __future__ import annotations

import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from lungvae_core.data.series import read_series
from lungvae_core.quiet import silence
from tests.conftest import ROOT
from tests.made_series import dicom, lesion
from tests.made_volumes import nifti

# Imports of a library that is loaded once, before there is anything to read.
ONCE = {"lungvae_core/data/annotations.py"}


def test_a_filter_is_added_once_and_stays():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = len(warnings.filters)
        for _ in range(3):
            silence(module="somebody")
            silence(message="Odd value (1)")
        assert len(warnings.filters) == before + 2
        warnings.warn_explicit("x", UserWarning, "f", 1, module="somebody.inside")
        warnings.warn("Odd value (1) in it", stacklevel=1)
        warnings.warn_explicit("y", UserWarning, "f", 1, module="somebody_else")
        warnings.warn("An odd value", stacklevel=1)
    assert [str(each.message) for each in seen] == ["y", "An odd value"]


def test_nothing_changes_the_filters_that_threads_share_and_takes_them_back():
    for folder in ("lungvae_core", "pages"):
        for path in (ROOT / folder).rglob("*.py"):
            if str(path.relative_to(ROOT)) not in ONCE and path.name != "quiet.py":
                assert not re.search(r"catch_warnings\(|resetwarnings\(", path.read_text()), path


def test_eight_threads_that_read_uploads_leave_each_others_filters():
    hu = lesion()[0]
    files = [(f"{number}.dcm", content) for number, content in enumerate(dicom(hu, PatientBirthDate="odd"))]
    uploads = [files, [("a.nii", nifti(hu))]]
    begin = threading.Barrier(8)
    with warnings.catch_warnings():
        for upload in uploads:
            read_series(upload)
        before = list(warnings.filters)

        def read(number: int) -> None:
            begin.wait()
            for _ in range(5):
                read_series(uploads[number % 2])
                assert list(warnings.filters) == before

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(read, range(8)))
        assert list(warnings.filters) == before
