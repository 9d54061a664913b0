"""Shared by the routes of models: finding the model, errors as sentences, cached results."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, TypeVar, cast

import pandas as pd
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lungvae_core.caches import CachePerOwner
from lungvae_core.errors import UserError
from lungvae_core.lazy import frozen
from lungvae_core.parameters import ParameterError, Query, integer
from lungvae_core.serving.models.registry import LoadedModel, Registry

BASE = "/api/models/{name}"
# Responses can contain a hospital's own images: no proxy or browser may store them.
HEADERS = {"Cache-Control": "no-store"}

MOST_ROWS = 10**9  # no table is longer
MOST_BYTES = 256 * 2**20  # of results of one model: tables, places, colours, outlines

Result = TypeVar("Result")
Item = TypeVar("Item")
_results: CachePerOwner[Any] = CachePerOwner(MOST_BYTES)


def kept(function: Callable[..., Result]) -> Callable[..., Result]:
    """Cache the function's results for as long as the model, its first argument, is in memory.

    All functions together keep `MOST_BYTES` per model. The other arguments are parsed values from an address
    (one of a few choices, a number within a range), not text as it was sent.
    """

    @wraps(function)
    def wrapper(model: LoadedModel, *arguments: Any) -> Result:
        value = _results.of(model).get((function, *arguments), lambda: frozen(function(model, *arguments)))
        # A new frame for the caller, which shares its columns until one is changed.
        return cast(Result, value.copy(deep=False)) if isinstance(value, pd.DataFrame) else value

    return wrapper


def respond(
    content: bytes, kind: str = "application/octet-stream", *, generated: bool | None = None
) -> Response:
    """Content as an answer, which is never stored; with `generated`, X-Generated says if a model made it."""
    headers = HEADERS if generated is None else HEADERS | {"X-Generated": str(int(generated))}
    return Response(content, media_type=kind, headers=headers)


def refusal(error: UserError) -> Response:
    """An error as an answer: 400 if the address cannot be parsed, 404 if nothing is found there."""
    status = 400 if isinstance(error, ParameterError) else 404
    return JSONResponse({"error": str(error)}, status_code=status, headers=HEADERS)


def answering(
    registry: Callable[[], Registry], make: Callable[..., Response], **path: tuple[int, int]
) -> Callable[[Request], Response]:
    """An endpoint for `make(model, query, **path)` on the model of the path.

    `path` are whole numbers in the path, by name with their least and greatest values. An invalid parameter
    gets 400 and a missing item 404, both with a sentence.
    """

    # A plain function, not a coroutine: Starlette runs it in a thread, beside the event loop.
    def endpoint(request: Request) -> Response:
        try:
            numbers = {name: integer(name, request.path_params[name], *ends) for name, ends in path.items()}
            model = registry().load(request.path_params["name"])
            return make(model, Query(request.query_params.multi_items()), **numbers)
        except UserError as error:
            return refusal(error)

    return endpoint


class Offers(Generic[Item]):
    """Items that browsers may fetch once they are in view, each under a key."""

    def __init__(self, most_bytes: int) -> None:
        self._items: CachePerOwner[Item] = CachePerOwner(most_bytes)  # of one model

    def put(self, model: LoadedModel, key: str, item: Item) -> None:
        """Keep an item of a model under a key, until newer ones need the space."""
        self._items.of(model).put(key, item)

    def route(
        self, registry: Callable[[], Registry], path: str, make: Callable[[LoadedModel, Item], Response]
    ) -> Route:
        """The route `path` below BASE, with {key} in it; it answers with what `make` makes of the item."""

        def endpoint(request: Request) -> Response:
            try:
                model = registry().load(request.path_params["name"])
                item = self._items.of(model).peek(request.path_params["key"])
                if item is None:
                    raise UserError("This picture is kept no longer. Reload the page.")
                return make(model, item)
            except UserError as error:
                return refusal(error)

        return Route(f"{BASE}/{path}", endpoint)
