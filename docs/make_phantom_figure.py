"""Make the figures of docs/phantom.md, and compare phantoms with real slices.

    python docs/make_phantom_figure.py                      # generated images only
    python docs/make_phantom_figure.py --real data/lidc     # also the statistics beside real slices
    python docs/make_phantom_figure.py --real data/lidc --beside /tmp/beside.png   # also the pixels

`--real` is a SliceSet of real slices, or a folder with slices.npy, masks.npy (bits) and slices.csv; by
default what the environment variable LUNGVAE_LIDC names. The statistics hold no pixels and may be shared. The
picture of `--beside` shows real patients' pixels, so it is not written into the repository.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import ndimage

from lungvae_core.data.labels import reader_mean
from lungvae_core.data.phantom import FACTORS, Factors, make_phantom, render
from lungvae_core.data.slices import SliceSet

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
REAL, MADE = "#0072B2", "#D55E00"  # Okabe-Ito
BANDS = [(0, 6, "under 6"), (6, 8, "6 to 8"), (8, 15, "8 to 15"), (15, 99, "15 and over")]
LAGS = range(7)
EDGE = np.arange(-6, 8)
BINS = np.arange(-1040, 641, 20)

SWEEPS = {
    "diameter_mm": (4, 24),
    "density_hu": (-650, 80),
    "margin_mm": (0, 2.5),
    "lobulation": (0, 1),
    "spiculation": (0, 1),
    "elongation": (1, 2.2),
    "angle_deg": (0, 157.5),
    "calcification": (0, 1),
    "pleura_mm": (0, 14),
}


def lung_window(hu: np.ndarray) -> np.ndarray:
    """HU at the lung window, width 1500 and level -600, as 0..1."""
    return np.clip((np.asarray(hu, dtype=np.float32) + 1350) / 1500, 0, 1)


def mosaic(slices: list[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """Slices (64, 64) HU in rows of `columns`, at the lung window, 0..1."""
    rows = -(-len(slices) // columns)
    step = 64 + gap
    image = np.ones((rows * step - gap, columns * step - gap), np.float32)
    for i, hu in enumerate(slices):
        row, column = divmod(i, columns)
        image[row * step : row * step + 64, column * step : column * step + 64] = lung_window(hu)
    return image


def spread(table: pd.DataFrame, count: int, seed: int = 0) -> np.ndarray:
    """Rows of `count` slices of different nodules, small to large: each nodule's largest slice."""
    largest = table.sort_values("area_px").groupby(["patient_id", "nodule"]).tail(1)
    chosen = largest.sample(count, random_state=seed).sort_values("area_px")
    return chosen.index.to_numpy()


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    print(path)


def draw_factors() -> None:
    """One factor a row, moved from low to high; all else, noise included, stays."""
    figure, axes = plt.subplots(len(SWEEPS), 1, figsize=(8.2, 9.6))
    for axis, (name, (low, high)) in zip(axes, SWEEPS.items(), strict=True):
        base = Factors(elongation=1.8 if name == "angle_deg" else 1.2)
        values = np.linspace(low, high, 8)
        slices = [render(base.replace(**{name: float(value)}), seed=12)[0] for value in values]
        axis.imshow(mosaic(slices, 8), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        unit = FACTORS[name].unit
        label = f"{name}\n{low:g} to {high:g}{' ' + unit if unit and unit not in name else ''}"
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        axis.set(xticks=[], yticks=[])
    figure.suptitle("Generated slices, one factor moved a row (W 1500, L -600)", fontsize=9, y=0.91)
    figure.subplots_adjust(hspace=0.04)
    save(figure, IMAGES / "phantom-factors.png")


def draw_slices(made: SliceSet) -> None:
    """A page of the default set, small to large."""
    rows = spread(made.table, 60)
    figure, axis = plt.subplots(figsize=(9, 4.6))
    axis.imshow(mosaic([made.slices[i] for i in rows], 12), cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()
    axis.set_title("Generated slices, small to large (W 1500, L -600)", fontsize=9)
    save(figure, IMAGES / "phantom-slices.png")


def draw_beside(made: SliceSet, slices: np.ndarray, table: pd.DataFrame, path: Path) -> None:
    """Real slices left, generated ones right, of like sizes."""
    if path.resolve().is_relative_to(ROOT):
        raise SystemExit(f"{path} lies in the repository, where real patients' pixels must not be put.")
    figure, axes = plt.subplots(1, 2, figsize=(12, 8.5))
    for axis, name, pixels, rows in (
        (axes[0], "Real (LIDC-IDRI)", slices, spread(table, 48)),
        (axes[1], "Generated", made.slices, spread(made.table, 48)),
    ):
        axis.imshow(mosaic([pixels[i] for i in rows], 6), cmap="gray", vmin=0, vmax=1)
        axis.set_axis_off()
        axis.set_title(name)
    save(figure, path)


def measure(hu: np.ndarray, mask: np.ndarray, spacing_mm: float) -> dict[str, float]:
    """Numbers that describe one slice (64, 64): its lung, its wall, its noise, its nodule and their edge."""
    hu, mask = hu.astype(np.float32), mask.astype(bool)
    figures: dict[str, float] = {}
    # Whatever is brighter than -400 HU over 11 pixels or more, nodule aside, is wall, heart or diaphragm.
    disk = np.hypot(*np.mgrid[-5:6, -5:6]) <= 5.3
    bright = np.pad((hu > -400) & ~mask, 8, mode="edge")
    wall = ndimage.binary_opening(bright, disk)[8:-8, 8:-8]
    near = ndimage.binary_dilation(mask, iterations=3) | ndimage.binary_dilation(wall, iterations=4)
    away = ndimage.distance_transform_edt(~mask)
    figures["wall"] = float(wall.sum() > 20)
    figures["gap"] = away[wall].min() * spacing_mm if wall.sum() > 20 else np.nan
    inner = ndimage.binary_erosion(wall, iterations=2, border_value=1)
    if inner.sum() > 100:
        figures["wall_hu"] = float(np.median(hu[inner]))
        figures["bone"] = float((hu[inner] > 200).mean())
    lung = (hu < -500) & ~near
    if lung.sum() > 200:
        figures["lung_hu"] = float(np.median(hu[lung]))
        figures["vessels"] = float((hu > -600)[~near].mean())
        quiet = ndimage.binary_erosion((hu < -650) & ~near)
        if quiet.sum() > 150:
            high = (hu - ndimage.median_filter(hu, 5))[quiet]
            figures["noise"] = float(1.4826 * np.median(np.abs(high - np.median(high))))
            rest = np.clip(hu - np.median(hu[quiet]), -150, 150) * quiet
            whole = (rest**2).sum() / quiet.sum()
            for lag in LAGS:
                for way, a, b in (
                    ("x", (slice(None), slice(0, 64 - lag)), (slice(None), slice(lag, 64))),
                    ("y", (slice(0, 64 - lag), slice(None)), (slice(lag, 64), slice(None))),
                ):
                    pairs = (quiet[a] & quiet[b]).sum()
                    figures[f"corr_{way}{lag}"] = float((rest[a] * rest[b]).sum() / pairs / whole)
    core = ndimage.binary_erosion(mask, iterations=2)
    core = core if core.sum() > 4 else mask
    figures["core_hu"] = float(np.median(hu[core]))
    # Pixels by their distance from the outline, those at another border aside.
    signed = np.where(mask, 0.5 - ndimage.distance_transform_edt(mask), away - 0.5)
    free = mask | ~ndimage.binary_dilation(wall, iterations=3)
    for step in EDGE:
        at = (np.abs(signed - (step - 0.5)) <= 0.5) & free
        figures[f"edge{step}"] = float(hu[at].mean()) if at.sum() > 3 else np.nan
    return figures


def measure_all(slices: np.ndarray, masks: np.ndarray, table: pd.DataFrame, count: int) -> pd.DataFrame:
    """`measure` of `count` slices drawn at random, beside the table's columns."""
    rows = np.random.default_rng(0).choice(len(table), min(count, len(table)), replace=False)
    spacing = table["pixel_spacing_mm"].to_numpy()
    numbers = pd.DataFrame([measure(slices[i], masks[i], spacing[i]) for i in rows])
    return pd.concat([table.iloc[rows].reset_index(drop=True), numbers], axis=1)


def histogram(slices: np.ndarray, masks: np.ndarray, inside: bool) -> np.ndarray:
    """Share of pixels in each of BINS, inside or outside the masks."""
    counts, _ = np.histogram(slices[(masks > 0) == inside], BINS)
    return counts / counts.sum()


def draw_statistics(
    made: SliceSet, slices: np.ndarray, masks: np.ndarray, table: pd.DataFrame, count: int
) -> None:
    """Phantom against real: HU, noise, edges, the wall. Curves of many patients, no pixels."""
    real = measure_all(slices, masks, table, count)
    fake = measure_all(made.slices, made.masks, made.table, count)
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6))
    middle = (BINS[1:] + BINS[:-1]) / 2
    for axis, inside, title in ((axes[0, 0], True, "HU inside the mask"), (axes[0, 1], False, "HU outside")):
        for pixels, outlines, colour, name in (
            (slices, masks, REAL, "real"),
            (made.slices, made.masks, MADE, "phantom"),
        ):
            some = np.random.default_rng(1).choice(len(pixels), min(3000, len(pixels)), replace=False)
            some.sort()
            share = histogram(pixels[some], outlines[some], inside)
            axis.plot(middle, share, color=colour, label=name)
        axis.set(title=title, xlabel="HU", ylabel="share of pixels per 20 HU")
    axes[0, 1].set_yscale("log")
    axes[0, 0].legend()

    axis = axes[0, 2]
    for numbers, colour in ((real, REAL), (fake, MADE)):
        solid = numbers[reader_mean(numbers, "texture") > 4.5]
        for low, high, style in ((9, 60, "--"), (60, 5000, "-")):
            part = solid[(solid["area_px"] >= low) & (solid["area_px"] < high)]
            profile = [part[f"edge{step}"].median() for step in EDGE]
            enough = [part[f"edge{step}"].notna().mean() > 0.3 for step in EDGE]
            axis.plot(EDGE[enough] - 0.5, np.array(profile)[enough], style, color=colour)
    axis.axvline(0, color="0.7", linewidth=0.8)
    axis.set(title="Edge of solid nodules (dashed: under 60 pixels)")
    axis.set(xlabel="pixels outside the outline", ylabel="median HU")

    axis = axes[1, 0]
    grid = np.linspace(0, 120, 61)
    for numbers, colour in ((real, REAL), (fake, MADE)):
        noise = numbers.groupby("patient_id")["noise"].median().dropna()
        axis.plot(grid, [(noise <= value).mean() for value in grid], color=colour)
    axis.set(title="Noise in the lung", xlabel="standard deviation, HU", ylabel="share of patients below")

    axis = axes[1, 1]
    for numbers, colour in ((real, REAL), (fake, MADE)):
        for way, style in (("x", "-"), ("y", "--")):
            axis.plot(LAGS, [numbers[f"corr_{way}{lag}"].median() for lag in LAGS], style, color=colour)
    axis.set(title="Autocorrelation in the lung (dashed: down)", xlabel="pixels apart", ylabel="median")

    axis = axes[1, 2]
    for shift, numbers, colour in ((-0.2, real, REAL), (0.2, fake, MADE)):
        for i, (low, high, _) in enumerate(BANDS):
            part = numbers[(numbers["diameter_mm"] >= low) & (numbers["diameter_mm"] < high)]
            # A nodule is at the wall when at most a millimetre of lung lies between them.
            axis.bar(i + shift, part["wall"].mean(), 0.36, color=colour, alpha=0.45)
            axis.bar(i + shift, (part["gap"] < 1).mean(), 0.36, color=colour)
    axis.set_xticks(range(len(BANDS)), [name for _, _, name in BANDS], fontsize=8)
    axis.set(title="Wall in the crop (full colour: at the nodule)", xlabel="diameter, mm", ylabel="share")
    figure.tight_layout()
    save(figure, IMAGES / "phantom-beside-real.png")
    print(comparison(real, fake))


def comparison(real: pd.DataFrame, fake: pd.DataFrame) -> str:
    """A Markdown table of medians with the 5th and 95th percentile."""
    names = {
        "lung_hu": "lung, HU",
        "noise": "noise in the lung, HU",
        "corr_x1": "autocorrelation 1 pixel along a row",
        "corr_y1": "autocorrelation 1 pixel down a column",
        "corr_x2": "autocorrelation 2 pixels along a row",
        "vessels": "share of lung above -600 HU",
        "wall_hu": "chest wall, HU",
        "bone": "share of the wall above 200 HU",
        "gap": "from mask to wall, mm",
    }
    lines = ["| | real | phantom |", "|---|---|---|"]

    def cell(values: pd.Series) -> str:
        low, mid, high = values.quantile([0.05, 0.5, 0.95])
        digits = 0 if abs(mid) >= 20 else 1 if abs(mid) >= 2 else 3
        return f"{mid:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    for name, title in names.items():
        lines.append(f"| {title} | {cell(real[name])} | {cell(fake[name])} |")
    for low, high in ((1, 2), (2.5, 3.5), (4.5, 5)):
        parts = []
        for numbers in (real, fake):
            texture = reader_mean(numbers, "texture")
            plain = reader_mean(numbers, "calcification") > 5.5
            chosen = (texture >= low) & (texture <= high) & plain & (numbers["area_px"] >= 30)
            parts.append(cell(numbers.loc[chosen, "core_hu"]))
        lines.append(f"| core of nodules with texture {low:g} to {high:g}, HU | {' | '.join(parts)} |")
    return "\n".join(lines)


def open_real(folder: Path) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Slices, masks and table of real data."""
    if (folder / "dataset.json").exists():
        real = SliceSet.open(folder, verify=False)
        if real.info.generated:
            raise SystemExit(f"{folder} is generated, not real.")
        return real.slices, real.masks, real.table
    bits = np.load(folder / "masks.npy")
    masks = np.unpackbits(bits, axis=1).reshape(-1, 64, 64)
    return np.load(folder / "slices.npy", mmap_mode="r"), masks, pd.read_csv(folder / "slices.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", type=Path, default=os.environ.get("LUNGVAE_LIDC"))
    parser.add_argument("--beside", type=Path, help="picture of real and generated slices, outside the repo")
    parser.add_argument("--count", type=int, default=3500, help="slices that are measured")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw_factors()
    with tempfile.TemporaryDirectory() as folder:
        made = make_phantom(Path(folder) / "phantom", seed=options.seed, count=max(options.count, 1000))
        draw_slices(made)
        if options.real is None:
            print("No real slices: name their folder with --real for the comparison.")
            return
        slices, masks, table = open_real(Path(options.real))
        draw_statistics(made, slices, masks, table, options.count)
        if options.beside is not None:
            draw_beside(made, slices, table, options.beside)


if __name__ == "__main__":
    main()
