"""Groups of lesions."""

from __future__ import annotations

from pages import common

common.introduce("Clusters", shows="Groups of lesions.", does_not_mean="-")
