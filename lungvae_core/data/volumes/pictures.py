"""png, jpg, tiff and bmp: grey levels that need a stated range, or a TIFF's signed or floating numbers.

Every page of a file is a slice. As an image, colours, transparency and a turn that only viewers apply are
refused; as a mask, a pixel is lesion where it is not black, or not label 0 of a palette.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lungvae_core.data.volumes.volume import Volume, check_shape
from lungvae_core.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")
_ALPHA = {"LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "PA": "P"}
_PHOTOMETRIC, _ORIENTATION = 262, 274  # TIFF 6.0


def read_picture(content: bytes, where: str, *, labels: bool = False) -> Volume:
    """An image's pages; `labels` reads a mask rather than grey levels.

    Raises UserError for a damaged file, pages of several sizes, and colours where grey is needed.
    """
    from PIL import Image, ImageSequence

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            pages = int(getattr(picture, "n_frames", 1))
            check_shape((pages, picture.height, picture.width), 4, where)
            if labels and picture.format == "JPEG":
                raise UserError(f"{where} is a JPEG, whose borders are not exact. Save the mask as png.")
            read = _labels if labels else _levels
            slices, whites = zip(
                *(read(page, where) for page in ImageSequence.Iterator(picture)), strict=True
            )
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        raise UserError(
            f"{where} cannot be read as an image: it is damaged or of another kind. Save it again."
        ) from error
    if len({levels.shape for levels in slices}) > 1 or len(set(whites)) > 1:
        raise UserError(f"{where} has pages of several sizes or kinds. Save the one that is meant.")
    return Volume(np.stack(slices), white=whites[0])


def _levels(page: Any, where: str) -> tuple[np.ndarray, float | None]:
    """(rows, columns) grey levels and that of white, or plain numbers and None."""
    turned = page.getexif().get(_ORIENTATION, 1) if page.format != "BMP" else 1
    if turned not in (0, 1):
        raise UserError(f"{where} is stored turned (EXIF orientation {turned}). Save it as it is to be seen.")
    page = _opaque(page, where)
    if page.mode == "1":
        raise UserError(f"{where} holds black and white alone: it is a mask, not an image. Give grey levels.")
    if page.mode == "P":
        page = page.convert("RGB")
    if page.mode == "RGB":
        colours = np.asarray(page)
        if (colours != colours[..., :1]).any():
            raise UserError(
                f"{where} is in colour, which has no HU. Give the grey picture, or the DICOM file."
            )
        return colours[..., 0].copy(), 255.0
    if page.mode == "L":
        return np.array(page), 255.0
    tags = getattr(page, "tag_v2", {})
    if page.mode in _DEEP:
        if tags.get(_PHOTOMETRIC) == 0:
            raise UserError(f"{where} stores white as 0. Save it with black as 0.")
        return np.array(page), 65535.0
    if page.mode == "I":  # 32 bits, or 16 with a sign, which Pillow widens
        return np.array(page), 65535.0 if page.format == "PNG" else None
    if page.mode == "F":
        return np.array(page), None
    raise UserError(
        f"{where} is a picture of the kind {page.mode}, which has no grey levels. Save it as grey."
    )


def _labels(page: Any, where: str) -> tuple[np.ndarray, None]:
    """(rows, columns) numbers of a mask, 0 where there is no lesion."""
    if page.mode == "P":
        numbers = np.array(page)
        coloured = np.asarray(page.convert("RGB")).any(-1)
        if ((numbers != 0) != coloured).any():
            raise UserError(
                f"{where} has a palette in which label 0 is not black, or another label is. Save the mask in "
                "grey, 0 where there is no lesion."
            )
        return numbers, None
    page = _opaque(page, where)
    numbers = np.array(page)
    if numbers.ndim == 3:
        numbers = numbers.max(-1)
    return (numbers.astype(np.uint8) if numbers.dtype == bool else numbers), None


def _opaque(page: Any, where: str) -> Any:
    """The picture without its alpha channel, which must hide nothing."""
    hidden = "transparency" in page.info and page.mode in ("L", "RGB", "1")
    if page.mode in _ALPHA:
        hidden = hidden or page.getchannel("A" if page.mode[-1] == "A" else "a").getextrema()[0] < 255
    if hidden:
        raise UserError(f"{where} is transparent in part. Save it without transparency.")
    return page.convert(_ALPHA[page.mode]) if page.mode in _ALPHA else page
