"""A model's explorer as one file: small, safe to open, refused in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.export import write
from lungvae_core.serving.export.gather import gather
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings


def test_the_file_loads_nothing_and_holds_no_script_of_the_data(model, tmp_path: Path):
    found = gather(model, real=False, units=("nodule",))
    found["title"] = "</script><script>alert(1)</script>@@DATA@@"
    document = write.to_html(found)
    assert document.count("<script") == 2 == document.count("</script>")
    assert "default-src 'none'" in document
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:""", document)
    data = document.split('id="content">')[1].split("</script>")[0]
    assert json.loads(data)["title"] == found["title"]
    assert write.export_explorer(model, tmp_path / "explorer.html") == len(
        (tmp_path / "explorer.html").read_bytes()
    )


def test_what_cannot_be_exported_is_a_sentence(model, tmp_path: Path, monkeypatch, tiny_models):
    with pytest.raises(UserError, match="folder"):
        write.export_explorer(model, tmp_path)
    monkeypatch.setattr(write, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="nodules-only"):
        write.export_explorer(model, tmp_path / "explorer.html")
    assert not list(tmp_path.iterdir())
    elsewhere = Registry(Settings(models=tiny_models, runs=tmp_path, data=tmp_path)).load(model.entry.name)
    monkeypatch.setattr(type(elsewhere), "pixels", None)
    with pytest.raises(UserError, match="not on this machine"):
        gather(elsewhere, real=True)
