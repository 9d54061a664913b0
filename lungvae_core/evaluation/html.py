"""A report as one self-contained HTML file to send: no external files, no script, light and dark, printable.

It follows the spirit of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) and CLAIM (2024 update, Tejani et
al., doi 10.1148/ryai.240300). Its last section says for each item where it is answered or that it was not
done.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lungvae_core import NOTICE
from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.report import Report, load_report
from lungvae_core.evaluation.report_html import svg
from lungvae_core.evaluation.report_view.checklist import MARKS
from lungvae_core.evaluation.report_view.sections import sections
from lungvae_core.files import write_text

_BOLD_OR_CODE = re.compile(r"\*\*(?P<b>.+?)\*\*|`(?P<code>.+?)`")
_INTERVAL = re.compile(r"^−?[\d.,]+ \(")


def _marked(text: str) -> str:
    """Text with its **bold** and `code` as HTML; everything else is escaped."""

    def tagged(part: re.Match[str]) -> str:
        return f"<{part.lastgroup}>{part[part.lastgroup or 0]}</{part.lastgroup}>"

    return _BOLD_OR_CODE.sub(tagged, escape(text))


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "report_html" / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["marked"] = _marked
_ENVIRONMENT.tests["interval"] = _INTERVAL.match  # a figure stays on one line with its interval
_ENVIRONMENT.globals |= {"svg": svg.draw, "square": svg.square, "marker": svg.marker}
_ENVIRONMENT.globals |= {"report_words": report_words, "marks": MARKS, "notice": NOTICE}
_TEMPLATE = _ENVIRONMENT.get_template("report.html")


def to_html(report: Report) -> str:
    """The report as one self-contained HTML document. All text from the report is escaped."""
    return _TEMPLATE.render(report=report, sections=sections(report))


def report_html(report_path: str | Path, out: str | Path) -> Report:
    """Write the report in `report_path` (JSON) as HTML to `out`, atomically; return it.

    Raises UserError if the report does not exist or is damaged, or `out` cannot be written.
    """
    report = load_report(report_path)
    write_text(Path(out), to_html(report))
    return report
