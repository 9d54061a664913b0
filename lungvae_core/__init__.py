"""Variational autoencoders for lung lesions on CT: data, models, training, evaluation and serving."""

__version__ = "0.1.0"

NOTICE = "For research and education. Not for clinical use."
ATTRIBUTION = "LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0 (Armato et al. 2011, doi 10.1118/1.3528204)"
