"""The Predict page, opened, and uploads to it."""

from __future__ import annotations

import io

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import open_page, run


def opened(**query: str) -> AppTest:
    return open_page("predict/predict.py", **query)


def uploaded(name: str, content: bytes) -> AppTest:
    app = opened(source="upload")
    app.file_uploader[0].set_value((name, content, "application/octet-stream"))
    return run(app)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def place(app: AppTest, at: int, row: float, column: float) -> None:
    """What a click in the viewer comes to."""
    state = app.session_state["upload_place"]
    state.at, state.position = at, (row, column)
    run(app)
