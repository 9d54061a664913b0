"""Draw what the models reconstruct and what their guided sliders do.

    python docs/make_pictures.py gvae-guided dirvae-guided                  # docs/images/strips-MODEL.png
    python docs/make_pictures.py gvae-guided gvae --data data/lidc --slices S.png  # real slices above

Film strips start at a lesion of a held-out patient that the model reconstructs as well as most, and show no
patient's pixels. A picture of `--slices` does: do not publish it without the data's permission.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lungvae_core.data.slices import KEY, SliceSet
from lungvae_core.explore.traversal import strip
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.walks.render import Sheet, sheet_png
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.encode import trained_rows

GUIDES = ("diameter", "density", "edge", "spiculation")
STEPS, SLICES = 9, 12


def strips(model: LoadedModel) -> bytes:
    """A PNG of the sliders of GUIDES through their range, decoded."""
    names, start = model.run.config.objective.guided, model.codes[model.usual_row]
    images, lines = [], []
    for name in GUIDES:
        dimension = names.index(name)
        values, codes = strip(model.latent, start, dimension, model.ranges[dimension], STEPS)
        images.append(model.decode(codes))
        lines.append(f"{name} {values[0]:.3g} to {values[-1]:.3g}")
    heading = f"{model.entry.title}: guided sliders, one lesion of a held-out patient"
    return sheet_png(Sheet(heading, np.stack(images), tuple(lines)), margin=240)


def slices(models: list[LoadedModel], data: SliceSet, seed: int) -> bytes:
    """A PNG of real slices of held-out patients above what each model reconstructs of them."""
    table = models[0].table
    assert table[KEY].astype(str).equals(data.table[KEY].astype(str)), "the models have encoded other data"
    rows = models[0].nodules[0]["row"].to_numpy()
    rows = rows[~trained_rows(table)[rows]]
    rows = np.sort(np.random.default_rng(seed).choice(rows, SLICES, replace=False))
    low, high = models[0].window
    real = (np.asarray(data.slices[rows]).astype(np.float32) - low) / (high - low)
    images = [real.clip(0, 1), *(model.decode(model.codes[rows]) for model in models)]
    lines = ("real slice", *(model.entry.title for model in models))
    heading = f"Slices of {SLICES} held-out patients' nodules, and what the models reconstruct of them"
    return sheet_png(Sheet(heading, np.stack(images), lines), margin=240)


def main() -> None:
    """Draw for the models named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="names in the picker; those of film strips are guided")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--slices", type=Path, help="draw real slices and reconstructions into this file")
    parser.add_argument("--data", type=Path, help="the data set of --slices")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of slices")
    options = parser.parse_args()
    registry = Registry(Settings())
    models = [registry.load(name) for name in options.models]
    if options.slices:
        options.slices.write_bytes(slices(models, SliceSet.open(options.data), options.seed))
        return
    for model in models:
        (options.out / f"strips-{model.entry.name}.png").write_bytes(strips(model))


if __name__ == "__main__":
    main()
