"""FactorVAE and BetaVAE scores on phantoms, whose factors can be varied or held fixed.

FactorVAE: Kim & Mnih, arXiv 1802.05983, section 4. BetaVAE: Higgins et al., ICLR 2017 (openreview Sy2fzU9gl).
Both ask whether codes reveal which of the nine factors a group of generated slices shares while all other
factors are drawn at random. A group also shares its surroundings and noise, which are not factors: if these
varied too, the lung around the nodule would drown the factor. 1 is best; guessing gives about 1/9. Neither
score says anything about real lesions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lungvae_core.data.phantom import render
from lungvae_core.data.phantom.factors import INDEPENDENT, draw_independent
from lungvae_core.data.phantom.generate import INDEPENDENT_SPACING_MM
from lungvae_core.data.resample import at_spacing
from lungvae_core.statistics.intervals import percentile_interval
from lungvae_core.vae.model import VAE

NAMES = list(INDEPENDENT)  # nine factors
UNUSED = 0.05  # dimensions with less than this share of the largest variation are unused and left out


@dataclass(frozen=True)
class Sizes:
    """How much to render, at about 5 ms of one core per slice."""

    free: int  # slices with every factor drawn, each with its own surroundings
    learn: int  # groups to learn from, for each factor
    test: int  # groups to test on, for each factor
    group: int  # slices in a group

    @property
    def slices(self) -> int:
        return self.free + (self.learn + self.test) * len(NAMES) * self.group


FULL = Sizes(free=1200, learn=45, test=25, group=12)
QUICK = Sizes(free=150, learn=8, test=5, group=6)


@dataclass(frozen=True)
class Rendered:
    """Slices for the scores: free ones, and G groups that share one factor's value and the surroundings."""

    sizes: Sizes
    free: np.ndarray  # (free, 64, 64) int16 HU
    table: pd.DataFrame  # of the free slices: SliceSet's key, spacing and factor columns
    held: np.ndarray  # (G, group, 64, 64) int16 HU
    factor: np.ndarray  # (G,) int: number of the factor that a group shares
    test: np.ndarray  # (G,) bool: used for testing, not for learning


@lru_cache(maxsize=1)
def rendered(sizes: Sizes, seed: int) -> Rendered:
    """Render the slices for the scores, once per process for all models; the seed determines every slice."""
    generator = np.random.default_rng([seed, 0xD15E])
    free, rows = [], []
    for number in range(sizes.free):
        factors = draw_independent(generator)
        free.append(render(factors, seed=int(generator.integers(2**31)))[0])
        rows.append({"patient_id": f"PHANTOM-{number:05d}", "nodule": 0, "slice": 0, **factors.columns()})
    groups = NAMES * (sizes.learn + sizes.test)
    held = np.empty((len(groups), sizes.group, 64, 64), np.int16)
    for place, name in enumerate(groups):
        value, scene_seed = float(generator.uniform(*INDEPENDENT[name])), int(generator.integers(2**31))
        for one in range(sizes.group):
            factors = draw_independent(generator).replace(**{name: value})
            held[place, one] = render(factors, seed=scene_seed)[0]
    return Rendered(
        sizes,
        np.stack(free),
        pd.DataFrame(rows).assign(pixel_spacing_mm=INDEPENDENT_SPACING_MM),
        held,
        np.array([NAMES.index(name) for name in groups]),
        np.arange(len(groups)) >= sizes.learn * len(NAMES),
    )


def encoded(vae: VAE, hu: np.ndarray) -> np.ndarray:
    """Codes (..., K) of rendered slices hu (..., 64, 64), at the spacing that the model sees."""
    flat = hu.reshape(-1, 64, 64)
    table = pd.DataFrame({"pixel_spacing_mm": np.full(len(flat), INDEPENDENT_SPACING_MM)})
    codes = vae.encode_hu(np.asarray(at_spacing(flat, table, vae.config.spacing_mm)))
    return codes.reshape(*hu.shape[:-2], -1)


def factor_vae(held: np.ndarray, factor: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true) factor numbers of the test groups, from codes held (G, n, K) of groups.

    The dimension that varies least in a group, relative to its variation over all groups, votes for the
    factor that it most often marked in the learning groups.
    """
    variance = held.var(axis=1, ddof=1)  # (G, K)
    typical = variance[~test].mean(axis=0)
    used = typical > UNUSED**2 * typical.max()
    vote = (variance[:, used] / typical[used]).argmin(axis=1)
    counts = np.zeros((int(used.sum()), len(NAMES)), int)
    np.add.at(counts, (vote[~test], factor[~test]), 1)
    return counts.argmax(1)[vote[test]], factor[test]


def beta_vae(
    held: np.ndarray, factor: np.ndarray, test: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true) factor numbers of the test groups, from codes held (G, n, K) of groups.

    A linear classifier gets the mean absolute difference in each dimension over a group's pairs. The paper
    draws a factor value for each pair; here the pairs of a group share it.
    """
    even = held.shape[1] // 2 * 2
    difference = np.abs(held[:, 0:even:2] - held[:, 1:even:2]).mean(axis=1)  # (G, K)
    scaler = StandardScaler().fit(difference[~test])
    linear = LogisticRegression(C=0.1, max_iter=300, random_state=seed)
    linear.fit(scaler.transform(difference[~test]), factor[~test])
    return linear.predict(scaler.transform(difference[test])), factor[test]


def phantom_scores(held: np.ndarray, slices: Rendered, *, seed: int, draws: int) -> dict[str, Any]:
    """{factor_vae, beta_vae: {value, low, high, null, by_factor}} from codes held (G, n, K).

    The interval comes from resampling the test groups, the null from `draws` shuffles of the factor numbers.
    """

    def predictions(factor: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {
            "factor_vae": factor_vae(held, factor, slices.test),
            "beta_vae": beta_vae(held, factor, slices.test, seed=seed),
        }

    generator = np.random.default_rng([seed, 1])
    null = [predictions(generator.permutation(slices.factor)) for _ in range(draws)]
    accuracies = {}
    for name, (predicted, true) in predictions(slices.factor).items():
        right = predicted == true
        drawn = right[generator.integers(len(right), size=(500, len(right)))].mean(1)
        accuracies[name] = {
            **percentile_interval(right.mean(), drawn),
            "null": [float(np.equal(*draw[name]).mean()) for draw in null],
            "by_factor": {each: float(right[true == number].mean()) for number, each in enumerate(NAMES)},
        }
    return accuracies
