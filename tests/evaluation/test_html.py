"""The HTML file: it loads nothing, escapes what it is given, warns of a leak, answers the checklist."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lungvae_core import NOTICE
from lungvae_core.errors import UserError
from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.html import report_html, to_html
from lungvae_core.evaluation.report import Report, save_report
from lungvae_core.evaluation.report_view.checklist import NONE, NOT, checklist
from tests.evaluation.made_up import made_up

PROTOCOLS = ("nested", "frozen", "paper", "external")
VOID = {"meta", "br", "rect", "line", "circle", "polyline", "polygon"}


class Reader(HTMLParser):
    """Checks that tags close in order; gathers what might load something, and the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "img", "link", "iframe", "object", "embed", "image", "use", "video"):
            self.loads.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name == "href":
                self.links.append(value)
            if name in ("src", "srcset", "data", "style") and "url(" in str(value):
                self.loads.append(f"{name}={value}")
            if name.startswith("on"):
                self.loads.append(name)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def page(protocol: str = "nested", **changes) -> str:
    return to_html(Report.model_validate(made_up(protocol) | changes))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_file_that_loads_nothing(protocol):
    html = page(protocol)
    reader = read(html)
    assert reader.loads == []
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert "@import" not in html
    assert "url(" not in html
    assert "nan" not in " ".join(reader.text).lower().split()
    assert "None" not in " ".join(reader.text).split()
    said = " ".join(reader.text)
    for words_there in (
        NOTICE,
        "median_high",
        "seeds 0, 1, 2",
        "681 patients",
        "Diameter alone",
        "TRIPOD+AI",
    ):
        assert words_there in said
    assert "lungvae evaluate --preset dirvae" in said


def test_only_a_leaking_protocol_has_the_warning_and_it_has_no_red():
    html = page("paper")
    assert html.count(words.LEAKS) == 2  # at the top and at the end
    assert html.index(words.LEAKS) < html.index("AUC")
    assert "<title>LEAKS: " in html
    assert "What the leak is worth" in html
    assert "+0.054" in html
    assert words.LEAKS not in page("nested")
    assert "What the leak is worth" not in page("nested")
    for colour in re.findall(r"#[0-9a-f]{6}\b", html.lower()):
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        assert not (red > 150 and green < 90 and blue < 90), colour


def test_words_of_the_report_cannot_become_html():
    bad = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    report = made_up()
    report |= {"task_in_words": bad, "hardware": bad, "command": bad, "leaks": [bad], "versions": {bad: bad}}
    report["data"] |= {"name": bad, "source": bad, "attribution": bad}
    report["baselines"][bad] = report["baselines"].pop("cnn")
    report["baselines"]["diameter"]["words"] = bad
    report["subgroups"][bad] = report["subgroups"].pop("texture")
    report["subgroups"]["size_band"][0]["group"] = bad
    report["settings_chosen"] = [{bad: bad}]
    report["model"]["config"] = {bad: bad}
    html = to_html(Report.model_validate(report))
    assert "<script" not in html
    assert "<img" not in html
    assert read(html).loads == []


def test_bold_and_code_close_in_order():
    html = page(task_in_words="**a `b** c` <u>d</u>")
    read(html)
    assert "<b>a `b</b> c` &lt;u&gt;d&lt;/u&gt;" in html


def test_a_report_with_almost_nothing_is_shown():
    report = made_up()
    for name in list(report):
        if name not in Report.model_fields or not Report.model_fields[name].is_required():
            del report[name]
    report["units"] = {"slice": None, "nodule": report["units"]["nodule"], "patient": None}
    report["units"]["nodule"]["curves"] = None
    report["units"]["nodule"]["auc"] = {"value": None, "low": None, "high": None}
    said = " ".join(read(to_html(Report.model_validate(report))).text)
    assert "no figures of the model" in said


def test_what_was_not_done_is_said_so():
    def states(protocol):
        report = Report.model_validate(made_up(protocol))
        return {item.question: item for _, items in checklist(report) for item in items}

    nested, external, paper = states("nested"), states("external"), states("paper")
    elsewhere = "A test on data from elsewhere"
    assert nested[elsewhere].state == NOT
    assert external[elsewhere].state != NOT
    assert nested["An outcome of the patient (biopsy, follow-up)"].state == NOT
    assert nested["Clinical utility, as a decision curve"].state == NOT
    apart = next(item for name, item in paper.items() if name.startswith("How data for making and testing"))
    assert "leaks" in apart.answer
    assert all(item.answer for item in nested.values() if item.state in (NOT, NONE))
    html = read(page("nested"))
    assert {item.where for item in nested.values() if item.where} <= set(html.ids)


def test_report_html_reads_and_writes(tmp_path):
    save_report(tmp_path / "report.json", made_up())
    report_html(tmp_path / "report.json", tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(UserError, match="missing"):
        report_html(tmp_path / "other.json", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()
