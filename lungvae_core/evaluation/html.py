"""A report as one HTML file to send: nothing is loaded from elsewhere, no script, light and dark, printable.

What it answers is in the spirit of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) and CLAIM (2024 update,
Tejani et al., doi 10.1148/ryai.240300); its last section says item by item where, and what was not done.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import Report, load_report
from lungvae_core.evaluation.report_html import about, results
from lungvae_core.evaluation.report_html.style import STYLE
from lungvae_core.files import write_text

# A browser that opens the file loads nothing, whatever the report's words hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

SECTIONS = (
    about.question,
    results.forest,
    results.leak,
    about.protocol,
    about.data,
    about.labels,
    results.figures,
    results.curves,
    results.calibration,
    results.comparisons,
    results.size_matched,
    results.subgroups,
    results.spread,
    results.reconstruction,
    results.external,
    results.diagnosis,
    about.limits,
    about.reproduce,
    about.checked,
)


def to_html(report: Report) -> str:
    """The report as one self-contained HTML document. All words of the report are escaped."""
    bodies = [body for body in (section(report) for section in SECTIONS) if body]
    titles = [found for body in bodies for found in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in titles)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{'LEAKS: ' if report.leaks else ''}{escape(words.title(report))}</title>"
        f"<style>{STYLE}</style></head><body><main>\n{about.top(report)}\n<nav>{links}</nav>\n"
        + "\n".join(bodies)
        + f"\n{about.leak_band(report)}{about.attribution(report)}\n</main></body></html>\n"
    )


def report_html(report_path: str | Path, out: str | Path) -> Report:
    """Write the report in `report_path` (JSON) as HTML to `out`, atomically; return it.

    Raises UserError when there is no such report, it is damaged, or `out` cannot be written.
    """
    report = load_report(report_path)
    write_text(Path(out), to_html(report))
    return report
