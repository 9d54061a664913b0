"""Where app.py, the pages and the shipped models lie: beside the package in a checkout, in it when installed.

`setup.py` copies them into a wheel, so that the app starts from an installation as from a checkout.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "_app"

ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent
FRONT_DOOR = ROOT / "app.py"
SHIPPED_MODELS = ROOT / "models"
