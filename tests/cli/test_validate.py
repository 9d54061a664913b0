"""`lungvae validate` from data to report, and what it says of what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungvae_core.data.slices import DatasetInfo, write
from lungvae_core.evaluation.report import load_report
from tests.conftest import blobs


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SliceSet of other patients."""
    slices, masks, table = blobs(120, 7)
    table["patient_id"] = table["patient_id"].str.replace("TEST", "OTHER")
    table.loc[0, "n_readers"] = 3  # its nodule's other slices have 2
    folder = tmp_path_factory.mktemp("data") / "others"
    info = DatasetInfo(name="other discs", source="made by the tests", rule="discs", generated=True)
    write(folder, slices, masks, table, info)
    return folder


def test_a_model_is_judged_on_other_data(run, tiny_models: Path, others: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    model = tiny_models / "tiny-dirvae"
    code, text, err = run("validate", model, "--data", others, "--out", out, "--quick")
    assert code == 0, err
    assert "Rows of one nodule differ in n_readers" in err
    report = load_report(out)
    assert report.protocol == "external"
    assert report.model.name == "tiny-dirvae"
    area = report.units.nodule.auc.value
    assert f"{area:.3f}" in text
    assert "auc, diameter alone" in text
    assert "for a specificity of 0.95" in text


def test_the_models_own_data_are_refused(
    printed, refused, tiny_models: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    command = ("validate", tiny_models / "tiny-gvae", "--data", tiny_data, "--out", out, "--quick")
    refused("--include-seen", *command)
    assert not out.exists()
    text = printed(*command, "--include-seen")
    assert "LEAK: The model has learned from 24 of the 24 patients" in text
    assert load_report(out).leaks


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--task", "mvx"), "no task 'mvx'"),
        (("--label-rule", "guess"), "no label rule 'guess'"),
        (("--leave-out-seen", "--include-seen"), "exclude each other"),
        (("--out", "report.txt"), "is a json file"),
    ],
)
def test_what_cannot_be_is_reported_in_a_sentence(
    refused, options: tuple[str, ...], sentence: str, tiny_models: Path, others: Path, tmp_path: Path
) -> None:
    data = ("--data", others, "--out", tmp_path / "r.json")
    refused(sentence, "validate", tiny_models / "tiny-gvae", *data, *options)
