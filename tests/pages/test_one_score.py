"""One lesion has one score, by classifiers that have not seen its patient, wherever it is shown."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from lungvae_core.cli import app as commands
from lungvae_core.evaluation.classify import SHAPED, classify
from lungvae_core.serving.export import gather
from lungvae_core.serving.http.routes import registry, routes
from lungvae_core.serving.lesions import cases, lesion_facts, selection
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import live, paths
from lungvae_core.serving.walks.film import make_film
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from tests.conftest import ROOT
from tests.pages.conftest import component_data, open_page

NAMES = ["tiny-gvae", "tiny-dirvae"]
# Learns the labels by heart, so that who has seen a patient scores them unlike who has not.
BY_HEART = ClassifierConfig(hidden=(32,), dropout=0, epochs=40, learning_rate=1e-2, weight_decay=0)


@pytest.fixture(scope="module")
def by_heart(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with classifiers that know by heart what they learned from: labels drawn by patient."""
    folder = shutil.copytree(tiny_models, tmp_path_factory.mktemp("by-heart") / "models")
    for name in NAMES:
        run = Run.open(folder / name)
        table, codes = run.latents()
        patients = table["patient_id"].unique()
        drawn = dict(
            zip(patients, np.random.default_rng(0).permutation(np.arange(len(patients)) % 2), strict=True)
        )
        malignancy = table["patient_id"].map(drawn) * 2 + 2  # 2 or 4
        run.write_latents(table.assign(malignancy=malignancy.astype(table["malignancy"].dtype)), codes)
        classify(run, BY_HEART, members=6)
    return folder


@pytest.fixture
def models(by_heart: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those models, which the pages then find."""
    monkeypatch.setenv("LUNGVAE_MODELS", str(by_heart))
    registry.cache_clear()
    return by_heart


def text(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def number(pattern: str, said: str) -> float:
    match = re.search(pattern, said)
    assert match, (pattern, said)
    return float(match.group(1))


def of_traversal(model: LoadedModel, row: int) -> float:
    return component_data(
        open_page("traversal/traversal.py", model=model.entry.name, row=str(row)), "lungvae_traversal"
    )["startScore"]


def of_predict(model: LoadedModel, row: int) -> float:
    return float(open_page("predict/predict.py", model=model.entry.name, row=str(row)).metric[0].value)


def of_compare(model: LoadedModel, row: int) -> float:
    return float(open_page("compare.py", model=model.entry.name, row=str(row)).metric[0].value)


def of_directions(model: LoadedModel, row: int) -> float:
    said = text(open_page("knowledge/directions.py", model=model.entry.name, row=str(row)))
    return number(r"the score from ([\d.]+) past", said)


def of_flip(model: LoadedModel, row: int) -> float:
    said = text(open_page("traversal/traversal.py", model=model.entry.name, row=str(row), way="flip"))
    return number(r"the score from ([\d.]+) past|The score is ([\d.]+) and", said)


def of_map(model: LoadedModel, row: int) -> float:
    state = {"selected_rows": [row], "focus_row": row}
    said = text(open_page("map/latent_map.py", state, model=model.entry.name))
    return number(r"Slice \d+ of \d+: \*\*([\d.]+)\*\*", said)


def of_card(model: LoadedModel, row: int) -> float:
    return lesion_facts.scores(model, row).slice


def of_file(model: LoadedModel, row: int) -> float:
    lines = selection.csv(model, [row]).decode("utf-8-sig").splitlines()
    found = next(csv.DictReader(io.StringIO("\n".join(lines))))
    return float(found["score"])


def of_route(model: LoadedModel, row: int) -> float:
    client = TestClient(Starlette(routes=routes()), base_url="http://testserver")
    lesions = client.get(f"/api/models/{model.entry.name}/lesions?unit=slice").json()
    return lesions["score"][lesions["row"].index(row)]


def of_socket(model: LoadedModel, row: int) -> float:
    client = TestClient(Starlette(routes=routes()), base_url="http://testserver")
    with client.websocket_connect(f"/api/live/{model.entry.name}") as socket:
        socket.send_text(json.dumps({"id": 1, "start": f"row:{row}"}))
        return struct.unpack_from("<f", socket.receive_bytes(), 8)[0]


def of_film(model: LoadedModel, row: int) -> float:
    start = f"row:{row}"
    way = paths.between(model, "straight", live.start_code(model, start), model.starts["prior"])
    return make_film(model, way.codes, patient=live.start_patient(model, start)).scores[0]


def of_export(model: LoadedModel, row: int) -> float:
    found = gather.gather(model, real=False, units=("slice",))["units"]["slice"]["lesions"]
    return found["score"][found["row"].index(row)]


def of_uploaded(model: LoadedModel, row: int) -> float:
    hu = model.pixels.slices(np.array([row]))[0]
    return cases.case_of_upload(
        model, hu, title="", patient_id=str(model.table["patient_id"].iloc[row])
    ).score


def of_upload_walk(model: LoadedModel, row: int) -> float:
    name = live.code_name(model.codes[row], str(model.table["patient_id"].iloc[row]))
    code = live.start_code(model, name)
    return model.score(code[None], patient=live.start_patient(model, name))[0]


def of_command(model: LoadedModel, row: int) -> float:
    run = CliRunner().invoke(
        commands, ["counterfactual", str(model.entry.folder), "--row", str(row), "--json"]
    )
    assert not run.exception, run.output
    return json.loads(run.output)["score_before"]


PLACES: list[Callable[[LoadedModel, int], float]] = [
    of_traversal,
    of_predict,
    of_compare,
    of_directions,
    of_flip,
    of_map,
    of_card,
    of_file,
    of_route,
    of_socket,
    of_film,
    of_export,
    of_uploaded,
    of_upload_walk,
    of_command,
]


FLIPS = (of_directions, of_flip, of_command)


def most_different(model: LoadedModel) -> int:
    """The row that the classifier of all labelled slices scores most unlike the one that never saw it."""
    own = model.table["score"].to_numpy(float)
    apart = np.abs(own - model.score(model.codes, patient=None))
    assert apart.max() > 0.05
    return int(apart.argmax())


@pytest.mark.parametrize("name", NAMES)
def test_every_place_that_shows_a_lesion_shows_one_score(models, name):
    model = registry().load(name)
    row = most_different(model)
    patient = str(model.table["patient_id"].iloc[row])
    classifier = model.folds.stranger_to(patient)
    expected = 1 / (1 + np.exp(-float(classifier.logits(model.codes[row][None])[0])))
    # On the simplex no code within the lesions' range flips a classifier that learned by heart.
    places = PLACES if name == "tiny-gvae" else [each for each in PLACES if each not in FLIPS]
    shown = {place.__name__: place(model, row) for place in places}
    assert shown == {name: pytest.approx(expected, abs=0.0051) for name in shown}
    assert not model.folds.drew[model.folds.members.index(classifier), model.folds.patients.index(patient)]


def test_each_page_says_what_has_seen_the_patient(models):
    model = registry().load("tiny-gvae")
    row = most_different(model)
    words = scoring.of_row(model, row)
    assert "had not seen this patient" in words
    assert "encoder learned without labels" in words
    for page in ("predict/predict.py", "compare.py", "knowledge/directions.py"):
        assert words in text(open_page(page, model="tiny-gvae", row=str(row))), page
    walk = open_page("traversal/traversal.py", model="tiny-gvae", row=str(row))
    assert words in component_data(walk, "lungvae_traversal")["startLabel"]
    assert words in text(walk)
    assert "had not seen this patient" in text(open_page("map/latent_map.py", model="tiny-gvae"))


def test_an_encoder_that_learned_from_the_label_is_named(models, monkeypatch):
    model = registry().load("tiny-gvae")
    monkeypatch.setattr(model, "_table", model._table.assign(score_kind=SHAPED))
    row = most_different(model)
    assert "encoder learned from this patient's label. The classifier had not" in scoring.of_row(model, row)
    patient = str(model.table["patient_id"].iloc[row])
    assert scoring.of_walk(model, patient) == scoring.of_row(model, row)


def test_a_run_without_folds_opens_and_says_what_its_walks_are_scored_by(models, tmp_path):
    folder = shutil.copytree(models / "tiny-gvae", tmp_path / "runs" / "old")
    (folder / "folds.safetensors").unlink()
    model = registry().load("old")
    row = int(np.flatnonzero(model.table["score_kind"] == "cross-validated")[0])
    words = scoring.of_walk(model, str(model.table["patient_id"].iloc[row]))
    assert "this patient's among them" in words
    assert "lungvae classify" in words
    page = open_page("traversal/traversal.py", model="old", row=str(row))
    assert words in component_data(page, "lungvae_traversal")["startLabel"]
    assert of_predict(model, row) == pytest.approx(float(model.table["score"].iloc[row]), abs=0.0051)


def test_an_uploaded_picture_of_the_set_is_scored_as_its_patient_whatever_it_is_called(models, monkeypatch):
    model = registry().load("tiny-gvae")
    row = most_different(model)
    key = dict(model.table[["patient_id", "nodule", "slice"]].iloc[row])
    monkeypatch.setattr(cases, "recognised", lambda run, hu: key)
    hu = model.pixels.slices(np.array([row]))[0]
    case = cases.case_of_upload(model, hu, title="scan.png")
    assert case.patient == key["patient_id"]
    assert case.score == pytest.approx(float(model.table["score"].iloc[row]), abs=1e-3)


def test_no_page_or_route_takes_a_classifier_by_itself():
    """Whoever scores names the patient: `LoadedModel.score` and `classifier_of` know the classifiers."""
    own = {"registry.py", "paths.py", "scoring.py"}
    files = [*(ROOT / "pages").rglob("*.py"), *(ROOT / "lungvae_core" / "serving").rglob("*.py")]
    for path in files:
        if path.name not in own:
            assert ".classifier.logits" not in path.read_text(encoding="utf-8"), path
            assert ".classifier(" not in path.read_text(encoding="utf-8"), path
