"""Kinds of jobs: what each refuses, and the command that it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import save_report
from lungvae_core.serving.jobs.evaluations import default_report
from lungvae_core.serving.jobs.kinds import KINDS, Evaluation, Map, Phantom, Preparation, Search, Training
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import FAILED
from tests.evaluation.made_up import made_up
from tests.serving.jobs.conftest import start_evaluation


@pytest.mark.parametrize("folder", ["", "relative/folder", "/no/such/folder", "/etc/hostname"])
def test_only_a_folder_of_the_server_is_prepared(workspace, folder):
    with pytest.raises(UserError, match="is not below a folder"):
        Jobs().start(Preparation.of, "lidc", folder)
    assert Jobs().all() == []


DIAGNOSES = "patient_id,diagnosis\nTEST-0001,1\nTEST-0002,2\nTEST-0003,3\n"


def test_a_job_is_the_command_and_goes_on_with_the_same_one(folders, tiny_data, monkeypatch, tmp_path):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    nested = tmp_path / "nested.json"
    save_report(nested, made_up())
    options = {"task": "mvr", "label_rule": "mean", "protocol": "paper", "seeds": 2, "quick": True}
    job = start_evaluation(tiny_data, nested=nested, **options)
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
        start_evaluation(tiny_data)


def test_a_table_of_diagnoses_goes_into_the_command(folders, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    (tmp_path / "diagnosis.csv").write_text(DIAGNOSES)
    job = start_evaluation(tiny_data, diagnoses=tmp_path / "diagnosis.csv")
    assert f"--diagnoses={(tmp_path / 'diagnosis.csv').resolve()}" in job.argv
    assert Jobs().get(job.id).argv == job.argv
    monkeypatch.setenv("LUNGVAE_SOURCES", "")  # the owner takes the folder back: the job is not offered again
    assert job.id not in {each.id for each in Jobs().all()}


def test_a_bad_evaluation_is_refused_in_a_sentence_and_leaves_nothing(
    folders, tiny_data, tmp_path, monkeypatch
):
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
            start_evaluation(tiny_data, **options)
    for name, content, message in (
        ("damaged.csv", "patient_id,diagnosis\nTEST-0001,9\n", "outside 0 to 3"),
        ("nobody.csv", "patient_id,diagnosis\nTEST-0001,0\n", "knows nobody's diagnosis"),
        ("strangers.csv", "patient_id,diagnosis\nA,1\nB,2\n", "0 benign and 0 malignant"),
        ("gone.csv", None, "There is no file"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=message):
            start_evaluation(tiny_data, diagnoses=tmp_path / name)
    (tmp_path / "good.csv").write_text(DIAGNOSES)
    with pytest.raises(UserError, match="do not leak"):
        start_evaluation(tiny_data, protocol="paper", diagnoses=tmp_path / "good.csv")
    with pytest.raises(UserError, match="There is no preset"):
        Jobs().start(Evaluation.of, "mine", tiny_data, "vae", device="cpu")
    with pytest.raises(UserError, match="There is no data set"):
        Jobs().start(Evaluation.of, "mine", tmp_path / "nowhere", "dirvae", device="cpu")
    monkeypatch.setenv("LUNGVAE_SOURCES", "")
    with pytest.raises(UserError, match="is not below a folder"):
        start_evaluation(tiny_data, diagnoses=tmp_path / "good.csv")
    assert Jobs().all() == []
    assert not default_report("mine").parent.exists()


def anywhere(text: str) -> Path:
    """Where a stored path is opened, whether it is there or not."""
    return Path("/srv") / text


def test_a_stopped_training_goes_on_with_its_run_and_begins_anew_without_one(tmp_path):
    training = Training(
        data="data/tiny", preset="gvae", changes={"epochs": 3}, device="cpu", title="--mine", finish=False
    )
    begun = training.argv(tmp_path, anywhere, again=False)
    assert begun[:4] == ["train", "--data=/srv/data/tiny", f"--out={tmp_path}", "--preset=gvae"]
    assert begun[-3:] == ["--no-finish", "--set=epochs=3", "--title=--mine"]
    assert training.argv(tmp_path, anywhere, again=True) == begun  # stopped before its run existed
    (tmp_path / "config.json").touch()
    assert training.argv(tmp_path, anywhere, again=True)[-2:] == ["--no-finish", "--resume"]
    assert training.lane == "cpu"
    assert training.uses(anywhere) == [Path("/srv/data/tiny")]


def test_a_value_of_a_search_or_a_map_is_one_word_that_is_no_option(tmp_path):
    search = Search(
        source="--run=runs/mine",
        space="mlp",
        fixed={"name": "--out=/etc"},
        options={"trials": 3, "halving": True, "test_fraction": 0.3},
        device="cpu",
    )
    argv = search.argv(tmp_path, anywhere, again=False)
    assert argv[5:] == [
        "--run=/srv/runs/mine",
        "--space=mlp",
        "--trials=3",
        "--halving",
        "--test-fraction=0.3",
        '--set=name="--out=/etc"',
    ]
    own = Map(unit="slice", method="pca", dims=2, run="-x", parameters={"whiten": True})
    assert own.argv(tmp_path, anywhere, again=False)[-3:] == ["--set=whiten=true", "--", "/srv/-x"]
    assert (own.lane, search.lane) == ("maps", "cpu")


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        ("phantom", {"count": 0}),
        ("phantom", {"count": "3"}),  # numbers are numbers
        ("training", {"data": "d", "preset": "--help", "changes": {}, "device": "cpu"}),
        ("training", {"data": "d", "preset": "gvae", "changes": {}, "device": "cpu; rm"}),
        ("search", {"source": "--out=x", "space": "gvae", "device": "cpu"}),
        ("map", {"unit": "patient", "method": "pca", "dims": 2, "run": "r"}),
    ],
)
def test_a_request_that_no_page_can_have_made_is_refused(kind, request_):
    with pytest.raises(ValidationError):
        KINDS[kind].model_validate(request_)


def test_keys_of_another_version_are_passed_over():
    assert KINDS["phantom"].model_validate({"count": 3, "later": 1}) == Phantom(count=3)


def test_a_phantom_of_no_slices_is_refused(folders):
    with pytest.raises(UserError, match="0 slices"):
        Phantom.of(folders, 0)
