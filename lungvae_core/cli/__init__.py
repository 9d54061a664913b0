"""`lungvae`: every page's work without a browser."""

from __future__ import annotations

import os
import sys

import typer

from lungvae_core.errors import UserError

app = typer.Typer(
    name="lungvae",
    help="Variational autoencoders for lung lesions on CT. For research and education, not for clinical use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; a UserError becomes a sentence on standard error and exit code 2."""
    # Apple's GPUs lack some operations; PyTorch then takes the CPU for these if told so before its import.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    try:
        app()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


# Each module adds its commands to `app`, in the order of `--help`; none imports anything heavy by itself.
from lungvae_core.cli import lidc, data, phantom, models, search  # noqa: E402, F401, I001
from lungvae_core.cli import evaluate, validate, clusters, disentanglement, measure, directions  # noqa: E402, F401
from lungvae_core.cli import web, audit, backup, export, jobs  # noqa: E402, F401
