"""`lungvae measure`: measured traversals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.options import RunFolder, open_set
from lungvae_core.cli.progress import progress_bar


@app.command()
def measure(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(help="A data set: outlines are compared with its masks, a judge learns its ratings."),
    ] = None,
    starts: Annotated[int, typer.Option(min=5, help="Lesions to start from, one per patient.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the lesions drawn and the intervals.")] = 0,
    quick: Annotated[bool, typer.Option(help="16 lesions, 5 steps: a first look.")] = False,
    judge: Annotated[bool, typer.Option(help="Let a judge predict the ratings of --data.")] = True,
) -> None:
    """Move every dimension, measure the decoded lesions, and name what each dimension does."""
    from lungvae_core.explore.measured.judge import EPOCHS, QUICK_EPOCHS
    from lungvae_core.explore.measured.traverse import RESAMPLES, STEPS, measure_run
    from lungvae_core.training.checkpoints import Run

    opened = Run.open(run)
    slices = None if data is None else open_set(data)
    command = [f"lungvae measure {run.name}", *([f"--data {data.name}"] if data else [])]
    command += [f"--starts {starts}", f"--seed {seed}", *(["--quick"] if quick else [])]
    command += [] if judge else ["--no-judge"]
    epochs = QUICK_EPOCHS if quick else EPOCHS
    with progress_bar("measuring", opened.config.model.dimensions) as advance:
        measured = measure_run(
            opened,
            slices,
            starts=min(starts, 16) if quick else starts,
            steps=5 if quick else STEPS,
            resamples=200 if quick else RESAMPLES,
            seed=seed,
            judge_epochs=epochs if judge else 0,
            command=" ".join(command),
            on_progress=advance,
        )
    _print_names(measured)
    _print_controls(measured)
    _print_outlines(measured["outlines"])
    _print_judged(measured, opened.config.objective.guided)
    print(f"{run}: measured {measured['dimensions_count']} dimensions in {measured['seconds']:.0f} s.")


def _print_names(measured: dict[str, Any]) -> None:
    """Print the names, strongest first, with the number behind each."""
    from lungvae_core.data.counted import counted_in_words

    print(f"{measured['rule']} Names are for rising values.")
    print(
        f"{measured['starts']['patients']} starting lesions, one a patient, of {measured['starts']['of']}, "
        f"{measured['steps']} steps, "
        f"seed {measured['seed']}; {measured['outlined']:.1%} of the decoded lesions could be outlined."
    )
    print(counted_in_words(measured))
    effect_at = measured["moved"].index("effect")
    named = [each for each in measured["dimensions"] if each["properties"]]
    named.sort(key=lambda each: -abs(each["moved"][each["properties"][0]][effect_at]))
    for each in named:
        key = each["properties"][0]
        change, low, high, effect, spearman, _ = each["moved"][key]
        unit = measured["properties"][key]["unit"]
        print(
            f"z {each['dimension']:<3} {each['name']:<52} {key} {change:+.3g} ({low:+.3g} to {high:+.3g})"
            f"{' ' + unit if unit else ''}, {effect:+.2f} SD, Spearman {spearman:+.2f}, "
            f"selectivity {each['selectivity']:.2f}"
        )
    unnamed: dict[str, list[int]] = {}
    for each in measured["dimensions"]:
        if not each["properties"]:
            unnamed.setdefault(each["name"], []).append(each["dimension"])
    for why, at in unnamed.items():
        print(f"{why}: {len(at)} dimensions ({', '.join(map(str, at[:12]))}{' …' if len(at) > 12 else ''})")


def _print_controls(measured: dict[str, Any]) -> None:
    for key, title in (("shuffled", "steps shuffled"), ("mixed", "each lesion along another dimension")):
        if control := measured["controls"].get(key):
            print(f"Control, {title}: {control['named']} of {control['dimensions']} got a name.")


def _print_outlines(outlines: dict[str, Any] | None) -> None:
    """Print how well the outlines agree with the readers' masks, if the data have any."""
    from lungvae_core.data.counted import counted_in_words

    if not outlines:
        return
    print(f"Readers' masks: {counted_in_words(outlines)}")
    for key, title in (("real", "real slices"), ("reconstructed", "their reconstructions")):
        if key in outlines:
            whole = outlines[key][0]
            print(
                f"Outlines of {whole['n']} {title} against the readers' masks: Dice {whole['dice']:.3f}, "
                f"found over readers' area {whole['area_ratio']:.2f} (median)."
            )


def _print_judged(measured: dict[str, Any], guided: tuple[str, ...]) -> None:
    """Print how good the judge is, and what it predicts as the guided dimensions rise."""
    from typing import get_args

    from lungvae_core.data.counted import counted_in_words
    from lungvae_core.explore.measured import record
    from lungvae_core.vae.config import Rated

    judge = measured["judge"]
    if judge is None or "ratings" not in judge:
        print(f"Nothing was judged. {record.why_not_judged(measured)}")
        return
    print(f"Judge, learned from: {counted_in_words({'counted': judge['fitted']})}")
    for rating in judge["ratings"]["real"]:
        print(f"Judge of {rating}. {record.judge_sentence(measured, rating)}")
        print(f"  {record.judge_sentence(measured, rating, 'reconstructed')}")
    for at, guide in enumerate(guided):
        if guide in get_args(Rated):
            print(f"z {at}, guided by {guide}. {record.judged_sentence(measured, at, guide)}")
