"""What a session no longer shows is forgotten: a server runs for months.

Streamlit 1.67 keeps what it knows of every widget that a session ever had, its options included, though it
drops their values; boxes whose options follow the lesion are new ones for each lesion.
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
    """Drop what is known of widgets that have no value any more; call it when a script begins."""
    context = get_script_run_ctx()
    if context is None:
        return
    # Its own business, with no public way in: where a version has it elsewhere, nothing is forgotten.
    with contextlib.suppress(AttributeError):
        state: Any = context.session_state
        while isinstance(state, SafeSessionState):  # one lock around it, in tests two
            state = state._state
        known = state._new_widget_state.widget_metadata
        in_use = {*state._new_widget_state.states, *state._old_state}
        for widget in [each for each in known if each not in in_use]:
            del known[widget]


@contextlib.asynccontextmanager
async def closing_sessions(_app: object) -> AsyncIterator[None]:
    """While the server runs: close sessions whose tab did not come back in time.

    Streamlit 1.67 drops such a session when another ends, or never, and each holds three descriptors.
    """
    closing = asyncio.create_task(_close_sessions())
    try:
        yield
    finally:
        closing.cancel()


async def _close_sessions(every: float = 15) -> None:
    while True:
        await asyncio.sleep(every)
        # Its own business again; a session in there has neither tab nor script.
        with contextlib.suppress(AttributeError):
            storage: Any = get_instance()._session_mgr
            for _, ended in storage._session_storage._cache.expire():
                ended.session.shutdown()
