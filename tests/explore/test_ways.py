"""Ways from A to B: valid all along, exact at the ends, along lesions where they say so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungvae_core.errors import UserError
from lungvae_core.explore.coordinates import Space
from lungvae_core.explore.measured.traverse import grids
from lungvae_core.explore.traversal import strip
from lungvae_core.explore.ways import Graph, along, along_map, along_simplex, grid, round_way, sheet, straight
from lungvae_core.vae.latents import DirichletLatent, GaussianLatent

K = 6
GAUSSIAN, DIRICHLET = GaussianLatent(K), DirichletLatent(K, prior_alpha=0.6, floor=0.01)


def codes(prior: str, count: int = 60, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if prior == "gaussian":
        return generator.standard_normal((count, K)).astype(np.float32)
    return generator.dirichlet(np.full(K, 0.6), count).astype(np.float32)


def check(way: np.ndarray, a: np.ndarray, b: np.ndarray, prior: str) -> None:
    np.testing.assert_array_equal(way[0], a)
    np.testing.assert_array_equal(way[-1], b)
    assert np.isfinite(way).all()
    if prior == "dirichlet":
        assert (way >= 0).all()
        np.testing.assert_allclose(way.sum(1), 1, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 40))
@pytest.mark.parametrize("prior", ["gaussian", "dirichlet"])
def test_every_way_is_valid_and_ends_where_it_should(prior, seed, steps):
    lesions = codes(prior, seed=seed)
    a, b = lesions[:2]
    latent = GAUSSIAN if prior == "gaussian" else DIRICHLET
    graph = Graph(lesions, prior)
    through = lesions[graph.way(a, b, without=np.arange(60) < 2)]
    ways = [straight(latent, a, b, steps), along(a, b, through, steps)]
    ways.append(along_simplex(Space.fit(lesions, simplex=prior == "dirichlet"), a, b, steps))
    if prior == "gaussian":
        ways.append(round_way(a, b, steps))
    for way in ways:
        assert way.shape == (steps, K)
        check(way, a, b, prior)


def test_a_round_way_keeps_its_distance_from_the_middle():
    a, b = np.eye(K, dtype=np.float32)[:2] * 3
    lengths = np.linalg.norm(round_way(a, b, 11), axis=1)
    np.testing.assert_allclose(lengths, 3, atol=1e-5)
    assert np.linalg.norm(straight(GAUSSIAN, a, b, 11), axis=1).min() < 2.2
    check(round_way(a, -a, 5), a, -a, "gaussian")


def test_backwards_a_way_is_the_same():
    a, b = codes("dirichlet")[:2]
    space = Space.fit(codes("dirichlet"), simplex=True)
    np.testing.assert_allclose(along_simplex(space, a, b, 9), along_simplex(space, b, a, 9)[::-1], atol=1e-6)
    a, b = codes("gaussian")[:2]
    np.testing.assert_allclose(round_way(a, b, 9), round_way(b, a, 9)[::-1], atol=1e-5)


def test_neighbours_lead_around_where_there_is_nothing():
    angle = np.linspace(0, np.pi, 40)
    arc = np.zeros((40, K), np.float32)
    arc[:, 0], arc[:, 1] = 5 * np.cos(angle), 5 * np.sin(angle)
    graph = Graph(arc, "gaussian", hops=4)
    passed = graph.way(arc[0], arc[-1], without=np.isin(np.arange(40), [0, 39]))
    assert len(passed) > 8
    assert (np.diff(passed) > 0).all()
    way = along(arc[0], arc[-1], arc[passed], 25)
    assert np.linalg.norm(way[:, :2], axis=1).min() > 4  # the straight way goes through 0


def test_a_way_leaves_out_what_it_should():
    lesions = codes("gaussian")
    without = np.arange(60) % 2 == 0
    passed = Graph(lesions, "gaussian").way(lesions[0], lesions[2], without=without)
    assert len(passed)
    assert not without[passed].any()
    with pytest.raises(UserError):
        Graph(lesions, "gaussian").way(lesions[0], lesions[1], without=np.ones(60, bool))


@pytest.mark.parametrize("prior", ["gaussian", "dirichlet"])
def test_a_line_drawn_over_a_lesion_is_that_lesion_there(prior):
    lesions = codes(prior)
    xy = np.random.default_rng(1).uniform(-1, 1, (60, 2))
    latent = GAUSSIAN if prior == "gaussian" else DIRICHLET
    way, places = along_map(xy, lesions, xy[[3, 7]], 15, latent)
    np.testing.assert_allclose(way[[0, -1]], lesions[[3, 7]], atol=0.02)
    np.testing.assert_allclose(places[[0, -1]], xy[[3, 7]], atol=1e-6)
    if prior == "dirichlet":
        np.testing.assert_allclose(way.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("points", [[], [[0, 0]], [[0, 0, 0], [1, 1, 1]], [[0, float("nan")], [1, 1]]])
def test_a_line_that_is_none_is_a_sentence(points):
    with pytest.raises(UserError):
        along_map(np.zeros((5, 2)), codes("gaussian", 5), np.array(points, float), 5, GAUSSIAN)


def test_strips_grids_sheets_and_measured_walks_step_by_equal_factors_where_shares_are_ratios():
    latent = DirichletLatent(K, prior_alpha=0.6, floor=0.01, ratios=3)
    code, spans = np.full(K, 1 / K), np.array([[0.01, 0.3], [0.02, 0.4]])
    _, across, up = grid(latent, code, 0, 2, spans, 5)
    _, rows = sheet(latent, code, [0, 2], spans, 5)
    measured = grids(codes("dirichlet"), latent, 5)[:3]
    for values in (strip(latent, code, 1, spans[0], 5)[0], across, up[::-1], *rows, *measured):
        odds = np.log(values / (1 - values.astype(float)))
        np.testing.assert_allclose(np.diff(odds), (odds[-1] - odds[0]) / 4, rtol=1e-3)
    free = strip(latent, code, 3, spans[0], 5)[0]
    np.testing.assert_allclose(np.diff(free), np.diff(free)[0], rtol=1e-5)


@pytest.mark.parametrize("prior", ["gaussian", "dirichlet"])
def test_a_grid_and_a_sheet_take_their_dimensions_over_their_spans(prior):
    latent = GAUSSIAN if prior == "gaussian" else DIRICHLET
    code = codes(prior)[0]
    spans = np.array([[0.0, 0.4], [0.1, 0.5]])
    square, across, up = grid(latent, code, 1, 4, spans, 5)
    assert square.shape == (5, 5, K)
    np.testing.assert_allclose(square[2, :, 1], across, atol=1e-6)
    np.testing.assert_allclose(square[:, 2, 4], up, atol=1e-6)
    assert up[0] > up[-1]
    walks, values = sheet(latent, code, [2, 5], spans, 7)
    assert walks.shape == (2, 7, K)
    np.testing.assert_allclose(walks[1, :, 5], values[1], atol=1e-6)
    with pytest.raises(UserError):
        grid(latent, code, 1, 1, spans, 5)
