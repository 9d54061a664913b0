"""The feature loss: its network learns from training patients alone, stays as it is, and is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import FEATURES, Run, default_split
from lungvae_core.training.cnn import Cnn, CnnConfig
from lungvae_core.training.features import Features, load_features
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.objective import feature_distance

CONFIG = override(
    preset("gvae"), {"width": 4, "dimensions": 4, "epochs": 2, "batch_size": 32, "feature": 1.0}
)


def features() -> Features:
    torch.manual_seed(0)
    return Features(Cnn(CnnConfig(width=4)))


def trained(data: SliceSet, folder: Path, config: Config = CONFIG, **options) -> tuple[Run, bool]:
    return fit(config, data, folder, device="cpu", **options)


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run, finished = trained(SliceSet.open(tiny_data), tmp_path_factory.mktemp("features") / "whole")
    assert finished
    return run


def test_four_scales_are_compared():
    network = features()
    x, y = torch.rand(2, 3, 1, 64, 64)
    assert [tuple(one.shape[1:]) for one in network(x)] == [
        (2, 32, 32),
        (8, 16, 16),
        (16, 8, 8),
        (16, 4, 4),
    ]
    assert float(feature_distance(x, x, network)) == 0
    y.requires_grad_()
    distance = feature_distance(x, y, network)
    assert 0 < distance.item() < 4
    distance.backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0
    # The nearer the picture, the smaller the distance.
    assert feature_distance(x, (0.9 * x + 0.1 * y).detach(), network) < distance


def test_the_network_does_not_learn_with_the_vae(whole):
    network = load_features(whole, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in network.parameters())
    network(torch.rand(4, 1, 64, 64))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_stopped_training_goes_on_with_the_same_network(whole, tiny_data, tmp_path):
    data, steps = SliceSet.open(tiny_data), 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > 4

    _, finished = trained(data, tmp_path / "broken", should_stop=stop)
    assert not finished
    run, finished = trained(data, tmp_path / "broken", resume=True)
    assert finished
    for file in (FEATURES, "model.safetensors"):
        assert (run.folder / file).read_bytes() == (whole.folder / file).read_bytes()


def test_no_label_of_a_held_out_patient_reaches_it(whole, tiny_data, tmp_path):
    data = SliceSet.open(tiny_data)
    split = default_split(CONFIG, data.table)
    table = data.table.copy()
    table.loc[split[1], "malignancy"] = 6 - table.loc[split[1], "malignancy"]
    assert not table["malignancy"].equals(data.table["malignancy"])
    run, _ = trained(replace(data, table=table), tmp_path / "other", split=split)
    assert (run.folder / FEATURES).read_bytes() == (whole.folder / FEATURES).read_bytes()


def test_the_loss_is_in_the_objective_and_counts_as_labels(whole, tiny_data, tmp_path):
    without, _ = trained(SliceSet.open(tiny_data), tmp_path / "without", override(CONFIG, {"feature": 0}))
    assert not without.has(FEATURES)
    for part in ("train", "validation"):
        assert whole.metrics()[0][part]["loss"] > without.metrics()[0][part]["loss"] + 1
    assert whole.config.labels_shape_codes
    assert not without.config.labels_shape_codes


def test_data_of_one_class_are_refused_before_anything_is_written(tiny_data, tmp_path):
    data = SliceSet.open(tiny_data)
    alike = data.table.assign(malignancy=2, malignancy_all="2|2")
    with pytest.raises(UserError, match="needs malignant and benign slices of training patients"):
        trained(replace(data, table=alike), tmp_path / "none")
    assert not (tmp_path / "none" / "config.json").exists()
