"""A lesion drawn apart: each of its four coordinates changes its own property, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungvae_core.data.outlines import segment
from lungvae_core.data.properties import PROPERTIES, measure
from lungvae_core.errors import UserError
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.latents import make_latent
from lungvae_core.vae.lesion import GRID, KINDS, SCORES, LesionDecoder, density_of, slope_of
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import ReadingEncoder
from tests.conftest import few_guides

KEYS = list(PROPERTIES)
OWN = ("diameter_px", "mean_hu", "edge_px", "eccentricity")
SPREAD = {  # about one standard deviation among real lesions
    "diameter_px": 6.0,
    "mean_hu": 170.0,
    "edge_px": 0.7,
    "eccentricity": 0.15,
    "right_px": 3.0,
    "down_px": 3.0,
}
_AT = torch.linspace(-1, 1, GRID)
TABLE = torch.stack([12 * (0.9 * _AT).exp(), -300 + 350 * _AT, -2.5 + 1.2 * _AT, 0.55 + 0.35 * _AT])
STEPS = torch.linspace(-2, 2, 5)
COUNT = 40


def layered(name: str = "gvae-guided", **changes: object) -> Config:
    return override(
        preset(name),
        {"linear_path": True, "lesion_layer": True, **few_guides("gvae-guided"), "width": 4, **changes},
    )


def decoder_of(name: str = "gvae-guided") -> LesionDecoder:
    """A decoder with a table of lesions of usual sizes, densities, edges and shapes."""
    torch.manual_seed(0)
    decoder = VAE(layered(name).model).eval().decoder
    assert isinstance(decoder, LesionDecoder)
    decoder.table.copy_(TABLE)
    return decoder


@pytest.fixture(scope="module")
def walks() -> np.ndarray:
    """(4, T, COUNT, P) what is measured of lesions of random outlines as each coordinate rises."""
    decoder = decoder_of()
    shape = torch.randn(COUNT, 22, generator=torch.Generator().manual_seed(0))
    shape[:, :20] *= 0.2
    maps = torch.tensor([-2.0, 0.5])[None, :, None, None].expand(COUNT, 2, 64, 64)
    values = np.empty((len(KINDS), len(STEPS), COUNT, len(KEYS)))
    for guide in range(len(KINDS)):
        for at, score in enumerate(STEPS):
            scores = torch.zeros(COUNT, len(KINDS))
            scores[:, guide] = score
            with torch.no_grad():
                picture = decoder._compose(scores, maps, shape)[:, 0]
            hu = (-1000 + 1400 * picture).numpy()
            values[guide, at] = measure(hu, segment(hu))
    return values


@pytest.mark.parametrize("kind", KINDS)
def test_a_coordinate_moves_its_property_and_little_else(kind: str, walks: np.ndarray) -> None:
    """Outlined and measured anew, by what knows nothing of the decoder."""
    guide = KINDS.index(kind)
    rises = np.nanmedian(np.diff(walks[guide], axis=0) * (-1 if kind == "edge" else 1), axis=1)  # (T - 1, P)
    own = KEYS.index(OWN[guide])
    assert (rises[:, own] > 0).all()
    change = np.abs(np.nanmedian(walks[guide, -1] - walks[guide, 0], axis=0))
    moved = {key: change[KEYS.index(key)] / spread for key, spread in SPREAD.items()}
    strength = moved.pop(OWN[guide])
    assert strength > 1
    assert max(moved.values()) < 0.25 * strength


@pytest.mark.parametrize(("kind", "off"), [("diameter", 0.7), ("density", 25), ("elongation", 0.05)])
def test_a_property_has_the_value_that_its_coordinate_stands_for(
    kind: str, off: float, walks: np.ndarray
) -> None:
    guide = KINDS.index(kind)
    scores = torch.zeros(len(STEPS), len(KINDS))
    scores[:, guide] = STEPS
    expected = decoder_of().values(scores)[:, guide].numpy()
    measured = np.nanmedian(walks[guide, :, :, KEYS.index(OWN[guide])], axis=1)
    assert np.abs(measured - expected)[1:].max() < off


def test_values_between_the_tables_ends_and_beyond() -> None:
    decoder = decoder_of()
    at = torch.linspace(-SCORES, SCORES, GRID)
    on = decoder.values(at[:, None].expand(GRID, 4))
    torch.testing.assert_close(on, decoder.table.T, atol=1e-3, rtol=1e-3)
    far = torch.tensor([[-99.0] * 4, [-4.0] * 4, [4.0] * 4, [99.0] * 4])
    beyond = decoder.values(far)
    torch.testing.assert_close(beyond[0], beyond[1])
    torch.testing.assert_close(beyond[2], beyond[3])
    assert (beyond[2] > decoder.table[:, -1]).all()


def test_an_edge_is_as_wide_as_it_says() -> None:
    width = torch.tensor([1.2, 2.0, 4.0])
    place = torch.linspace(-20, 20, 4001)
    share = torch.sigmoid(slope_of(width)[:, None] * place)
    steepest = (share[:, 100:] - share[:, :-100]).amax(1)  # over a pixel
    torch.testing.assert_close(1 / steepest, width, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_the_layers_make_the_picture_and_do_not_see_the_coordinates(name: str) -> None:
    vae = VAE(layered(name).model).eval()
    code = torch.tensor(np.stack([vae.latent.draw(seed) for seed in range(4)])).clamp(
        min=1e-3 if vae.config.prior == "dirichlet" else -9
    )
    with torch.no_grad():
        layers = vae.draw(code)
        assert layers.shape == (4, 4, 64, 64)
        assert ((layers >= 0) & (layers <= 1)).all()
        torch.testing.assert_close(vae.reconstruct(code), layers[:, :1])
        for guide in range(len(KINDS)):
            moved = vae.latent.with_step(code, torch.full((4,), guide), torch.full((4,), 0.5))
            torch.testing.assert_close(vae.draw(moved)[:, 1:3], layers[:, 1:3], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "released"}, "network=lean and linear_path=true"),
        ({"linear_path": False, "pca_start": False}, "network=lean and linear_path=true"),
        ({"dimensions": 4}, "more dimensions"),
        ({"guided": ["diameter", "edge"]}, "begin with diameter,density,edge,elongation"),
        ({"guided": ["malignancy", *KINDS]}, "begin with diameter,density,edge,elongation"),
        ({"rating_dimensions": 0, "rating_density": 0.2}, "need rating_dimensions"),
    ],
)
def test_what_it_needs_is_said(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        layered(**changes)


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_a_step_moves_one_coordinate_by_its_size(name: str) -> None:
    latent = make_latent(override(preset(name), {"dimensions": 12}).model)
    code = torch.tensor(np.stack([latent.draw(seed) for seed in range(6)])).clamp(
        min=1e-3 if "dir" in name else -9
    )
    guide, size = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -2.0])
    own, free = latent.coordinates(code, 3)
    moved_own, moved_free = latent.coordinates(latent.with_step(code, guide, size), 3)
    assert torch.allclose(moved_free, free, atol=1e-4)
    assert torch.allclose(moved_own - own, torch.nn.functional.one_hot(guide, 3) * size[:, None], atol=1e-4)


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_texture_and_calcification_make_the_lesion_denser_and_encoder_and_decoder_agree(name: str) -> None:
    """A slice has the same image whatever they add; a step along texture changes its density by that much."""
    guided = [*KINDS, "spiculation", "calcification", "texture"]
    config = layered(name, guided=guided, dimensions=12, rating_density=0.4, rating_gain=1)
    torch.manual_seed(0)
    vae, without = VAE(config.model).eval(), VAE(override(config, {"rating_density": 0}).model).eval()
    per_rating = density_of(guided, config.model)
    assert per_rating.tolist() == pytest.approx([0, 0.2, 0.4])
    for part in (vae.encoder, vae.decoder):
        assert isinstance(part, ReadingEncoder | LesionDecoder)
        assert part.per_rating is not None
        part.per_rating.copy_(per_rating)
    assert isinstance(vae.decoder, LesionDecoder)
    vae.decoder.table.copy_(TABLE)
    theirs = vae.state_dict()
    without.load_state_dict({key: theirs[key] for key in without.state_dict()})
    x = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        codes = [each.latent.code(each.posterior(x)) for each in (vae, without)]
        before = vae.draw(codes[0])
        torch.testing.assert_close(before, without.draw(codes[1]), atol=2e-4, rtol=0)
        denser = [
            vae.draw(vae.latent.with_step(codes[0], torch.full((4,), guide), torch.full((4,), size)))
            for guide, size in ((len(KINDS) + 2, 1.0), (KINDS.index("density"), 0.4))
        ]
    by_texture, by_density = ((each[:, 0] - before[:, 0]).mean((1, 2)) for each in denser)
    assert (by_density > 2e-4).all()  # of the window, mean over the slice
    if name == "gvae-guided":
        torch.testing.assert_close(by_texture, by_density, rtol=0.2, atol=0)
    else:  # a larger share of texture lowers all others' in the mean of the free ones, here of eight
        assert (by_texture > 0.3 * by_density).all()


def test_a_gain_changes_weights_and_no_image() -> None:
    decoders = [VAE(layered(rating_gain=gain).model).eval().decoder for gain in (1, 4)]
    first, second = decoders
    assert isinstance(first, LesionDecoder)
    assert isinstance(second, LesionDecoder)
    torch.nn.init.normal_(first.path.weight, std=0.01)  # type: ignore[arg-type]
    second.load_state_dict(first.state_dict())
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (first(z) - second(z)).abs().max() > 1e-3
        second.regain(1)
        torch.testing.assert_close(first(z), second(z), atol=1e-5, rtol=0)
