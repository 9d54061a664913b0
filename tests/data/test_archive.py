"""Zips that unpack to too much, or say less than they hold."""

from __future__ import annotations

import pytest

from lungvae_core.data import archive
from lungvae_core.data.series import read_series
from lungvae_core.data.volumes import assembly
from lungvae_core.errors import UserError
from tests.made_series import dicom, lesion, named, zipped

HU, MASK = lesion(8, 70, 80)
HU[:, 66:, 76:] = 40  # tissue in every slice, as on any CT


def bomb() -> bytes:
    return zipped({f"IM{number}": bytes(10**6) for number in range(5)})


def test_bombs_and_masses_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 3 * 10**6)
    with pytest.raises(UserError, match="unpacks to"):
        read_series([("a.zip", bomb())])
    monkeypatch.setattr(archive, "MOST_MEMBER_BYTES", 10**5)
    with pytest.raises(UserError, match="when unpacked"):
        read_series([("a.zip", bomb())])
    monkeypatch.setattr(archive, "MOST_MEMBERS", 4)
    with pytest.raises(UserError, match="5 files"):
        read_series([("a.zip", bomb())])
    monkeypatch.setattr(assembly, "MOST_BYTES", 10**4)
    with pytest.raises(UserError, match="too large"):
        read_series([*named(dicom(HU)).items()])


def test_an_archive_that_lies_about_a_size_does_not_grow_beyond_it():
    content = bytearray(zipped({"IM1": bytes(10**6)}))
    place = content.rfind(b"PK\x01\x02")
    content[place + 24 : place + 28] = (1000).to_bytes(4, "little")
    with pytest.raises(UserError):
        read_series([("a.zip", bytes(content))])
