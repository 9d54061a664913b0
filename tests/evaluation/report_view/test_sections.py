"""A report's sections: their order, and only those for which it has content."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view.blocks import PLACES
from lungvae_core.evaluation.report_view.sections import sections
from tests.evaluation.made_up import made_up


def names(protocol: str, unit: str | None = None, **changes: object) -> list[str]:
    return [each.name for each in sections(Report.model_validate(made_up(protocol) | changes), unit)]


@pytest.mark.parametrize("protocol", ["nested", "frozen", "paper", "external"])
def test_sections_have_content_and_names_of_their_own(protocol: str) -> None:
    shown = sections(Report.model_validate(made_up(protocol)))
    assert all(section.blocks for section in shown)
    assert {section.place for section in shown} <= set(PLACES)
    assert len({section.name for section in shown}) == len(shown)
    assert (shown[0].name, shown[-1].name) == ("asked", "checklist")


def test_only_what_the_report_has_is_a_section() -> None:
    assert "leak" in names("paper")
    assert "leak" not in names("nested")
    assert "external" in names("external")
    assert "reconstruction" not in names("external")
    without = {"subgroups": None, "comparisons": None, "stages": None, "per_seed": None}
    assert set(names("nested")) - set(names("nested", **without)) == {"subgroups", "comparisons", "stages"}


def test_a_unit_is_named_where_it_is_the_only_one() -> None:
    report = Report.model_validate(made_up())
    titles = {each.name: each.title for each in sections(report, "slice")}
    assert titles["figures"] == "All figures, per slice"
    assert titles["subgroups"] == "Subgroups"
    assert {each.name: each.title for each in sections(report)}["figures"] == "All figures"
