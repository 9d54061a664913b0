"""The Evaluation page's parts: each block of a report's sections, drawn."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from lungvae_core.evaluation import report_words
from tests.pages.conftest import charts, html, run, text


def blocks() -> None:
    from lungvae_core.evaluation.report_view.blocks import (
        HALF,
        SHUT,
        WIDE,
        Beside,
        Bullets,
        Code,
        Flow,
        Section,
        Table,
        Text,
    )
    from pages.evaluation import parts

    said = [Text("A **strong** text."), Text("A note.", soft=True)]
    table = Table(["unit", "AUC"], [["slice", "0.9"]])
    folded = Table(["unit", "AUC"], [["nodule", "0.8"]], "Folded", "Its note.", folded=True)
    made = [
        Code('{"seed": 0}', "json", "All settings"),
        Code("lungvae evaluate", "bash"),
        Flow([("All", ["10 patients"]), ("Used", ["8 patients", "20 nodules"])]),
        Beside([Text("to the left")], [Text("to the right")]),
    ]
    parts.sections(
        [
            Section("result", "Result", WIDE, said),
            Section("left", "Left", HALF, [Bullets(["one", "two"]), table]),
            Section("right", "Right", HALF, [folded]),
            Section("settings", "Settings", SHUT, made),
        ]
    )


def test_each_kind_of_block_is_drawn_and_how_it_was_made_comes_last():
    app = run(AppTest.from_function(blocks, default_timeout=60))
    assert [heading.value for heading in app.subheader] == ["Result", "Left", "Right"]
    said = text(app)
    for words in ("A **strong** text.", "- one\n- two", "#### Settings", "to the left", "to the right"):
        assert words in said
    assert "A note." in [caption.value for caption in app.caption]
    assert "- **All**: 10 patients\n- **Used**: 8 patients, 20 nodules" in said
    assert app.table[0].value.loc["slice", "AUC"] == "0.9"
    assert app.dataframe[0].value["AUC"].tolist() == ["0.8"]
    assert [expander.label for expander in app.expander] == ["Folded", "How it was made"]
    assert [code.value for code in app.code] == ["lungvae evaluate"]
    assert app.json[0].value == '{"seed": 0}'


def band(leaks: list[str]) -> None:
    from lungvae_core.evaluation.report import Report
    from pages.evaluation import parts
    from tests.evaluation.made_up import made_up

    report = Report.model_validate(made_up("paper" if leaks else "nested"))
    parts.leak_band(report.model_copy(update={"leaks": leaks}))


def test_a_leak_has_a_band_with_its_reasons_and_no_markup_of_theirs():
    app = run(AppTest.from_function(band, default_timeout=60, args=(["<b>seen</b> before", "twice"],)))
    page = html(app)
    assert report_words.LEAKS in page
    assert page.count("<li>") == 2
    assert "&lt;b&gt;seen&lt;/b&gt; before" in page
    assert html(run(AppTest.from_function(band, default_timeout=60, args=([],)))) == ""


def figures() -> None:
    from lungvae_core.evaluation.report_view.blocks import Cell, Dots, Panels, Square, Strip
    from pages.evaluation import parts

    square = Square("ROC", "AUC 0.9", "false", "true", [0.0, 1.0], [0.0, 1.0])
    cells = [("malignant", [Cell(3, 0.75, True), Cell(1, 0.25, False)])]
    parts.show(
        [
            Strip("folds", "Folds", [Dots("fold", [0.8, 0.9], "model")]),
            Panels("slice", "Curves", [square], cells),
            Panels("slice", "None", [], []),
        ]
    )


def test_figures_are_charts_and_panels_without_figures_are_none():
    app = run(AppTest.from_function(figures, default_timeout=60))
    strip, curves, confusion = charts(app)
    assert strip["data"][0]["x"] == [0.8, 0.9]
    assert curves["data"][1]["y"] == [0, 1]
    assert any("<b>3</b>" in note["text"] for note in confusion["layout"]["annotations"])
