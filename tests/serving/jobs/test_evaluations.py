"""Evaluations: reports found where they lie; jobs that make one, stop, and go on with the same command."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
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
from lungvae_core.serving.jobs.kinds import Evaluation
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, STOPPED, Job
from lungvae_core.serving.workspace.settings import Settings
from tests.evaluation.made_up import made_up

DIAGNOSES = "patient_id,diagnosis\nTEST-0001,1\nTEST-0002,2\nTEST-0003,3\n"


@pytest.fixture
def folders(job_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Folders of the test's own; jobs that are left are killed."""
    monkeypatch.setenv("LUNGVAE_SOURCES", str(job_folders))
    return Settings()


def start(data: Path, name: str = "mine", **options) -> Job:
    return Jobs().start(Evaluation.of, name, data, "dirvae", device="cpu", **options)


def wait(job: Job, *statuses: str, seconds: float = 240) -> Job:
    until = time.monotonic() + seconds
    while (found := Jobs().get(job.id)).active and found.status not in statuses:
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)
    assert found.status in statuses, (found.status, found.message, Jobs().output(found))
    return found


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


def test_a_damaged_report_is_told_and_hides_no_other(folders):
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
    told = {"what": "training", "done": 2.5, "total": 10, "seconds_left": 90}
    (work / "progress.json").write_text(json.dumps(told))
    progress = read_progress(out)
    assert progress is not None
    assert (progress.what, progress.fraction, progress.seconds_left) == ("training", 0.25, 90)
    for torn in ("{", "[]", '{"done": 1}', '{"what": "x", "done": null, "total": 1}'):
        (work / "progress.json").write_text(torn)
        assert read_progress(out) is None


def test_a_job_is_the_command_and_goes_on_with_the_same_one(folders, tiny_data, monkeypatch, tmp_path):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    nested = tmp_path / "nested.json"
    save_report(nested, made_up())
    options = {"task": "mvr", "label_rule": "mean", "protocol": "paper", "seeds": 2, "quick": True}
    job = start(tiny_data, nested=nested, **options)
    out = default_report("mine").resolve()
    assert job.kind == Evaluation.kind
    assert job.folder == str(out.parent)
    assert job.argv == [
        "evaluate",
        "--preset=dirvae",
        f"--data={tiny_data.resolve()}",
        "--task=mvr",
        "--label-rule=mean",
        "--protocol=paper",
        "--seed=0",
        "--seeds=2",
        "--device=cpu",
        "--workers=1",
        "--quick",
        f"--nested={nested.resolve()}",
        f"--out={out}",
    ]
    assert Jobs().get(job.id).status == FAILED  # nothing keeps it
    out.parent.mkdir(parents=True)
    (out.parent / "notes.txt").write_text("half done")
    resumed = Jobs().resume(job.id)
    assert resumed.argv == job.argv
    assert resumed.attempt == 2
    assert Jobs().suggest("mine", among=out.parents[1]) == "mine-1"
    with pytest.raises(UserError, match="already a"):
        start(tiny_data)


def test_a_table_of_diagnoses_goes_into_the_command(folders, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    (tmp_path / "diagnosis.csv").write_text(DIAGNOSES)
    job = start(tiny_data, diagnoses=tmp_path / "diagnosis.csv")
    assert f"--diagnoses={(tmp_path / 'diagnosis.csv').resolve()}" in job.argv
    assert Jobs().get(job.id).argv == job.argv
    monkeypatch.setenv("LUNGVAE_SOURCES", "")  # the owner takes the folder back: the job is not offered again
    assert job.id not in {each.id for each in Jobs().all()}


def test_bad_input_is_a_sentence_and_leaves_nothing(folders, tiny_data, tmp_path, monkeypatch):
    for options, words in (
        ({"name": "../up"}, "cannot be the name"),
        ({"task": "x"}, "task"),
        ({"label_rule": "x"}, "label_rule"),
        ({"protocol": "x"}, "protocol"),
        ({"seeds": 0}, "seeds"),
        ({"workers": 0}, "choose 1 or more"),
        ({"label_rule": "three_readers"}, "lacks lesions of both classes"),  # the discs have two readers
        ({"protocol": "paper", "nested": tmp_path / "none.json"}, "does not exist"),
    ):
        with pytest.raises(UserError, match=words):
            start(tiny_data, **options)
    for name, content, message in (
        ("damaged.csv", "patient_id,diagnosis\nTEST-0001,9\n", "outside 0 to 3"),
        ("nobody.csv", "patient_id,diagnosis\nTEST-0001,0\n", "knows nobody's diagnosis"),
        ("strangers.csv", "patient_id,diagnosis\nA,1\nB,2\n", "0 benign and 0 malignant"),
        ("gone.csv", None, "There is no file"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=message):
            start(tiny_data, diagnoses=tmp_path / name)
    (tmp_path / "good.csv").write_text(DIAGNOSES)
    with pytest.raises(UserError, match="do not leak"):
        start(tiny_data, protocol="paper", diagnoses=tmp_path / "good.csv")
    with pytest.raises(UserError, match="There is no preset"):
        Jobs().start(Evaluation.of, "mine", tiny_data, "vae", device="cpu")
    with pytest.raises(UserError, match="There is no data set"):
        Jobs().start(Evaluation.of, "mine", tmp_path / "nowhere", "dirvae", device="cpu")
    monkeypatch.setenv("LUNGVAE_SOURCES", "")
    with pytest.raises(UserError, match="is not below a folder"):
        start(tiny_data, diagnoses=tmp_path / "good.csv")
    assert Jobs().all() == []
    assert not default_report("mine").parent.exists()


def test_the_protocols_offered_are_those_there_are():
    assert {name for name, one in PROTOCOLS.items() if one.in_short} == set(get_args(Protocol))


@pytest.mark.long
def test_stop_and_resume_to_the_report(folders, tiny_data):
    job = start(tiny_data, quick=True)
    out = default_report("mine")
    until = time.monotonic() + 120
    while read_progress(out) is None:
        assert Jobs().get(job.id).active, Jobs().output(Jobs().get(job.id))
        assert time.monotonic() < until
        time.sleep(0.1)
    Jobs().stop(job.id)
    wait(job, STOPPED)
    assert not out.exists()
    Jobs().resume(job.id)
    wait(job, DONE)
    assert read_report(out).quick
    found, broken = find_reports()
    assert [report.name for report in found] == ["mine"]
    assert broken == {}
