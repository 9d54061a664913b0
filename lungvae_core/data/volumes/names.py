"""Order of file names, and which of them are masks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_MASK = re.compile(r"(^|[_\-. ])(mask|seg|segmentation|label|labels|rtstruct)s?([_\-. ]|$)", re.IGNORECASE)


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name.lower())]


def is_mask_name(name: str) -> bool:
    """Whether a file's name says that it is a mask, as lesion_mask.nii does."""
    return _MASK.search(PurePosixPath(name).name) is not None
