"""Walks as picture files: a PNG strip, a GIF, an MP4 and sheets of tiles, with the notice burned in.

Everything drawn here comes from a decoder, so every tile says "generated" and none has a scale bar. Values
and scores are written next to the images, since a picture is used without its page.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lungvae_core import ATTRIBUTION, NOTICE
from lungvae_core.errors import UserError
from lungvae_core.number_text import latent_value
from lungvae_core.palette import LESS, MORE, diverging, grey
from lungvae_core.serving.lesions.images import file_of

GENERATED = "Generated, not for clinical use. For research and education."
_NIGHT, _DIM, _LIGHT = (17, 17, 17), (160, 160, 160), (235, 235, 235)
_GAP = 4  # pixels between two tiles of a strip
_MARGIN = 12


@dataclass(frozen=True)
class Walk:
    """One dimension of one model decoded through its range."""

    title: str  # the model's
    start: str  # in words
    dimension: int
    values: np.ndarray  # (T,)
    images: np.ndarray  # (T, 64, 64) in 0..1 of the window
    at_start: np.ndarray  # (64, 64), the decoded start
    window: tuple[float, float]  # (low, high) HU
    scores: np.ndarray | None = None  # (T,) model scores, or None without a classifier
    difference_full: float = 0.25  # share of the window at which a difference has full colour
    way: str = ""  # the path in words, if it is not one dimension
    ticks: tuple[str, ...] = ()  # one word per step instead of the value

    @property
    def along(self) -> str:
        """The dimension or path of the walk, in words."""
        return self.way or f"dimension {self.dimension}"

    @property
    def heading(self) -> str:
        """A heading in one line."""
        return f"{self.title} · {self.along} · from {self.start}"

    def tick(self, step: int) -> str:
        """The text below a step."""
        return self.ticks[step] if self.ticks else latent_value(float(self.values[step]))

    @property
    def window_text(self) -> str:
        """Width and level in HU."""
        low, high = self.window
        return f"W {high - low:.0f} L {(low + high) / 2:.0f} HU"


def strip_png(walk: Walk, *, side: int = 128) -> bytes:
    """A PNG: one column per step with the image, its difference to the start, the value and the score.

    Columns are equally wide and fill the picture, so that a chart of the same width fits below it.
    """
    steps, pitch = len(walk.values), side + _GAP
    top, line = 34, 22
    captions = 2 if walk.scores is not None else 1
    below = top + 2 * pitch
    size = (steps * pitch, below + captions * line + 34)
    picture = Image.new("RGB", size, _NIGHT)
    draw = ImageDraw.Draw(picture)
    _write(draw, (_GAP, 8), walk.heading, 17, _LIGHT)
    _write(draw, (size[0] - _GAP, 8), walk.window_text, 17, _DIM, anchor="ra")
    differences = diverging(walk.images - walk.at_start, walk.difference_full)
    mark = _mark()
    for step in range(steps):
        left = step * pitch + _GAP // 2
        centre = left + side / 2
        for row, pixels in enumerate((grey(walk.images[step]), differences[step])):
            picture.paste(_enlarged(pixels, side), (left, top + row * pitch))
            picture.paste(mark, (left + 4, top + row * pitch + 3), mark)
        _write(draw, (centre, below + 2), walk.tick(step), 17, _LIGHT, anchor="ma")
        if walk.scores is not None:
            text = f"score {walk.scores[step]:.2f}"
            _write(draw, (centre, below + line + 2), text, 15, _DIM, anchor="ma")
    full = walk.difference_full * (walk.window[1] - walk.window[0])
    foot = size[1] - 26
    _write(draw, (_GAP, foot), GENERATED, 16, _LIGHT)
    legend = f"second row: difference to the start, blue -{full:.0f} to orange +{full:.0f} HU"
    _write(draw, (size[0] - _GAP, foot), legend, 15, _DIM, anchor="ra")
    return _png(picture, walk.heading)


def gif(walk: Walk, *, side: int = 320, milliseconds: int = 90) -> bytes:
    """A greyscale GIF that runs through the steps and back, in an endless loop."""
    first, *others = (_gif_frame(walk, step, side) for step in _there_and_back(walk))
    comment = f"{walk.heading}. {GENERATED} {ATTRIBUTION}".encode("ascii", "replace")
    options = {"save_all": True, "duration": milliseconds, "loop": 0, "comment": comment}
    return file_of(first, "GIF", append_images=others, **options)


def mp4(walk: Walk, *, side: int = 384, frames_a_second: int = 12) -> bytes:
    """An MP4 (H.264) that runs through the steps and back twice. UserError if no encoder is installed."""
    try:
        import av
    except ImportError as error:
        raise UserError("An MP4 needs PyAV: install it with pip install av, or take the GIF.") from error
    order = _there_and_back(walk) * 2
    stream = io.BytesIO()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(stream, "w", format="mp4") as container:
        container.metadata.update({"title": walk.heading, "comment": GENERATED, "copyright": ATTRIBUTION})
        first = _gif_frame(walk, 0, side)
        # Both sides must be even: the encoder halves the colour resolution.
        size = (first.size[0] + first.size[0] % 2, first.size[1] + first.size[1] % 2)
        video: Any = container.add_stream(codec, rate=frames_a_second)
        video.width, video.height, video.pix_fmt = size[0], size[1], "yuv420p"
        if codec == "libx264":
            video.options = {"crf": "18", "preset": "veryfast"}
        for step in order:
            picture = Image.new("RGB", size, _NIGHT)
            picture.paste(_gif_frame(walk, step, side).convert("RGB"))
            for packet in video.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in video.encode():
            container.mux(packet)
    return stream.getvalue()


@dataclass(frozen=True)
class Sheet:
    """Decoded tiles in lines: a grid of two dimensions, or one line per dimension."""

    heading: str
    images: np.ndarray  # (L, C, 64, 64) in 0..1
    lines: tuple[str, ...]  # L labels beside the lines
    columns: tuple[str, ...] = ()  # C labels below the columns
    scores: np.ndarray | None = None  # (L, C), a bar below each tile
    outlined: tuple[int, int] | None = None  # the tile of the start


def sheet_png(sheet: Sheet, *, side: int = 96, margin: int = 250) -> bytes:
    """A PNG of the tiles with their labels; the notice below marks each as generated."""
    lines, columns = sheet.images.shape[:2]
    pitch = side + _GAP
    top, foot = 34, 56
    size = (margin + columns * pitch, top + lines * pitch + foot)
    picture = Image.new("RGB", size, _NIGHT)
    draw = ImageDraw.Draw(picture)
    _write(draw, (_GAP, 8), sheet.heading, 16, _LIGHT)
    for line in range(lines):
        y = top + line * pitch
        for number, part in enumerate(textwrap.wrap(sheet.lines[line], 34)[:3]):
            _write(draw, (_MARGIN, y + 8 + 19 * number), part, 14, _LIGHT if number == 0 else _DIM)
        for column in range(columns):
            x = margin + column * pitch
            picture.paste(_enlarged(grey(sheet.images[line, column]), side), (x, y))
            if sheet.scores is not None:
                share = float(sheet.scores[line, column])
                draw.rectangle((x, y + side - 4, x + side, y + side), fill=(60, 60, 60))
                draw.rectangle((x, y + side - 4, x + share * side, y + side), fill=MORE)
            if sheet.outlined == (line, column):
                draw.rectangle((x, y, x + side - 1, y + side - 1), outline=LESS, width=2)
    for column, label in enumerate(sheet.columns):
        at = (margin + column * pitch + side / 2, top + lines * pitch)
        _write(draw, at, label, 13, _DIM, anchor="ma")
    _write(draw, (_GAP, size[1] - 26), GENERATED, 15, _LIGHT)
    if sheet.scores is not None:
        legend = "orange bar: model score, not a probability of cancer"
        _write(draw, (size[0] - _GAP, size[1] - 26), legend, 14, _DIM, anchor="ra")
    return _png(picture, sheet.heading)


def _there_and_back(walk: Walk) -> list[int]:
    steps = range(len(walk.values))
    return [*steps, *steps[-2:0:-1]]


def _gif_frame(walk: Walk, step: int, side: int) -> Image.Image:
    width, top = side + 2 * _MARGIN, 44
    picture = Image.new("L", (width, top + side + 86), 17)
    draw = ImageDraw.Draw(picture)
    _write(draw, (_MARGIN, 6), f"{walk.title} · {walk.along}", 14, 235)
    _write(draw, (_MARGIN, 24), f"from {walk.start}", 12, 160)
    picture.paste(_enlarged(grey(walk.images[step]), side), (_MARGIN, top))
    _write(draw, (_MARGIN + 5, top + 4), "generated", 13, 235, outlined=True)
    _write(draw, (_MARGIN + 5, top + side - 20), walk.window_text, 12, 235, outlined=True)
    rail, right = top + side + 14, _MARGIN + side
    draw.line((_MARGIN, rail, right, rail), fill=90, width=3)
    at = _MARGIN + side * step / max(len(walk.values) - 1, 1)
    draw.ellipse((at - 6, rail - 6, at + 6, rail + 6), fill=235)
    _write(draw, (_MARGIN, rail + 12), f"{'' if walk.ticks else 'value '}{walk.tick(step)}", 14, 235)
    if walk.scores is not None:
        _write(draw, (right, rail + 12), f"model score {walk.scores[step]:.2f}", 14, 235, anchor="ra")
    _write(draw, (_MARGIN, rail + 34), "Generated, not for clinical use.", 13, 235)
    _write(draw, (_MARGIN, rail + 51), NOTICE, 11, 200)
    return picture


def _enlarged(pixels: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


# Pillow's function decodes and opens the font again on each call.
_font = cache(ImageFont.load_default)


@cache
def _mark() -> Image.Image:
    """The word shown in every tile, drawn once because its outline is slow to draw."""
    picture = Image.new("RGBA", (80, 20))
    _write(ImageDraw.Draw(picture), (0, 0), "generated", 13, (*_DIM, 255), outlined=True)
    return picture


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: int | tuple[int, ...],
    *,
    anchor: str = "la",
    outlined: bool = False,
) -> None:
    dark = 0 if isinstance(colour, int) else (0, 0, 0, *colour[3:])
    stroke: dict[str, Any] = {"stroke_width": int(outlined), "stroke_fill": dark}
    draw.text(at, text, font=_font(size), fill=colour, anchor=anchor, **stroke)


def _png(picture: Image.Image, heading: str) -> bytes:
    info = PngInfo()
    for name, text in (("Description", heading), ("Disclaimer", GENERATED), ("Source", ATTRIBUTION)):
        info.add_text(name, text)
    # The lowest compression takes a third of the usual time, for about a fifth more bytes.
    return file_of(picture, "PNG", pnginfo=info, compress_level=1)
