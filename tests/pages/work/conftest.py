"""Filling in the Train page's form."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def fill(app: AppTest, name: str, **settings: float) -> None:
    (field,) = [field for field in app.text_input if field.label == "Name of the run"]
    field.set_value(name)
    chosen = app.selectbox(key="train-preset").value
    for setting, value in settings.items():
        app.number_input(key=f"train-{chosen}-{setting}").set_value(value)
