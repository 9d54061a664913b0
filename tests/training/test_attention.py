"""Attention over a nodule's slices: it finds the slice that matters, and nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.statistics.roc import auc
from lungvae_core.training.attention import (
    FILE,
    Attention,
    AttentionConfig,
    Attentions,
    fit_attention,
    load_attentions,
    save_attentions,
)
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.inputs import Inputs
from lungvae_core.vae.config import preset

QUICK = AttentionConfig(epochs=3)


def nodules(count: int, seed: int, *, slices: int = 6) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """(table, codes (N, 8) of noise, labels (N,)): `count` nodules of one to `slices`, two a patient."""
    generator = np.random.default_rng(seed)
    size = generator.integers(1, slices + 1, count)
    nodule = np.repeat(np.arange(count), size)
    table = pd.DataFrame(
        {
            "patient_id": [f"TEST-{number // 2:04d}" for number in nodule],
            "nodule": nodule % 2,
            "slice": np.concatenate([np.arange(number) for number in size]),
        }
    )
    return (
        table,
        generator.normal(size=(len(table), 8)),
        generator.integers(0, 2, count)[nodule].astype(float),
    )


def planted(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """As `nodules`, and (N,) bool: the one slice of each that carries its sign.

    A key in dimension 0 marks that slice and dimension 1 has the sign; other slices have signs at random,
    so that neither mean nor maximum over slices tells the label.
    """
    table, codes, labels = nodules(count, seed)
    generator = np.random.default_rng(seed + 1)
    speaks = (table["slice"] == 0).to_numpy()
    codes[:, 0] = np.where(speaks, 2.0, -2.0) + generator.normal(0, 0.3, len(table))
    sign = np.where(speaks, 2 * labels - 1, generator.choice([-1, 1], len(table)))
    codes[:, 1] = 2 * sign + generator.normal(0, 0.3, len(table))
    mixed = generator.permutation(len(table))
    return table.iloc[mixed].reset_index(drop=True), codes[mixed], labels[mixed], speaks[mixed]


def truth_of(table: pd.DataFrame, labels: np.ndarray) -> np.ndarray:
    return table.assign(label=labels).groupby(["patient_id", "nodule"])["label"].first().to_numpy()


def weights_of(model: Attention, codes: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """(N,) the weight of each slice in its nodule."""
    nodule = table.groupby(["patient_id", "nodule"]).ngroup().to_numpy()
    weights = np.empty(len(table))
    for number in np.unique(nodule):
        weights[nodule == number] = model.of_nodule(codes[nodule == number])[1]
    return weights


@pytest.mark.parametrize("over", ["codes", "logits"])
def test_it_finds_the_one_slice_that_carries_the_sign(over: str) -> None:
    table, codes, labels, _ = planted(300, 0)
    model = fit_attention(
        codes, table, labels, seed=0, inputs=Inputs(), config=AttentionConfig(over=over, epochs=60)
    )
    other, unseen, truth, speaks = planted(200, 50)
    found = model.logits(unseen, other)
    assert auc(truth_of(other, truth), found["logit"].to_numpy()) > 0.9
    # What no average of slices can do: the sign of the mean code is of no use for it.
    mean = other.assign(code=unseen[:, 1]).groupby(["patient_id", "nodule"])["code"].mean()
    assert auc(truth_of(other, truth), mean.to_numpy()) < 0.85
    weights = weights_of(model, unseen, other)
    several = other.groupby(["patient_id", "nodule"])["slice"].transform("size").to_numpy() >= 3
    assert weights[several & speaks].mean() > 0.7


def test_weights_add_up_to_one_in_every_nodule() -> None:
    table, codes, labels = nodules(40, 3)
    model = fit_attention(codes, table, labels, seed=0, inputs=Inputs(), config=QUICK)
    weights = weights_of(model, codes, table)
    assert (weights > 0).all()
    sums = table.assign(weight=weights).groupby(["patient_id", "nodule"])["weight"].sum()
    assert np.allclose(sums, 1, atol=1e-6)
    single = table.groupby(["patient_id", "nodule"])["slice"].transform("size").to_numpy() == 1
    assert np.allclose(weights[single], 1)


@pytest.mark.parametrize("over", ["codes", "logits"])
def test_the_order_of_slices_matters_neither_to_learning_nor_to_the_logit(over: str) -> None:
    table, codes, labels = nodules(40, 3)
    mixed = np.random.default_rng(1).permutation(len(table))
    config = QUICK.model_copy(update={"over": over})
    model = fit_attention(codes, table, labels, seed=0, inputs=Inputs(), config=config)
    again = fit_attention(
        codes[mixed], table.iloc[mixed], labels[mixed], seed=0, inputs=Inputs(), config=config
    )
    found, turned = model.logits(codes, table), model.logits(codes[mixed], table.iloc[mixed])
    assert np.allclose(found["logit"], turned["logit"], atol=1e-6)
    assert np.allclose(
        weights_of(model, codes, table)[mixed], weights_of(model, codes[mixed], table.iloc[mixed])
    )
    pd.testing.assert_frame_equal(found, again.logits(codes, table))


def test_a_nodules_logit_depends_on_no_other_nodule() -> None:
    table, codes, labels = nodules(40, 3)
    model = fit_attention(codes, table, labels, seed=0, inputs=Inputs(), config=QUICK)
    found = model.logits(codes, table)
    one = (table["patient_id"] == "TEST-0004") & (table["nodule"] == 1)
    alone = model.logits(codes[one], table[one])
    place = (found["patient_id"] == "TEST-0004") & (found["nodule"] == 1)
    assert np.allclose(alone["logit"], found[place]["logit"], atol=1e-6)


def test_labels_at_random_by_patient_score_a_half() -> None:
    table, codes, _ = nodules(400, 5)
    patient, names = pd.factorize(table["patient_id"])
    generator = np.random.default_rng(8)
    # Slices of a patient are alike, so that whoever knows a patient of the test fold knows the label.
    codes = codes + 2 * generator.normal(size=(len(names), 8))[patient]
    labels = generator.integers(0, 2, len(names))[patient].astype(float)
    scores = []
    for train, test in grouped_folds(table, 5, seed=0, classes=labels.astype(int)):
        model = fit_attention(codes[train], table.iloc[train], labels[train], seed=0, inputs=Inputs())
        scores.append(model.logits(codes[test], table.iloc[test]))
    found = pd.concat(scores).set_index(["patient_id", "nodule"])["logit"].sort_index()
    assert abs(auc(truth_of(table, labels), found.to_numpy()) - 0.5) < 0.08
    everyone = fit_attention(codes, table, labels, seed=0, inputs=Inputs())
    assert auc(truth_of(table, labels), everyone.logits(codes, table)["logit"].to_numpy()) > 0.75


def test_a_seed_names_the_attention_and_nothing_else_is_drawn() -> None:
    table, codes, labels = nodules(40, 3)
    state = torch.get_rng_state()
    first = fit_attention(codes, table, labels, seed=3, inputs=Inputs(), config=QUICK)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    second = fit_attention(codes, table, labels, seed=3, inputs=Inputs(), config=QUICK)
    other = fit_attention(codes, table, labels, seed=4, inputs=Inputs(), config=QUICK)
    logits = first.logits(codes, table)["logit"]
    assert (logits == second.logits(codes, table)["logit"]).all()
    assert not np.allclose(logits, other.logits(codes, table)["logit"])


def test_unlabelled_slices_are_left_out() -> None:
    table, codes, labels = nodules(60, 3)
    labels[(table["patient_id"] < "TEST-0010").to_numpy()] = np.nan
    known = ~np.isnan(labels)
    assert not known.all()
    ours, theirs = (
        fit_attention(codes[rows], table[rows], labels[rows], seed=0, inputs=Inputs(), config=QUICK)
        for rows in (np.ones(len(table), bool), known)
    )
    pd.testing.assert_frame_equal(ours.logits(codes, table), theirs.logits(codes, table))


def test_a_simplex_code_enters_as_its_centred_log_ratio() -> None:
    table, codes, labels = nodules(40, 3)
    on_simplex = np.exp(codes) / np.exp(codes).sum(1, keepdims=True)
    model = fit_attention(on_simplex, table, labels, seed=0, inputs=Inputs(simplex=True), config=QUICK)
    features = model.features(torch.tensor(on_simplex, dtype=torch.float32)).numpy()
    ratios = codes - codes.mean(1, keepdims=True)
    assert np.allclose(features, (ratios - ratios.mean(0)) / ratios.std(0, ddof=1), atol=1e-2)
    edge = np.eye(8)[:3]  # a code may have zeros
    assert np.isfinite(model.logits(edge, table[:3])["logit"]).all()


def test_one_class_and_torn_nodules_are_refused() -> None:
    table, codes, labels = nodules(20, 3)
    with pytest.raises(UserError, match="both malignant and benign"):
        fit_attention(codes, table, np.ones(len(table)), seed=0, inputs=Inputs())
    with pytest.raises(UserError, match="both malignant and benign"):
        fit_attention(codes, table, np.full(len(table), np.nan), seed=0, inputs=Inputs())
    torn = labels.copy()
    place = table[table.duplicated(["patient_id", "nodule"])].index[0]
    torn[place] = 1 - torn[place]
    with pytest.raises(UserError, match=r"slices of nodule TEST-\d+/\d have different labels"):
        fit_attention(codes, table, torn, seed=0, inputs=Inputs())


@pytest.mark.parametrize("simplex", [False, True])
def test_it_is_kept_in_the_run_and_reported_as_damaged(
    tiny_data: Path, tmp_path: Path, simplex: bool
) -> None:
    run = Run.create(
        tmp_path, preset("dirvae" if simplex else "gvae"), SliceSet.open(tiny_data), device="cpu"
    )
    assert load_attentions(run) is None
    table, codes, labels = nodules(30, 3)
    dimensions = run.config.model.dimensions
    codes = np.abs(np.pad(codes, ((0, 0), (0, dimensions - codes.shape[1]))))
    first, second = (
        fit_attention(codes, table, labels, seed=seed, inputs=Inputs(simplex), config=QUICK)
        for seed in (0, 1)
    )
    patients = sorted(table["patient_id"].astype(str).unique())
    save_attentions(run, Attentions(first, (second,), {patients[0]: 0}))
    read = load_attentions(run)
    assert read is not None
    assert read.final.config == first.config
    pd.testing.assert_frame_equal(read.final.logits(codes, table), first.logits(codes, table))
    # The patient of the fold is judged by the one that has not seen them, all others by the final one.
    of_set = read.logits(codes, table)
    whose = of_set["patient_id"].astype(str) == patients[0]
    for attention, rows in ((first, ~whose), (second, whose)):
        alone = attention.logits(codes, table)
        np.testing.assert_allclose(of_set["logit"][rows], alone["logit"][rows], atol=1e-6)
    assert read.of(patients[0]) is read.folds[0]
    assert read.of(None) is read.of("a stranger") is read.final
    whole = (run.folder / FILE).read_bytes()
    (run.folder / FILE).write_bytes(whole[:-100])
    with pytest.raises(UserError, match="damaged"):
        load_attentions(run)
