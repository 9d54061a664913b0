"""Ways through the latent space."""

from __future__ import annotations

from pages import common

common.introduce("Directions", shows="Ways through the latent space.", does_not_mean="-")
