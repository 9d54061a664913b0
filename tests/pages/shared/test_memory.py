"""A session that looks at many lesions keeps no more than it shows."""

from __future__ import annotations

import pytest
from streamlit.runtime.state import SessionState

from tests.pages.conftest import open_page, run


@pytest.mark.parametrize(
    "page", ["predict/predict.py", "traversal/traversal.py", "knowledge/directions.py", "map/latent_map.py"]
)
def test_widgets_of_lesions_looked_at_before_are_forgotten(models, page):
    app = open_page(page, model="tiny-gvae", row="0")

    def remembered() -> int:
        state = app.session_state
        while not isinstance(state, SessionState):  # the tester's view of it, and a lock
            state = state._state
        return len(state._new_widget_state.widget_metadata)

    counts = []
    for row in range(5, 60, 5):
        app.query_params["row"] = str(row)
        run(app)
        counts.append(remembered())
    assert max(counts[5:]) <= max(counts[1:4])
