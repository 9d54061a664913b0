"""Free what a session no longer shows, because a server runs for months.

Streamlit 1.67 drops the values of old widgets but keeps the metadata and options of every widget that a
session ever had; boxes whose options depend on the lesion are new widgets for each lesion.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from streamlit.runtime import get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state import SafeSessionState


def forget_stale_widgets() -> None:
    """Drop the metadata of widgets that no longer have a value; call this when a script starts."""
    context = get_script_run_ctx()
    if context is None:
        return
    # Private to Streamlit, with no public API: if a version keeps it elsewhere, nothing is freed.
    with contextlib.suppress(AttributeError):
        state: Any = context.session_state
        while isinstance(state, SafeSessionState):  # wrapped in one lock, in tests in two
            state = state._state
        metadata = state._new_widget_state.widget_metadata
        in_use = {*state._new_widget_state.states, *state._old_state}
        for widget in [each for each in metadata if each not in in_use]:
            del metadata[widget]


@contextlib.asynccontextmanager
async def closing_sessions(_app: object) -> AsyncIterator[None]:
    """While the server runs, close sessions whose tab did not reconnect in time.

    Streamlit 1.67 drops such a session only when another ends, or never; each holds three descriptors.
    """
    closing = asyncio.create_task(_close_sessions())
    try:
        yield
    finally:
        closing.cancel()


async def _close_sessions(every: float = 15) -> None:
    while True:
        await asyncio.sleep(every)
        # Private to Streamlit again; a session in there has neither a tab nor a script.
        with contextlib.suppress(AttributeError):
            storage: Any = get_instance()._session_mgr
            for _, ended in storage._session_storage._cache.expire():
                ended.session.shutdown()
