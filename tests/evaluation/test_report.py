"""The report's JSON: written and read alike, damage told in a sentence, the schema in step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import (
    FIGURES,
    REPORT_FORMAT,
    SCHEMA,
    load_report,
    save_report,
    schema_text,
)
from tests.conftest import ROOT
from tests.evaluation.made_up import made_up

PROTOCOLS = ("nested", "frozen", "paper", "external")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_report_is_read_as_it_was_written(tmp_path, protocol):
    saved = save_report(tmp_path / "report.json", made_up(protocol))
    again = load_report(tmp_path / "report.json")
    assert again == saved
    assert again.protocol == protocol
    assert again.units.nodule is not None
    assert again.units.nodule.auc.value == made_up(protocol)["units"]["nodule"]["auc"]["value"]
    assert all(again.units.nodule.figure(name) is not None for name in FIGURES)


def test_what_cannot_be_computed_is_null_and_arrays_are_lists(tmp_path):
    report = made_up()
    report["units"]["patient"]["auc"] = {"value": np.nan, "low": np.float64("nan"), "high": float("inf")}
    report["units"]["slice"]["auc_by_fold"] = np.array([0.5, np.nan])
    report["folds"] = np.int64(5)
    save_report(tmp_path / "report.json", report)
    text = (tmp_path / "report.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    found = json.loads(text)
    assert found["units"]["patient"]["auc"] == {"value": None, "low": None, "high": None}
    assert found["units"]["slice"]["auc_by_fold"] == [0.5, None]
    assert load_report(tmp_path / "report.json").folds == 5


def test_a_wrong_report_is_not_written(tmp_path):
    for change, said in (
        ({"protocol": "honest"}, "protocol"),
        ({"folds": -1}, "folds"),
        ({"more": 1}, "more is not a field"),
        ({"protocol": "paper", "leaks": []}, "must say how it leaks"),
    ):
        with pytest.raises(UserError, match=said):
            save_report(tmp_path / "report.json", made_up() | change)
    missing = made_up()
    del missing["units"]["nodule"]["auc"]
    with pytest.raises(UserError, match=r"units\.nodule\.auc is missing"):
        save_report(tmp_path / "report.json", missing)
    assert list(tmp_path.iterdir()) == []


def test_damaged_newer_and_other_files_are_sentences(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(UserError, match="missing"):
        load_report(path)
    for content, said in (
        ("{", "damaged or not JSON"),
        ("[]", "is not a report"),
        ('{"a": 1}', "is not a report"),
        ('{"classifier": {}, "units": {}, "protocol": "frozen"}', "lungvae classify"),
        (json.dumps({"format": REPORT_FORMAT + 1}), "newer version"),
        (json.dumps(made_up() | {"surprise": 1}), "surprise is not a field"),
        (json.dumps(made_up() | {"task": None}), "task"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=said):
            load_report(path)


def test_parts_may_be_null(tmp_path):
    report = made_up()
    for name in (
        "stages",
        "baselines",
        "comparisons",
        "size_matched",
        "subgroups",
        "calibration",
        "reconstruction",
        "per_seed",
        "nodule_rules",
        "settings_chosen",
    ):
        report[name] = None
    found = save_report(tmp_path / "report.json", report)
    assert "no size to compare" in words.verdict(found)
    assert words.forest(found, "nodule")[0].kind == "model"


def _plain(schema: Any) -> Any:
    """A schema without what is the default, which some versions of pydantic write and others do not."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _plain(each) for key, each in schema.items() if (key, each) != ("additionalProperties", True)
    }


def test_the_schema_and_the_page_about_it_are_in_step():
    kept, made = json.loads(SCHEMA.read_text(encoding="utf-8")), json.loads(schema_text())
    assert _plain(kept) == _plain(made), "run python -m lungvae_core.evaluation.report"
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    parts = {"Report": made, **made["$defs"]}
    missing = {
        f"{part}.{field}"
        for part, found in parts.items()
        for field in found.get("properties", {})
        if f"`{field}`" not in page
    }
    assert missing == set()
