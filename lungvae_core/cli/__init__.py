"""`lungvae`: everything the pages do, without a browser."""

from __future__ import annotations

import os

import typer

from lungvae_core.cli.outermost import run
from lungvae_core.errors import UserError

app = typer.Typer(
    name="lungvae",
    help="Variational autoencoders for lung lesions on CT. For research and education, not for clinical use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; every error becomes a sentence on standard error (see `outermost`)."""
    # Apple's GPUs lack some operations; PyTorch runs these on the CPU if this is set before its import.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    run(_start)


def _start() -> None:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError as error:
        raise UserError("The folder that this was started in is gone. Change to one that exists.") from error
    app()


# Each module adds its commands to `app`, in the order of `--help`; none imports anything heavy on load.
from lungvae_core.cli import lidc, data, train, models, search  # noqa: E402, F401, I001
from lungvae_core.cli import evaluate, validate, leaks, clusters, disentanglement, measure, directions  # noqa: E402, F401
from lungvae_core.cli import web, workspace, jobs  # noqa: E402, F401
