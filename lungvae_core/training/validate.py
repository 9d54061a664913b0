"""Evaluation on held-out slices during a training, and signs of collapse."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from lungvae_core.vae.config import Config
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import decoder_column_norms, normalise
from lungvae_core.vae.objective import FeaturesOf, image_metrics, objective

ACTIVE = 0.01  # a dimension is active when its KL exceeds this many nats on average (arXiv 1509.00519)
DEAD = 1e-3  # a decoder column of a smaller norm changes no image


@torch.no_grad()
def validate(
    vae: VAE,
    hu: Tensor,
    config: Config,
    *,
    masks: Tensor | None = None,
    features: FeaturesOf | None = None,
    batch_size: int = 256,
) -> tuple[dict[str, Any], dict[str, list[float]], Tensor]:
    """Figures of slices hu (N, 64, 64), reconstructed from their codes, N at least 1.

    `masks` (N, 64, 64) bool are the readers', and `features` a network's, where the loss has them.

    Returns mean SSIM, MSE, MAE (0..1 scale), KL in nats, the loss at the full beta, active units, dead
    columns and, for a Dirichlet, alpha0; then the K dimensions' mean KL (nats) and the norms of the decoder's
    columns; then (2, 8, 64, 64): eight slices spread over the set, and their reconstructions.
    """
    vae.eval()
    parts: dict[str, list[Tensor]] = defaultdict(list)
    losses = 0.0
    for start in range(0, len(hu), batch_size):
        x = normalise(hu[start : start + batch_size], vae.config)[:, None]
        posterior = vae.posterior(x)
        y = vae.reconstruct(vae.latent.code(posterior).to(x.device))
        each = {**image_metrics(x, y), "kl": vae.latent.kl(posterior), **vae.latent.diagnostics(posterior)}
        for name, values in {**each, "per unit": vae.latent.kl_per_unit(posterior)}.items():
            parts[name].append(values)
        inside = None if masks is None else masks[start : start + batch_size].float()
        beta = config.objective.beta
        terms = objective(x, y, posterior, vae.latent, config, beta=beta, masks=inside, features=features)
        losses += float(terms.loss) * len(x)
    per_unit = torch.cat(parts.pop("per unit")).mean(0)
    norms = decoder_column_norms(vae.decoder)
    figures: dict[str, Any] = {name: float(torch.cat(values).mean()) for name, values in parts.items()}
    figures["loss"] = losses / len(hu)
    figures["active_units"] = int((per_unit > ACTIVE).sum())
    figures["dead_columns"] = int((norms < DEAD).sum())
    chosen = torch.linspace(0, len(hu) - 1, min(8, len(hu))).long()
    x = normalise(hu[chosen.to(hu.device)], vae.config)[:, None]
    y = vae.reconstruct(vae.latent.code(vae.posterior(x)).to(x.device))
    units = {"kl": _short(per_unit), "column_norm": _short(norms)}
    return figures, units, torch.stack([x[:, 0], y[:, 0]])


def signs_of_collapse(config: Config, held_out: dict[str, Any]) -> list[str]:
    """Both kinds of collapse, in words: dimensions without information, and weights without effect.

    `held_out` has the figures of an epoch's validation.
    """
    signs, dimensions = [], config.model.dimensions
    active, dead = held_out.get("active_units", dimensions), held_out.get("dead_columns", 0)
    advice = "A lower beta, a longer warm-up or free bits prevent it."
    if active == 0:
        signs.append(
            f"The latent space has collapsed: no dimension carries more than {ACTIVE} nats, so every slice "
            f"gets the same code and the same picture. {advice}"
        )
    elif active < dimensions / 2:
        signs.append(
            f"Partial collapse: only {active} of {dimensions} dimensions carry more than {ACTIVE} nats on "
            f"held-out slices; the others hold to the prior and tell slices apart no more. {advice}"
        )
    if dead:
        signs.append(
            f"The decoder does not use {dead} of {dimensions} dimensions (their weights have a norm below "
            f"{DEAD}): moving along them changes no picture. Fewer dimensions, or a lower beta, would do."
        )
    return signs


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
