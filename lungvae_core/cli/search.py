"""`lungvae search`: hyperparameters of a VAE, or of the MLP on a run's codes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungvae_core.cli import app
from lungvae_core.cli.models import print_aucs
from lungvae_core.cli.options import Device, Ray, Threads, json_or_text, option, settings_of, split_pairs
from lungvae_core.cli.progress import status_bar, stop_on_signals
from lungvae_core.errors import UserError
from lungvae_core.number_text import duration
from lungvae_core.training.search.options import SearchOptions

if TYPE_CHECKING:
    from lungvae_core.training.search.book import Book
    from lungvae_core.training.search.run import Event, Progress
    from lungvae_core.training.search.setup import SearchConfig

SHOWN = 5  # number of best trials printed at the end


@app.command()
def search(
    out: Annotated[Path, typer.Option(help="Folder of the search.")],
    data: Annotated[Path | None, typer.Option(help="A data set's folder, for the VAEs' spaces.")] = None,
    run: Annotated[Path | None, typer.Option(help="A finished run's folder, for the MLPs' spaces.")] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="What is searched: gvae, dirvae, paper-gvae, paper-dirvae, mlp or paper-mlp. Default: "
            "dirvae, with --run mlp."
        ),
    ] = None,
    method: Annotated[str | None, option(SearchOptions, "method", says_default=True)] = None,
    halving: Annotated[bool | None, option(SearchOptions, "halving", names="--halving/--no-halving")] = None,
    min_epochs: Annotated[int | None, option(SearchOptions, "min_epochs", says_default=True)] = None,
    trials: Annotated[int | None, option(SearchOptions, "trials", says_default=True)] = None,
    objective: Annotated[
        str | None,
        option(SearchOptions, "objective", "Default: ssim for gvae and dirvae, auc for the others."),
    ] = None,
    folds: Annotated[int | None, option(SearchOptions, "folds", "Default: 1, for MLPs 5.")] = None,
    test_fraction: Annotated[float | None, option(SearchOptions, "test_fraction", says_default=True)] = None,
    seed: Annotated[int | None, option(SearchOptions, "seed", says_default=True)] = None,
    range_: Annotated[
        list[str] | None, typer.Option("--range", help="Bounds of a setting, as beta=0.01..1; repeatable.")
    ] = None,
    choices: Annotated[
        list[str] | None, typer.Option(help="Values of a setting, as prior_alpha=0.1,0.3; repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Fix a setting, as epochs=4; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue the search in --out with its settings.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at once. Default: as many as fit the cores.")
    ] = None,
    ray: Ray = None,
    threads: Threads = 1,
    device: Device = "auto",
    keep_runs: Annotated[bool, typer.Option(help="Keep the weights of losing trials, too.")] = False,
    final: Annotated[
        bool, typer.Option(help="At the end evaluate the best trial on the patients set aside, once.")
    ] = False,
) -> None:
    """Search hyperparameters on processes or a Ray cluster; Ctrl-C stops cleanly, and --resume continues.

    Some patients are set aside from all trials, the others are split by patient, and trials are chosen by
    their validation patients alone. The trials are in trials.csv in --out, and on the Search page.
    """
    if data is not None and run is not None:
        raise UserError("Give --data for a VAE's space or --run for an MLP's, not both.")
    options = {
        "space": space,
        "method": method,
        "halving": halving,
        "min_epochs": min_epochs,
        "trials": trials,
        "objective": objective,
        "folds": folds,
        "test_fraction": test_fraction,
        "seed": seed,
    }
    stated = {name: value for name, value in options.items() if value is not None}
    source = data if run is None else run
    changes = _SpaceChanges(dict(map(_range, range_ or [])), _choices(choices), settings_of(set_))
    if resume:
        config = _resumed(out, stated, source, changes)
    else:
        config = _new(stated, source, run is not None, changes)
    if ray is None:
        _check_machine(workers, threads, device)
    machines = {"ray": ray, "device": device, "threads": threads}
    _run(config, out, machines, final, resume=resume, workers=workers, keep_runs=keep_runs)


@dataclass(frozen=True)
class _SpaceChanges:
    """The changes to a space by --range, --choices and --set."""

    ranges: dict[str, tuple[float, float]]
    choices: dict[str, tuple[Any, ...]]
    fixed: dict[str, object]

    def differ_from(self, config: SearchConfig) -> bool:
        """Whether they differ from those that the search started with."""
        from lungvae_core.training.search.spaces import between, one_of

        for name, ends in self.ranges.items():
            parameter = config.parameters.get(name)
            if parameter is None or parameter != between(*ends, whole=parameter.whole):
                return True
        if any(config.parameters.get(name) != one_of(*values) for name, values in self.choices.items()):
            return True
        return any(config.fixed.get(name) != value for name, value in self.fixed.items())


def _check_machine(workers: int | None, threads: int, device: str) -> None:
    """Warn if there are more threads than cores; UserError for a device that this machine lacks."""
    from lungvae_core.training.device import pick_device
    from lungvae_core.workers import cores

    if workers is not None and workers * threads > cores():
        print(
            f"Note: {workers} workers of {threads} thread(s) are more than this machine's {cores()} cores; "
            "they will slow each other down.",
            file=sys.stderr,
        )
    if device != "auto":
        pick_device(device)


def _new(stated: dict[str, Any], source: Path | None, of_run: bool, changes: _SpaceChanges) -> SearchConfig:
    """Build a new search's settings from the options given."""
    from lungvae_core.training.search import spaces
    from lungvae_core.training.search.setup import make

    base = spaces.space(stated.pop("space", "mlp" if of_run else "dirvae"))
    if source is None or of_run != base.of_codes:
        needed = "--run, a finished run's folder" if base.of_codes else "--data, a data set's folder"
        raise UserError(f"The space {base.name} needs {needed}.")
    return make(base, source, ranges=changes.ranges, choices=changes.choices, fixed=changes.fixed, **stated)


def _resumed(out: Path, stated: dict[str, Any], source: Path | None, changes: _SpaceChanges) -> SearchConfig:
    """Read the settings of the search in `out`; options given again must be equal, except for the trials."""
    from lungvae_core.training.search.setup import open_search

    if not (out / "search.json").exists():
        raise UserError(f"{out} holds no search to resume. Leave out --resume to start one there.")
    config = open_search(out)
    trials = stated.pop("trials", config.trials)
    changed = next((name for name, value in stated.items() if getattr(config, name) != value), None)
    if changed or changes.differ_from(config):
        name = changed.replace("_", "-") if changed else "range, --choices or --set"
        raise UserError(
            f"A resumed search keeps its settings: leave out --{name}. Only --trials may be raised."
        )
    if source is not None:
        config = config.model_copy(update={"data": str(source.resolve())})
    return config.model_copy(update={"trials": trials})


def _run(config: SearchConfig, out: Path, machines: dict[str, Any], final: bool, **options: Any) -> None:
    """Run the search with the keyword arguments `machines` and `options`, and print its outcome."""
    from lungvae_core.training.search.run import search as run_search
    from lungvae_core.training.search.setup import OBJECTIVES, counted

    for notice in config.notices():
        print(f"Note: {notice}", file=sys.stderr)
    again = f"lungvae search --out {shlex.quote(str(out))} --resume"
    again += f" --ray {machines['ray']}" if machines["ray"] else ""
    with stop_on_signals(what="every training's current batch") as stop:
        with status_bar("{task.fields[count]} trials") as (update, print_line):
            book, finished = run_search(
                config,
                out,
                **machines,
                **options,
                on_event=lambda event: print_line(_line(config, event)),
                on_progress=lambda progress: update(**_status(config, progress)),
                should_stop=stop.is_set,
            )
        if not finished:
            print(f"Stopped. Go on with: {again}")
            raise typer.Exit(130)
        print(
            f"\n{len(book.trials)} trials by {config.method}{' with halving' if config.halving else ''}; "
            f"{config.objective}: {OBJECTIVES[config.objective][1]}."
        )
        print(counted(config).in_words())
        _print_best(config, book, out)
        if final:
            _judge_best(out, book, machines, stop.is_set, again)


def _status(config: SearchConfig, progress: Progress) -> dict[str, Any]:
    """Return what the progress bar shows."""
    left = "" if progress.seconds_left is None else f"  about {duration(progress.seconds_left)} left"
    best = "-" if progress.best_value is None else f"{progress.best_value:.4f}"
    at_work = f"{progress.running} running of {progress.slots} at once"
    return {
        "total": max(1, progress.epochs_expected),
        "completed": progress.epochs_done,
        "count": f"{progress.done}/{progress.trials}",
        "description": f"{at_work}  best {config.objective} {best}{left}",
    }


def _line(config: SearchConfig, event: Event) -> str:
    trial = event.trial
    line = f"trial {trial.number:>4}  {event.what:<9}"
    if event.what == "restarted":
        return f"{line}  its worker died; it goes on from its checkpoint on another"
    if event.what == "failed":
        return f"{line}  {trial.error}"
    value = "-" if trial.value is None else f"{trial.value:.5f}"
    return f"{line}  {config.objective} {value}  after {trial.epochs} epochs, {duration(trial.seconds)}"


def _print_best(config: SearchConfig, book: Book, out: Path) -> None:
    """Print the best trials, and the command that trains the winner."""
    from lungvae_core.training.search.setup import winner

    print("Best on validation patients (the best of many is optimistic):")
    for trial in book.best()[:SHOWN]:
        drawn = "  ".join(f"{name}={_short(value)}" for name, value in sorted(trial.drawn.items()))
        folds = trial.rungs[-1]
        spread = f" ({min(folds):.4f} to {max(folds):.4f})" if len(folds) > 1 else ""
        more = f"  threshold {trial.extra['threshold']:g}" if "threshold" in trial.extra else ""
        print(f"  trial {trial.number:>4}  {trial.value:.5f}{spread}{more}  {drawn}")
    print(f"All trials: {out / 'trials.csv'}. The best one with all data:")
    print(f"  {shlex.join(winner(config, book.settings(book.best()[0]), out.name))}")


def _judge_best(out: Path, book: Book, machines: dict[str, Any], should_stop: Any, again: str) -> None:
    """Train the best trial without the patients set aside, and print how it does on them."""
    from lungvae_core.data.counted import counted_in_words
    from lungvae_core.evaluation.searched import final

    report = final(out, book, **machines, should_stop=should_stop)
    if report is None:
        print(f"Stopped. Go on with: {again} --final")
        raise typer.Exit(130)
    print(
        f"\nTrial {report['trial']} on the {report['patients']} patients set aside "
        f"({report['slices']:,} slices), once:"
    )
    print(f"  {counted_in_words(report)}")
    if figures := report.get("reconstruction"):
        print(
            f"  reconstruction  SSIM {figures['ssim']:.4f}  MSE {figures['mse']:.5f}  "
            f"KL {figures['kl']:.1f} nats"
        )
    if classified := report.get("classifier"):
        print(f"  AUC, {report['label_rule']}; 95 % interval by resampling patients:")
        if "counted" in classified:
            print(f"  {counted_in_words(classified)}")
        print_aucs(classified)
    print(f"  Kept in {out / 'final.json'}.")


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, equals, ends = text.partition("=")
    low, dots, high = ends.partition("..")
    try:
        if not (equals and dots):
            raise ValueError
        return name.strip(), (float(low), float(high))
    except ValueError as error:
        raise UserError(f"--range takes name=low..high, as beta=0.01..1, not {text!r}.") from error


def _choices(pairs: list[str] | None) -> dict[str, tuple[Any, ...]]:
    named = split_pairs(pairs, "--choices takes name=one,two, as prior_alpha=0.1,0.3")
    return {
        name: tuple(_choice(text) for text in map(str.strip, listed.split(",")) if text)
        for name, listed in named.items()
    }


def _choice(text: str) -> Any:
    value = json_or_text(text)
    return value if isinstance(value, bool | int | float | str) else text


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
