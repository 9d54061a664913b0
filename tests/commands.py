"""The command line, walked: every command with arguments that it takes, called in processes of their own.

A command is not named here to be tested: its parameters are recognised by their names and types. One with a
required parameter that nobody knows fails the tests, so that its author says in `VALUES` what it takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
# Options that are given although they have defaults: where things are read and written.
GIVEN = ("out", "slices", "table", "data")
# What makes a command's work small; a command that is not here is called with what it requires alone.
SMALL = {
    "phantom": ["--count", "8", "--factors", "independent"],
    "train": ["--preset", "gvae", "--epochs", "1", "--set", "width=4", "--set", "dimensions=4"],
    "search": ["--trials", "1", *["--set", "width=4", "--set", "dimensions=4", "--set", "epochs=1"]],
    "map": ["--2d"],
    "project": ["--method", "pca"],
    "counterfactual": ["--row", "0"],
    "delete": ["--yes"],
    "classify": ["--set", "epochs=1"],
    "evaluate": ["--quick"],
    "clusters": ["--quick"],
    "directions": ["--quick"],
    "disentanglement": ["--quick"],
    "measure": ["--quick", "--starts", "5"],
    "validate": ["--quick", "--include-seen"],
    "app": ["--address", "no address"],  # it must not go on for ever
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    args: list[str]
    code: int  # negative: the signal that ended it
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def commands() -> dict[str, Callable[..., Any]]:
    """Every command's function by its words, as "jobs show"."""
    from lungvae_core.cli import app

    return dict(_walk(app, ()))


def _walk(app: Any, above: tuple[str, ...]) -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        yield " ".join((*above, name)), command.callback
    for group in app.registered_groups:
        yield from _walk(group.typer_instance, (*above, group.name or group.typer_instance.info.name))


def arguments(name: str, function: Callable[..., Any], values: dict[str, object]) -> list[str]:
    """The words that call a command with `values` by its parameters' names; KeyError where one lacks."""
    positional, options = [], []
    hints = typing.get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        required = parameter.default is inspect.Parameter.empty
        if not required and not (parameter.name in GIVEN and parameter.name in values):
            continue
        value = str(values[parameter.name])
        [meta] = getattr(hints[parameter.name], "__metadata__", (None,))
        if type(meta).__name__ == "ArgumentInfo":
            positional.append(value)
        else:
            options += [f"--{parameter.name.replace('_', '-')}", value]
    return [*name.split(), *positional, *options, *SMALL.get(name, [])]


def lungvae(
    *words: str, cwd: Path, env: dict[str, str] | None = None, stdout: int | IO[str] = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Run one command in a process of its own."""
    command = [sys.executable, "-m", "lungvae_core.cli", *words]
    return subprocess.run(
        command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=250
    )


def made_inputs(folder: Path, data: Path) -> dict[str, object]:
    """What commands read, by their parameters' names, made in `folder` of the data set `data`."""
    import numpy as np

    from lungvae_core.data.slices import SliceSet
    from lungvae_core.serving.export.backup import back_up
    from lungvae_core.serving.workspace.settings import Settings

    opened = SliceSet.open(data)
    np.save(folder / "slices.npy", opened.slices)
    np.save(folder / "image.npy", opened.slices[0])
    opened.table.to_csv(folder / "table.csv", index=False)
    opened.table.assign(split=np.where(opened.table["patient_id"] < "TEST-0012", "train", "test")).to_csv(
        folder / "split.csv", index=False
    )
    shutil.copytree(data, folder / "dicom")  # no DICOM is in it: that is told
    settings = Settings(**{name: folder / name for name in ("models", "runs", "data", "workspace")})
    (folder / "runs" / "kept").mkdir(parents=True)
    (folder / "runs" / "kept" / "notes.txt").write_text("a run's\n" * 100_000)
    back_up(settings, folder / "backup.tar")
    return {
        "data": data,
        "image": folder / "image.npy",
        "slices": folder / "slices.npy",
        "table": folder / "table.csv",
        "split": folder / "split.csv",
        "folder": folder / "dicom",
        "archive": folder / "backup.tar",
        "report": ROOT / "models" / "reports" / "dirvae-nested-mvb.json",
        "name": "own",
        "job_id": 1,
    }


def sound(ended: Ended) -> bool:
    """Whether a command did its work; if not it has to say why, in a sentence and without a trace."""
    assert "Traceback" not in ended.text, ended
    assert "No such option" not in ended.text, ended  # else the walk would try nothing of the command
    assert ended.code in (0, 2), ended
    if ended.code:
        assert "Error" in ended.err, ended
        assert len(ended.err.strip().splitlines()[-1]) < 700, ended
    return ended.code == 0


class World:
    """Folders on one disk with a run in them, and how commands are called there."""

    def __init__(self, base: Path, models: Path, inputs: dict[str, object], temporary: Path) -> None:
        self.base, self.run = base, base / "runs" / "own"
        shutil.copytree(models / "tiny-gvae", self.run)
        self.out = base / "out" / "new"
        self.out.parent.mkdir()
        self.inputs = inputs
        self.environment = {
            "LUNGVAE_MODELS": str(base / "models"),
            "LUNGVAE_RUNS": str(base / "runs"),
            "LUNGVAE_DATA": str(base / "data"),
            "LUNGVAE_WORKSPACE": str(base / "workspace"),
            "TMPDIR": str(temporary),
        }

    def words(self, name: str, **others: object) -> list[str]:
        values = (
            self.inputs | {"run": self.run, "runs": self.run, "model": self.run, "out": self.out} | others
        )
        return arguments(name, commands()[name], values)

    def tree(self) -> dict[str, str]:
        """What is below the base, by path: a hash of each file; locks and the database apart."""
        return {
            str(path.relative_to(self.base)): _content(path)
            for path in sorted(self.base.rglob("*"))
            if not path.name.startswith((".lock", ".database", "workspace.db", "filling"))
            and path.relative_to(self.base).parts[0] != "workspace"
        }


def _content(path: Path) -> str:
    if stat.S_ISREG(path.lstat().st_mode):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return str(stat.S_IFMT(path.lstat().st_mode))


class Forks:
    """A process that has imported everything once, and forks for each command: a tenth of a second each."""

    def __init__(self, before: Sequence[str] = ()) -> None:
        """`before` are words that start a command elsewhere, as a shell's in a namespace of its own."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [*before, sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self, args: list[str], *, cwd: Path | None, env: dict[str, str], seconds: float = 120, number: int = 9
    ) -> Ended:
        """Run a command to its end, or until `seconds` are over: then it gets the signal of that number.

        Without `cwd` it runs where this process was started.
        """
        order = {"args": args, "cwd": None if cwd is None else str(cwd), "env": env}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps(order | {"seconds": seconds, "number": number}), file=self._process.stdin, flush=True
        )
        return Ended(args, **json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _serve() -> None:
    """Fork for each order on the standard input and answer with the exit code."""
    import importlib
    import pkgutil

    import lungvae_core

    for module in pkgutil.walk_packages(lungvae_core.__path__, "lungvae_core."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        outputs = [os.memfd_create(name) for name in ("out", "err")]  # no folder may be writable
        pid = os.fork()
        if not pid:
            _become(order, outputs)
        until = time.monotonic() + order["seconds"]
        ended, status = 0, 0
        while not ended:
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, order["number"])
                until += 60
            time.sleep(0.005)
            ended, status = os.waitpid(pid, os.WNOHANG)
        out, err = map(_content_of, outputs)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "out": out, "err": err}), flush=True)


def _content_of(output: int) -> str:
    with os.fdopen(output, "rb") as stream:
        stream.seek(0)
        return stream.read().decode(errors="replace")


def _become(order: dict[str, Any], outputs: list[int]) -> None:
    os.setsid()
    if order["cwd"] is not None:
        os.chdir(order["cwd"])
    os.environ.update(order["env"])
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["lungvae", *order["args"]]
    from lungvae_core.cli import main

    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
