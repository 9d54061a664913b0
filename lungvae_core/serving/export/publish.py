"""Publish a run: only what serving needs, no patients' pixels, and a model card."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from lungvae_core import NOTICE
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import classify
from lungvae_core.evaluation.report import ByUnit, Report, load_run_report
from lungvae_core.evaluation.report_words import figure, label_rule
from lungvae_core.files import atomic_folder, write_json, write_text
from lungvae_core.parameters import LONGEST_NAME, text
from lungvae_core.training.adversary import INVENTED
from lungvae_core.training.checkpoints import SERVED, Run, Start
from lungvae_core.training.classifier import load_classifier
from lungvae_core.training.encode import encode
from lungvae_core.vae.config import Config
from lungvae_core.vae.latents import make_latent

MOST_BYTES = 30_000_000


def publish(run: Run, data: SliceSet, out: Path, *, title: str = "", overwrite: bool = False) -> int:
    """Copy `run` to `out` with half-precision weights and codes and a card; return its size in bytes.

    Codes, classifier and figures are recomputed from the published weights on `data`, the data set that the
    run was trained on. The maps are copied from the run. Checkpoints, logs and samples.png, which shows
    patients' pixels, are left out. Raises UserError if the run is not finished, the data set is a different
    one, or the model would be larger than 30 MB.
    """
    title = text("The title", title or run.info.title, LONGEST_NAME)
    missing = [name for name in SERVED if not run.has(name)]
    if missing:
        raise UserError(
            f"{run.folder} lacks {', '.join(missing)}. Finish it with `lungvae encode`, `classify` and `map`."
        )
    if not run.metrics():
        raise UserError(f"{run.folder} has no epoch's figures in metrics.jsonl. Train the model anew.")
    if data.info.content_hash != run.info.data.content_hash:
        raise UserError(f"{run.folder} was trained on {run.info.data.name}, but {data.folder} is other data.")
    with atomic_folder(out, overwrite=overwrite) as temporary:
        for name in ("metrics.jsonl", "map-slice.parquet", "map-nodule.parquet"):
            shutil.copyfile(run.folder / name, temporary / name)
        info = run.info.model_copy(update={"data_folder": "", "title": title})
        write_json(temporary / "config.json", info.model_dump())
        shipped = Run(temporary, info)
        shipped.publish_model(run.load_model())
        encode(shipped, data, half=True)
        classifier = load_classifier(run)
        # With the settings of the run's classifier; the report names no folder of this machine.
        classify(
            shipped,
            None if classifier is None else classifier.config,
            command=f"lungvae classify {shlex.quote(out.name)}",
        )
        write_text(temporary / "README.md", card(shipped))
        size = sum(path.stat().st_size for path in temporary.iterdir())
        if size > MOST_BYTES:
            raise UserError(
                f"The model would be {size / 1e6:.1f} MB; a model that ships is at most "
                f"{MOST_BYTES // 1_000_000} MB."
            )
    return size


def card(run: Run) -> str:
    """The model card (Mitchell et al., arXiv 1810.03993) as Markdown, from the run's files."""
    info, config = run.info, run.info.config
    model, training = config.model, config.training
    report, epochs = load_run_report(run), run.metrics()
    held_out = epochs[-1]["validation"]
    invented = f"\n- {INVENTED}" if config.objective.adversarial else ""
    blocks = [
        f"# {info.title}",
        f"**{NOTICE}** It has not been validated on patients of any other source.",
        f"A variational autoencoder of 64x64 CT slices of lung lesions: {model.dimensions} latent "
        f"dimensions, {model.prior} posterior, {make_latent(model).prior_label} prior, preset "
        f"`{config.preset}`, window {model.hu_low:g} to {model.hu_high:g} HU.",
        "## Data",
        f"{info.data.name}: {info.data.count:,} slices ({info.data.source}). {info.data.attribution}",
        f"{training.validation_fraction:.0%} of the patients were held out of the training "
        f"(seed {training.seed}). No pixel of a patient is in this folder: weights, codes, ratings and "
        "figures only.",
        "## Training",
        f"{_start(info.start)}{_epochs(config)}, batches of {training.batch_size}, learning rate "
        f"{training.learning_rate:g} ({training.schedule}), beta {config.objective.beta:g}, on "
        f"{info.device}, {epochs[-1]['seconds'] / 60:.0f} minutes, torch {info.versions.get('torch', '?')}. "
        "All settings are in config.json.",
        "## Figures",
        "Reconstruction of the held-out patients' slices from their codes, in 0..1 of the window:",
        "| SSIM | MSE | MAE | KL (nats) | active units |\n|---|---|---|---|---|\n"
        f"| {held_out['ssim']:.3f} | {held_out['mse']:.5f} | {held_out['mae']:.4f} | {held_out['kl']:.1f} | "
        f"{held_out['active_units']} of {model.dimensions} |",
        *(_aucs(report) if report else []),
        "## Limits",
        "- Labels are radiologists' impressions of malignancy, not pathology.\n"
        "- The size of the lesion alone separates these labels about as well or better; compare the rows.\n"
        "- A score is not a probability of cancer. Traversals and reconstructions are generated images.\n"
        f"- Slices {_spacing(model.spacing_mm)}.{invented}",
    ]
    return "\n\n".join(blocks) + "\n"


def _start(start: Start | None) -> str:
    return "" if start is None else f"{start.epochs} epochs before ({start.minutes:.0f} minutes), then "


def _epochs(config: Config) -> str:
    joint, epochs = config.joint, f"{config.training.epochs} epochs"
    if guided := config.objective.guided:
        epochs += f" with the first dimensions guided by the training patients' {', '.join(guided)}"
    if not joint.rounds:
        return epochs
    whose = "the training patients" if joint.labels_of == "training" else "70 % of all patients"
    return f"{epochs} and {joint.rounds} joint round(s) of {joint.round_epochs} with labels of {whose}"


def _spacing(spacing_mm: float) -> str:
    if spacing_mm:
        return f"are resampled to {spacing_mm:g} mm a pixel; where the crop ends, its border is mirrored"
    return "keep their native pixel spacing, so that size in pixels differs from size in millimetres"


def _aucs(report: Report) -> tuple[str, str]:
    """(how they were computed, a table)."""
    nodule = report.units.nodule
    assert nodule is not None  # as of every run's own report
    transductive = "transductive (the VAE saw pixels, not labels, of its training patients). "
    how = (
        f"AUC, malignant against benign, with the 95 % interval of a bootstrap over patients. Protocol "
        f"`{report.protocol}`: {report.protocol_in_words}; "
        f"{transductive if report.transductive and not report.leaks else ''}"
        f"Labels: {label_rule(report)}. {nodule.patients} patients, {nodule.count} nodules; seed "
        f"{report.seeds[0]}."
    )
    lines = ["| | slice | nodule |", "|---|---|---|"]
    for part, unseen in report.parts:
        who = "all patients" if not unseen else "held-out patients"
        if part is report.heldout and part.units.nodule is not None:
            who = f"{part.units.nodule.patients} patients that the VAE never saw"
        sizes = {f"{name} alone": both for name, both in (part.baselines or {}).items()}
        rows: dict[str, ByUnit] = {"classifier on codes": part.units, **sizes}
        lines += [
            f"| {what}, {who} | {figure(both.auc('slice'))} | {figure(both.auc('nodule'))} |"
            for what, both in rows.items()
        ]
    return how, "\n".join(lines)
