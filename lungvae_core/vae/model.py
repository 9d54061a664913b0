"""A VAE assembled: networks, latent family and the HU window it was made for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions.distribution import Distribution

from lungvae_core.vae.config import ModelConfig
from lungvae_core.vae.latents import make_latent
from lungvae_core.vae.networks import make_networks, normalise
from lungvae_core.vae.sync import Share


class VAE(nn.Module):
    """Encoder, latent family and decoder for slices (N, 1, 64, 64) in 0..1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.latent = make_latent(config)
        self.encoder, self.decoder = make_networks(config, self.latent)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) for images x (N, 1, 64, 64) in 0..1; always float32, whatever the autocast."""
        raw = self.encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.latent.posterior(raw)

    def reconstruct(self, z: Tensor) -> Tensor:
        """Images (N, 1, 64, 64) in 0..1, float32, from latents z (N, K)."""
        return self.draw(z)[:, :1]

    def draw(self, z: Tensor) -> Tensor:
        """(N, C, 64, 64) in 0..1, float32, of latents z (N, K): images, and the layers of `vae.lesion`."""
        return self.decoder(self.latent.to_decoder(z)).float()

    def forward(self, x: Tensor, share: Share | None = None) -> tuple[Tensor, Distribution]:
        """(`draw` of one posterior sample, posterior) of images x (N, 1, 64, 64) in 0..1.

        `share` says which rows of the global batch x is, where several processes train together.
        """
        posterior = self.posterior(x)
        return self.draw(self.latent.sample(posterior, share).to(x.device)), posterior

    @torch.inference_mode()
    def encode_hu(self, hu: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
        """Codes (N, K) float32, the posterior means, of slices (N, 64, 64) in HU.

        The slices are already at the model's `spacing_mm`; `lungvae_core.data.resample` brings them there.
        """
        device = next(self.parameters()).device
        parts = [
            self.latent.code(self.posterior(self.images(hu[start : start + batch_size], device)))
            for start in range(0, len(hu), batch_size)
        ]
        return torch.cat(parts).cpu().numpy() if parts else np.zeros((0, self.config.dimensions), np.float32)

    @torch.inference_mode()
    def decode_codes(self, codes: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
        """Images (N, 64, 64) float32 in 0..1 from codes (N, K)."""
        device = next(self.parameters()).device
        parts = [
            self.reconstruct(torch.tensor(codes[start : start + batch_size], dtype=torch.float32).to(device))
            for start in range(0, len(codes), batch_size)
        ]
        return torch.cat(parts)[:, 0].cpu().numpy() if parts else np.zeros((0, 64, 64), np.float32)

    def decode_hu(self, codes: np.ndarray) -> np.ndarray:
        """Slices (N, 64, 64) float32 in HU of the model's window from codes (N, K)."""
        low, high = self.config.hu_low, self.config.hu_high
        return low + (high - low) * self.decode_codes(codes)

    def images(self, hu: np.ndarray, device: torch.device | None = None) -> Tensor:
        """Slices (N, 64, 64) in HU as images (N, 1, 64, 64) in 0..1 of the model's window.

        The slices are already at the model's `spacing_mm`.
        """
        return normalise(torch.tensor(np.asarray(hu), device=device), self.config)[:, None]
