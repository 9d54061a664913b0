"""Evaluations: reports found where they lie; jobs that make one, stop, and go on with the same command."""

from __future__ import annotations

import json
import os
from typing import get_args

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.config import Protocol
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.report import save_report
from lungvae_core.serving.jobs.evaluations import (
    default_report,
    find_reports,
    read_progress,
    read_report,
)
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, STOPPED
from tests.conftest import wait
from tests.evaluation.made_up import made_up
from tests.serving.jobs.conftest import start_evaluation, until_status


def test_reports_are_found_where_they_lie(folders):
    assert find_reports() == ([], {})
    save_report(default_report("first"), made_up())
    save_report(default_report("second"), made_up("frozen"))
    save_report(folders.runs / "run-1" / "report.json", made_up("external"))
    save_report(folders.runs / "run-1" / "on-others.json", made_up("external"))
    (folders.runs / "run-1" / "config.json").write_text('{"format": 1}')
    (folders.runs / "run-1" / "evaluation.json").write_text('{"protocol": "frozen", "units": {}}')
    (folders.runs / "run-1" / "torn.json").write_text("{")
    save_report(folders.models / "reports" / "dirvae-paper.json", made_up("paper"))
    save_report(folders.models / "dirvae" / "report-nested.json", made_up())
    for at, name in enumerate(("first", "second")):
        os.utime(default_report(name), (at + 1, at + 1))
    found, broken = find_reports()
    assert broken == {}
    assert {report.name: report.protocol for report in found} == {
        "run-1": "external",
        "run-1-on-others": "external",
        "second": "frozen",
        "first": "nested",
        "dirvae-paper": "paper",
        "dirvae-report-nested": "nested",
    }
    names = [report.name for report in found]
    assert names.index("second") < names.index("first")  # the newest first
    assert [report.name for report in found if report.shipped] == ["dirvae-paper", "dirvae-report-nested"]
    assert [report.name for report in found if "LEAKS" in report.title] == ["dirvae-paper"]


def test_a_damaged_report_is_reported_and_hides_no_other(folders):
    save_report(default_report("good"), made_up())
    bad = default_report("bad")
    bad.parent.mkdir()
    bad.write_text("{")
    found, broken = find_reports()
    assert [report.name for report in found] == ["good"]
    assert list(broken) == [str(bad)]
    assert "damaged" in broken[str(bad)]
    # It is read again once it has changed.
    save_report(bad, made_up("paper"))
    assert read_report(bad).protocol == "paper"
    bad.unlink()
    with pytest.raises(UserError, match="does not exist"):
        read_report(bad)


def test_progress_is_read_beside_the_report(tmp_path):
    out = tmp_path / "report.json"
    assert read_progress(out) is None
    work = tmp_path / "report.work"
    work.mkdir()
    progress = {"what": "training", "done": 2.5, "total": 10, "seconds_left": 90}
    (work / "progress.json").write_text(json.dumps(progress))
    progress = read_progress(out)
    assert progress is not None
    assert (progress.what, progress.fraction, progress.seconds_left) == ("training", 0.25, 90)
    for torn in ("{", "[]", '{"done": 1}', '{"what": "x", "done": null, "total": 1}'):
        (work / "progress.json").write_text(torn)
        assert read_progress(out) is None


def test_the_protocols_offered_are_those_there_are():
    assert {name for name, one in PROTOCOLS.items() if one.in_short} == set(get_args(Protocol))


@pytest.mark.long
def test_stop_and_resume_to_the_report(folders, tiny_data):
    job = start_evaluation(tiny_data, quick=True)
    out = default_report("mine")
    wait(lambda: read_progress(out) is not None or not Jobs().get(job.id).active, seconds=120)
    assert Jobs().get(job.id).active, Jobs().output(Jobs().get(job.id))
    Jobs().stop(job.id)
    until_status(job, STOPPED)
    assert not out.exists()
    Jobs().resume(job.id)
    until_status(job, DONE)
    assert read_report(out).quick
    found, broken = find_reports()
    assert [report.name for report in found] == ["mine"]
    assert broken == {}
