"""`python -m lungvae_core.cli` is `lungvae`, for use when the script is not on the PATH."""

from lungvae_core.cli import main

main()
