"""A space proposes what the configuration takes, narrowed and widened as asked."""

from __future__ import annotations

import pytest

from lungvae_core.errors import UserError
from lungvae_core.training.search import spaces
from lungvae_core.training.search.spaces import SPACES, between, narrowed, one_of, settings, space


def test_spaces_cover_the_published_ranges() -> None:
    # RandomSearchVAE.py, RandomSearch_Dirichlet_VAE.py and RandomSearchMLP.py, released with the paper.
    vae = {
        "hu_high": {300, 400, 500, 600},
        "hu_low": {-1000, -800, -700, -500},
        "width": {32, 64, 128},
        "latent": {4, 8, 16, 32, 64},
        "similarity": {"none", "ssim", "ms_ssim"},
        "alpha": {0.15, 0.2, 0.3, 0.5, 0.7, 0.8, 0.85},
        "beta": {0.5, 0.8, 1, 1.5, 2, 5, 10, 20, 30, 50, 100, 250},
        "learning_rate": {1e-7, 1e-6, 1e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3},
        "batch_size": {64, 128, 256, 512},
        "ssim_times": {"1", "batch"},
    }
    published = {
        "paper-gvae": vae,
        "paper-dirvae": vae | {"prior_alpha": {0.6, 0.9, 0.99, 3}},
        "paper-mlp": {
            "learning_rate": {1e-6, 1e-5, 5e-5},
            "dropout": {0.2, 0.25, 0.4, 0.5, 0.55},
            "batch_size": {32, 64, 128, 256, 512},
            "depth": {3, 4},
        },
    }
    for name, parameters in published.items():
        ours = space(name).parameters
        for parameter, values in parameters.items():
            assert values <= set(ours[parameter].choices), (name, parameter)
    assert len(space("paper-mlp").parameters["sizes"].choices) == 13
    assert spaces.THRESHOLDS == (0.4, 0.45, 0.5, 0.55, 0.6)
    # The paper's best models are points of its spaces.
    for name in ("paper-gvae", "paper-dirvae"):
        best = spaces.configure(space(name), {})
        drawn = {
            "hu_low": best.model.hu_low,
            "hu_high": best.model.hu_high,
            "width": best.model.width,
            "latent": best.model.dimensions // best.model.width,
            "similarity": "ssim",
            "alpha": 0.5,
            "ssim_times": "1",
            "beta": best.objective.beta,
            "learning_rate": best.training.learning_rate,
            "batch_size": best.training.batch_size,
        }
        if name == "paper-dirvae":
            drawn["prior_alpha"] = best.model.prior_alpha
        assert drawn.keys() == space(name).parameters.keys()
        assert all(value in space(name).parameters[key].choices for key, value in drawn.items())
        assert spaces.configure(space(name), settings(space(name), drawn, {})) == best


@pytest.mark.parametrize("name", SPACES)
def test_every_corner_of_a_space_is_a_configuration(name: str) -> None:
    base = space(name)
    for pick in (0, -1):
        drawn = {
            key: parameter.choices[pick] if parameter.choices else (parameter.low, parameter.high)[pick]
            for key, parameter in base.parameters.items()
        }
        changes = settings(base, drawn, {})
        if base.of_codes:
            assert len(spaces.configure_mlp(base, changes).hidden) == (3 if pick == 0 else 4)
        else:
            assert 2 <= spaces.configure(base, changes).model.dimensions <= spaces.MOST_DIMENSIONS


def test_derived_settings_are_the_papers() -> None:
    drawn = {"width": 128, "latent": 64, "alpha": 0.2, "similarity": "ms_ssim", "ssim_times": "batch"}
    changes = settings(space("paper-gvae"), {**drawn, "batch_size": 64}, {})
    assert changes["dimensions"] == 4096  # not 8192
    assert (changes["l1"], changes["ssim"]) == (0.2, 0.0)
    assert changes["ms_ssim"] == pytest.approx(0.8 * 64)
    changes = settings(space("paper-gvae"), {"similarity": "none", "alpha": 0.2}, {})
    assert (changes["l1"], changes["ssim"], changes["ms_ssim"]) == (1.0, 0.0, 0.0)
    assert settings(space("mlp"), {"sizes": "9-5-2", "depth": 4}, {})["hidden"] == (9, 5, 5, 2)


def test_a_space_is_narrowed_and_widened() -> None:
    found = narrowed(
        space("dirvae"),
        ranges={"beta": (0.5, 0.6), "weight_decay": (1e-6, 1e-2), "batch_size": (16, 256)},
        choices={"prior_alpha": (0.1, 0.2)},
        fixed={"dimensions": 8},
    )
    assert found["beta"] == between(0.5, 0.6)
    assert not found["beta"].log
    assert found["weight_decay"].log
    assert found["batch_size"].whole
    assert found["prior_alpha"] == one_of(0.1, 0.2)
    assert "dimensions" not in found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ranges": {"wings": (1, 2)}}, "no setting 'wings'"),
        ({"choices": {"wings": (1,)}}, "no setting 'wings'"),
        ({"fixed": {"wings": 1}}, "no setting 'wings'"),
        ({"ranges": {"beta": (2, 1)}}, "first end must be lower"),
        ({"ranges": {"beta": (-1, 1)}}, "beta"),
        ({"ranges": {"flips": (0, 1)}}, "not a number"),
        ({"choices": {"beta": ()}}, "no value"),
        ({"choices": {"batch_size": ("many",)}}, "batch_size"),
        ({"choices": {"epochs": (1, 2)}}, "cannot be searched"),
        ({"choices": {"beta": (1,)}, "fixed": {"beta": 1}}, "given twice"),
        ({"fixed": {"rounds": 1, "labels_of": "released"}}, "must not see labels"),
    ],
)
def test_bad_bounds_are_sentences(options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        narrowed(space("dirvae"), **options)


def test_derived_settings_are_not_set_by_themselves() -> None:
    for name, said in (("dimensions", "follows from latent"), ("ssim", "follows from")):
        with pytest.raises(UserError, match=said):
            narrowed(space("paper-gvae"), fixed={name: 1})
    with pytest.raises(UserError, match="follows from sizes"):
        narrowed(space("mlp"), fixed={"hidden": [3]})
    with pytest.raises(UserError, match="similarity is 'psnr'"):
        narrowed(space("paper-gvae"), choices={"similarity": ("psnr",)})
