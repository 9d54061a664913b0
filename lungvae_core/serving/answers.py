"""What the routes of models share: the model asked for, errors as sentences, results kept for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lungvae_core.errors import UserError
from lungvae_core.serving.registry import LoadedModel, Registry

BASE = "/api/models/{name}"
# Answers can hold a hospital's own images: nobody on the way is to keep them.
HEADERS = {"Cache-Control": "no-store"}

Result = TypeVar("Result")


def kept(function: Callable[..., Result]) -> Callable[..., Result]:
    """Keep the function's results for as long as the model, its first argument, is in memory."""
    results: WeakKeyDictionary[LoadedModel, dict[tuple, Result]] = WeakKeyDictionary()

    @wraps(function)
    def wrapper(model: LoadedModel, *arguments: Any) -> Result:
        of_model = results.setdefault(model, {})
        if arguments not in of_model:
            of_model[arguments] = function(model, *arguments)
        return of_model[arguments]

    return wrapper


def model_named(registry: Registry, name: str) -> LoadedModel:
    """The model of that name; unlike `Registry.load` none by its path, which an address must not open."""
    if not any(entry.name == name for entry in registry.entries()):
        raise UserError(f"There is no model {name[:64]!r}.")
    return registry.load(name)


def answering(
    registry: Callable[[], Registry], make: Callable[[LoadedModel, Request], Response]
) -> Callable[[Request], Response]:
    """An endpoint for `make` on the model of the path; a UserError becomes a 404 with its words."""

    # A plain function, not a coroutine: Starlette runs it in a thread, beside the event loop.
    def endpoint(request: Request) -> Response:
        try:
            return make(model_named(registry(), request.path_params["name"]), request)
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=404, headers=HEADERS)

    return endpoint
