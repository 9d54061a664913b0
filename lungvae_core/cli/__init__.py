"""`lungvae`: every page's work without a browser."""

from __future__ import annotations

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


def _register() -> None:
    """Import the command modules; each adds its commands to `app`."""
    import contextlib
    import importlib

    for name in ("lidc", "data", "phantom", "models", "web", "jobs"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"lungvae_core.cli.{name}")


def main() -> None:
    """Run the command line; a UserError becomes a sentence on standard error and exit code 2."""
    _register()
    try:
        app()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
