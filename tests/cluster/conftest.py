"""Synthetic DICOM, as the tests of `lungvae prepare` have it."""

from __future__ import annotations

from tests.data.conftest import cohort_store, cohort_table, write_ct, write_series  # noqa: F401
