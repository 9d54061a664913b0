"""Whatever threads share gives each of them what it gives one alone, and is the same afterwards.

Every public member of the shared classes, and every function of `serving` that takes a model, is called from
eight threads at once. They are found by walking; one without a call in the tables below fails the test, so
that a new one cannot be forgotten.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lungvae_core import serving
from lungvae_core.caches import BoundedCache
from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import cases
from lungvae_core.serving.models.nearness import Nearness
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.walks.strips import Strip
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.ensemble import Ensemble
from tests.conftest import ROOT

THREADS = 8
HU = np.random.default_rng(0).integers(-900, 100, (3, 64, 64)).astype(np.int16)
ROWS = [3, 8, 40, 41]
Call = Callable[[Any], Any]


def code(model: LoadedModel, row: int = 5) -> np.ndarray:
    return model.codes[row]


def patient(model: LoadedModel) -> str:
    return str(model.table["patient_id"].iloc[5])


def codes_for(ensemble: Ensemble) -> np.ndarray:
    dimensions = ensemble.members[0].dimensions
    return np.full((2, dimensions), 1 / dimensions, np.float32)


SPACED = {"spacing_mm": 0.7}
MEMBERS: dict[type, dict[str, Call]] = {
    LoadedModel: {
        "band": lambda m: m.band(m.codes[:3], patient=patient(m)),
        "band_of": lambda m: m.band_of(m.codes[3], patient=patient(m)),
        "decode": lambda m: [m.decode(m.codes[:3]), m.decode(m.codes[:3], quick=True)],
        "familiarity": lambda m: m.familiarity(m.codes[:3], exclude_patient=patient(m)),
        "hu": lambda m: m.hu(m.decode(m.codes[:2])),
        "classifier_of": lambda m: m.classifier_of(patient(m)),
        "image": lambda m: m.image(5),
        "images": lambda m: m.images(np.array(ROWS)),
        "lesion": lambda m: m.lesion(5),
        "map": lambda m: [m.map(unit, "pca", dims) for unit in ("slice", "nodule") for dims in (2, 3)],
        "place": lambda m: m.place(code(m), "nodule", "pca"),
        "predict": lambda m: m.predict(HU[0], exclude_patient=patient(m), **SPACED),
        "score": lambda m: m.score(m.codes[:9], patient=patient(m)),
        "seen": lambda m: m.seen(HU[0], **SPACED),
        "shown_spacing": lambda m: m.shown_spacing(5),
        "ssim_rank": lambda m: [m.ssim_rank(ssim) for ssim in (0.0, 0.5, 1.0)],
    },
    Nearness: {
        "familiarity": lambda n: n.familiarity(n.codes[:3], exclude_patient=n.patients[5]),
        "neighbours": lambda n: n.neighbours(n.codes[5], exclude_patient=n.patients[5]),
        "place": lambda n: n.place(n.codes[5], n.codes[:, :2]),
    },
    Ensemble: {
        "band": lambda e: e.band(codes_for(e), patient=e.patients[0]),
        "band_of": lambda e: e.band_of(np.linspace(0, 1, 2 * len(e.members)).reshape(-1, 2)),
        "scores": lambda e: e.scores(codes_for(e)),
        "stranger_to": lambda e: e.stranger_to(e.patients[0]),
        "unseen": lambda e: e.unseen(e.patients[0]),
    },
    Registry: {
        "broken": lambda r: r.broken(),
        "entries": lambda r: r.entries(),
        "evaluation": lambda r: [r.evaluation(entry) for entry in r.entries()],
        "load": lambda r: [r.load(entry.name) for entry in r.entries()],
        "load_from": lambda r: r.load_from(str(r.entries()[0].folder)).entry.name,
    },
    BoundedCache: {
        "clear": lambda c: c.clear(),
        "drop": lambda c: c.drop("dropped"),
        "get": lambda c: [c.get(("made", at), lambda at=at: at) for at in range(5)],
        "nbytes": lambda c: 0 <= c.nbytes <= 2 * c.most_bytes,
        "peek": lambda c: c.peek("put") in (None, 8),
        "put": lambda c: c.put("put", 8),
    },
}
JOBS = "starts and stops processes; the database is what threads share"
FUNCTIONS: dict[str, Call | str] = {
    "cases.case_of_row": lambda m: cases.case_of_row(m, 5),
    "cases.case_of_upload": lambda m: cases.case_of_upload(m, HU[0], title="up", **SPACED),
    "cases.error_words": lambda m: cases.error_words(m, cases.case_of_row(m, 5)),
    "cases.known_patient": lambda m: cases.known_patient(m, patient(m)),
    "cases.nodule_of_upload": lambda m: cases.nodule_of_upload(m, HU, {0: (32, 32), 1: (32, 32)}, **SPACED),
    "cases.own_slice_words": lambda m: cases.own_slice_words(m, HU[0]),
    "cases.patient_of_upload": lambda m: cases.patient_of_upload(m, HU[:1]),
    "cases.ratings": lambda m: cases.ratings(m, ROWS, [0.1, 0.2, 0.3, 0.4]),
    "cases.score_context": lambda m: cases.score_context(m, 0.4),
    "cases.score_histograms": lambda m: cases.score_histograms(m),
    "comparison.facts": lambda m: called("comparison", "facts", m, m),
    "comparison.facts_note": lambda m: called("comparison", "facts_note", m, m),
    "comparison.named_dimensions": lambda m: called("comparison", "named_dimensions", m),
    "comparison.overlap": lambda m: called("comparison", "overlap", m, [cases.case_of_row(m, 5)] * 2),
    "comparison.same_rows": lambda m: called("comparison", "same_rows", m, m),
    "custom_maps.key_of": JOBS,
    "custom_maps.read": JOBS,
    "custom_maps.request": JOBS,
    "custom_maps.status": JOBS,
    "custom_maps.stop": JOBS,
    "film.offer": lambda m: called("film", "offer", m, m.codes[:3], patient=patient(m)),
    "film.make_film": lambda m: called("film", "make_film", m, m.codes[:3], patient=patient(m)),
    "group.can_order": lambda m: called("group", "can_order", m, "malignancy"),
    "group.contrasts": lambda m: called("group", "contrasts", m, ROWS),
    "group.mean_code": lambda m: called("group", "mean_code", m, ROWS),
    "group.mean_image": lambda m: called("group", "mean_image", m, ROWS),
    "group.most_typical": lambda m: called("group", "most_typical", m, ROWS),
    "group.ordered": lambda m: called("group", "ordered", m, ROWS, "row"),
    "images.sprites": lambda m: called("images", "sprites", m, m.settings.workspace / "cache"),
    "lesion.hu": lambda m: called("lesion", "hu", m, 5),
    "lesion.mask": lambda m: called("lesion", "mask", m, 5),
    "lesion.of_patients": lambda m: called("lesion", "of_patients", m),
    "lesion.nodule_of": lambda m: called("lesion", "nodule_of", m),
    "lesion.outlined": lambda m: called("lesion", "outlined", m, ROWS),
    "lesion.slices": lambda m: called("lesion", "slices", m, 5),
    "lesion.spacing_mm": lambda m: called("lesion", "spacing_mm", m, ROWS),
    "lesion_facts.facts": lambda m: called("lesion_facts", "facts", m, 5),
    "lesion_facts.ratings": lambda m: called("lesion_facts", "ratings", m, 5),
    "lesion_facts.scores": lambda m: called("lesion_facts", "scores", m, 5),
    "live.facts_of": lambda m: called("live", "facts_of", m, code(m), patient(m)),
    "live.moved_along": lambda m: called("live", "moved_along", m, code(m), [("malignancy", 0.5)]),
    "live.start_code": lambda m: [called("live", "start_code", m, start) for start in (*m.starts, "row:5")],
    "live.start_patient": lambda m: called("live", "start_patient", m, "row:5"),
    "points.clusters": lambda m: called("points", "clusters", m),
    "points.colour_choices": lambda m: called("points", "colour_choices", m),
    "points.colouring": lambda m: called("points", "colouring", m, "slice", "malignancy"),
    "points.lesions": lambda m: called("points", "lesions", m, "nodule"),
    "points.places": lambda m: called("points", "places", m, "slice", "umap", 2, ""),
    "points.separation": lambda m: called("points", "separation", m, "nodule", "pca", 2, ""),
    "points.unit_table": lambda m: called("points", "unit_table", m, "slice"),
    "nodule_score.combine": lambda m: called(
        "nodule_score", "combine", m, np.array([0.2, 0.4]), m.codes[:2], patient=patient(m)
    ),
    "nodule_score.judge": lambda m: called("nodule_score", "judge", m, m.codes[:4], patient=patient(m)),
    "scoring.of_row": lambda m: called("scoring", "of_row", m, 5),
    "scoring.of_set": lambda m: called("scoring", "of_set", m),
    "scoring.of_walk": lambda m: called("scoring", "of_walk", m, patient(m)),
    "selection.card": lambda m: called("selection", "card", m, 5),
    "selection.cards": lambda m: called("selection", "cards", m, ROWS, readers=True),
    "selection.composition": lambda m: called("selection", "composition", m, ROWS),
    "selection.counted": lambda m: called("selection", "counted", m, ROWS),
    "selection.csv": lambda m: called("selection", "csv", m, ROWS),
    "selection.of_ranges": lambda m: called("selection", "of_ranges", m, "1-4,9"),
    "selection.valid_rows": lambda m: called("selection", "valid_rows", m, ROWS),
    "strips.offer": lambda m: called(
        "strips",
        "offer",
        m,
        Strip("row 5", 0, np.linspace(-1, 1, 3), m.codes[:3], code(m), patient(m)),
        difference_full=0.5,
    ),
    "paths.along_direction": lambda m: called("paths", "along_direction", m, "malignancy", code(m)),
    "paths.between": lambda m: [
        called("paths", "between", m, kind, code(m), code(m, 50), rows=(5, 50))
        for kind in ("straight", "neighbours")
    ],
    "paths.carried": lambda m: called("paths", "carried", m),
    "paths.contact_sheet": lambda m: called("paths", "contact_sheet", m, code(m), [0, 1], 3, "row 5", None),
    "paths.directions": lambda m: called("paths", "directions", m),
    "paths.drawn": lambda m: called(
        "paths", "drawn", m, m.map("slice", "pca"), m.codes, m.map("slice", "pca")[[5, 50]]
    ),
    "paths.flip": lambda m: called("paths", "flip", m, code(m), patient=patient(m), target=0.5),
    "paths.flip_of_row": lambda m: called("paths", "flip_of_row", m, 5, None, 0.5, False),
    "paths.largest_changes": lambda m: called("paths", "largest_changes", m, m.codes[5], m.codes[7]),
    "paths.flips": lambda m: called("paths", "flips", m),
    "paths.graph": lambda m: called("paths", "graph", m),
    "paths.grid": lambda m: called("paths", "grid", m, code(m), 0, 1, 3, "row 5", patient(m)),
    "paths.measured": lambda m: called("paths", "measured", m),
    "paths.named": lambda m: called("paths", "named", m, 1),
    "paths.names": lambda m: called("paths", "names", m),
    "paths.space": lambda m: called("paths", "space", m),
    "paths.span": lambda m: called("paths", "span", m, 1, code(m)),
}


# Every module of `serving` by its name, but for those whose work leaves the server.
MODULES = {
    module.name.rpartition(".")[2]: module.name
    for module in pkgutil.walk_packages(serving.__path__, "lungvae_core.serving.")
    if not module.ispkg and ".export." not in module.name
}


def called(module: str, name: str, *arguments: Any, **named: Any) -> Any:
    return getattr(importlib.import_module(MODULES[module]), name)(*arguments, **named)


def members(cls: type) -> list[str]:
    """The public methods and properties of a class."""
    return [name for name in dir(cls) if not name.startswith("_")]


def functions() -> Iterator[str]:
    """All public functions of `serving` whose first argument is a model, as "module.name"."""
    for module, place in MODULES.items():
        opened = importlib.import_module(place)
        for name, function in inspect.getmembers(opened, inspect.isfunction):
            own = inspect.unwrap(function).__module__ == opened.__name__
            first = next(iter(inspect.signature(function).parameters.values()), None)
            if own and not name.startswith("_") and first and "LoadedModel" in str(first.annotation):
                yield f"{module}.{name}"


def calls_of(shared: SimpleNamespace) -> dict[str, Callable[[], Any]]:
    """Every call there is, by name, on a registry, its model with nearness and ensemble, and a cache."""
    calls: dict[str, Callable[[], Any]] = {}
    for shared_object in vars(shared).values():
        table = MEMBERS[type(shared_object)]
        for name in members(type(shared_object)):
            made = table.get(name) or (lambda owner, name=name: getattr(owner, name))
            calls[f"{type(shared_object).__name__}.{name}"] = lambda made=made, at=shared_object: made(at)
    for name, made in FUNCTIONS.items():
        if callable(made):
            calls[name] = lambda made=made: made(shared.model)
    return calls


def answer(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except UserError as error:
        return f"UserError: {error}"


def check_same(one: Any, other: Any, where: str) -> None:
    """Fail unless two answers are the same, but for the last digits that a batch's size decides."""
    assert type(one) is type(other), where
    if isinstance(one, float):  # there are millions of them, and NumPy's comparison takes 40 µs
        both_nan = math.isnan(one) and math.isnan(other)
        assert both_nan or math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5), f"{where}: {one} and {other}"
    elif isinstance(one, np.ndarray | torch.Tensor | np.floating):
        left, right = np.asarray(one), np.asarray(other)
        if left.dtype.kind == "f":
            np.testing.assert_allclose(left, right, 1e-4, 1e-5, err_msg=where)
        else:
            np.testing.assert_array_equal(left, right, where)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-5)
    elif isinstance(one, LoadedModel):
        assert one.entry == other.entry, where
    elif isinstance(one, torch.nn.Module):
        assert not one.training, where
        check_same(dict(one.state_dict()), dict(other.state_dict()), where)
    elif dataclasses.is_dataclass(one):
        for each in dataclasses.fields(one):
            check_same(getattr(one, each.name), getattr(other, each.name), f"{where}.{each.name}")
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), where
        for key in one:
            check_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            check_same(left, right, f"{where}[{at}]")
    elif type(one).__eq__ is not object.__eq__:
        assert one == other, where


def opened(models: Path, workspace: Path, name: str) -> SimpleNamespace:
    """Everything that threads share, opened anew."""
    registry = Registry(
        Settings(models=models, runs=workspace / "r", data=workspace / "d", workspace=workspace / "w")
    )
    model = registry.load(name)
    return SimpleNamespace(
        registry=registry,
        model=model,
        nearness=model.nearness,
        ensemble=model.ensemble,
        cache=BoundedCache(10_000),
    )


def hammer(models: Path, workspace: Path, name: str, count: int) -> None:
    alone = opened(models, workspace, name)
    expected = {call: answer(make) for call, make in calls_of(alone).items()}
    shared = opened(models, workspace, name)
    calls = calls_of(shared)
    order = [each for _ in range(-(-count // len(calls))) for each in calls][:count]
    # All threads begin together, and with the same calls: the first use of all that is made on first use.
    begin = threading.Barrier(THREADS)

    def work(number: int) -> list[tuple[str, Any]]:
        own = [order[at // THREADS] if at < len(calls) else order[at] for at in range(number, count, THREADS)]
        begin.wait()
        return [(each, answer(calls[each])) for each in own]

    with ThreadPoolExecutor(THREADS) as threads:
        for answers in threads.map(work, range(THREADS)):
            for each, got in answers:
                check_same(got, expected[each], each)
    for each, make in calls.items():
        check_same(answer(make), expected[each], f"{each} afterwards")


def test_every_member_has_a_call() -> None:
    for cls, table in MEMBERS.items():
        methods = {name for name in members(cls) if inspect.isfunction(getattr(cls, name))}
        assert methods <= table.keys() <= set(members(cls)), f"Add a call to MEMBERS[{cls.__name__}]."
    assert set(functions()) == FUNCTIONS.keys(), "Add a call to FUNCTIONS, or why there is none."


def test_eight_threads_get_what_one_gets(tiny_models: Path, tmp_path: Path) -> None:
    hammer(tiny_models, tmp_path, "tiny-gvae", 400)


@pytest.mark.long
@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_a_thousand_calls_of_the_shipped_models_from_eight_threads(tmp_path: Path, name: str) -> None:
    hammer(ROOT / "models", tmp_path, name, 1000)
