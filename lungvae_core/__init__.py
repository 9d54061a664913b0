"""Variational autoencoders for lung lesions on CT: data, models, training, evaluation and serving."""

import os

from lungvae_core.cache_places import use_writable_caches

# Sampling from a Dirichlet is not there on Apple's GPUs; PyTorch reads this when it is imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
use_writable_caches()  # before any library looks where its own could be

__version__ = "0.1.0"

NOTICE = "For research and education. Not for clinical use."
ATTRIBUTION = "LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0 (Armato et al. 2011, doi 10.1118/1.3528204)"
