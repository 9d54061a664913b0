"""The load benchmark fails when a page fails."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import pytest

from tests.conftest import ROOT

pytest.importorskip("websockets")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("load", ROOT / "benchmarks" / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "load", module)
    spec.loader.exec_module(module)
    return module


class Server:
    """Streamlit's socket as a page is read from it: an error shown on the page, then the script's end."""

    def __init__(self, load: ModuleType, *, error: str | None) -> None:
        end = load.ForwardMsg(script_finished=load.ForwardMsg.FINISHED_SUCCESSFULLY)
        shown = load.ForwardMsg()
        shown.delta.new_element.exception.message = error or ""
        self.messages = [shown, end] if error else [end]

    async def send(self, message: bytes) -> None:
        assert message

    async def recv(self) -> bytes:
        return self.messages.pop(0).SerializeToString()


@pytest.mark.long
@pytest.mark.parametrize(("error", "code"), [(None, 0), ("This app has encountered an error.", 1)])
def test_a_page_that_shows_an_error_fails_the_benchmark(
    load: ModuleType, monkeypatch: pytest.MonkeyPatch, error: str | None, code: int
) -> None:
    async def session(person: object, _until: float) -> None:
        await person._page(Server(load, error=error), "map", "model=gvae")  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    monkeypatch.setattr(
        load, "app", lambda **_: contextlib.nullcontext(("http://here", SimpleNamespace(pid=1)))
    )
    monkeypatch.setattr(load, "resident_mb", lambda _: 1.0)
    monkeypatch.setattr(load.Person, "_session", session)
    monkeypatch.setattr(sys, "argv", ["load.py", "--people", "2", "--minutes", "0.01"])
    # In a thread of its own: browser tests before it leave an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(load.main).result() == code
