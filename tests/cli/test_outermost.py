from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lungvae_core import faults
from lungvae_core.cli import outermost
from lungvae_core.errors import UserError
from tests.commands import lungvae


def ended(command, capsys) -> tuple[int, str]:
    """(exit code, standard error) of a command under the outermost layer."""
    with pytest.raises(SystemExit) as end:
        outermost.run(command)
    return int(end.value.code or 0), capsys.readouterr().err


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv(faults.COUNTER, str(tmp_path / "faults"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("It is wrong."), 2, "Error: It is wrong."),
        (OSError(errno.ENOSPC, "No space left on device", "a.csv"), 2, "a.csv cannot be used: No space"),
        (OSError(errno.EROFS, "Read-only file system", b"\xff"), 2, "Read-only file system"),
        (MemoryError(), 2, "memory is full"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
        (SystemExit(3), 3, ""),
    ],
)
def test_what_is_not_the_programs_fault_is_a_sentence(error, code, text, capsys, tmp_path):
    actual, sentence = ended(raising(error), capsys)
    assert actual == code
    assert text in sentence
    assert len(sentence.splitlines()) == bool(text)
    assert not (tmp_path / "faults").exists()


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), OSError("odd"), OSError(errno.ENOENT, "no", "x")]
)
@pytest.mark.parametrize("workspace", [True, False])
def test_a_fault_is_one_sentence_with_a_number_and_a_log(error, workspace, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if workspace:
        (tmp_path / "workspace").mkdir()
    code, sentence = ended(raising(error), capsys)
    assert code == 70
    assert len(sentence.splitlines()) == 1
    [log] = tmp_path.rglob("error-*.log")
    assert str(log) in sentence
    assert log.name.split("-")[1] in sentence
    assert log.parent == (tmp_path / "workspace" / "logs" if workspace else tmp_path)
    assert "Traceback" in log.read_text()
    assert "Traceback" in (tmp_path / "faults").read_text()


def test_where_no_log_can_be_written_it_says_so(capsys, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("tempfile.mkstemp", full)
    code, sentence = ended(raising(ValueError("the cause")), capsys)
    assert code == 70
    assert "could be written nowhere; its last line is: ValueError: the cause" in sentence


@pytest.mark.long
def test_a_reader_that_goes_away_and_a_full_output_end_quietly(tmp_path):
    """`lungvae models | head -1`, and output to a full disk."""
    for command in ("presets", "models"):
        read, write = os.pipe()
        os.close(read)
        gone = lungvae(command, cwd=tmp_path, stdout=write)
        os.close(write)
        assert (gone.returncode, gone.stderr) == (1, "")
    with Path("/dev/full").open("w") as full:
        done = lungvae("presets", cwd=tmp_path, stdout=full)
    assert done.returncode == 2
    assert done.stderr == "Error: The output cannot be used: No space left on device.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_quietly_and_removes_what_was_half_written(number, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from lungvae_core.cli.outermost import run\n"
        "from lungvae_core.files import atomic_folder\n"
        "def work():\n"
        f"    with atomic_folder(Path({str(tmp_path / 'set')!r})):\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "run(work)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert errors == b""
    assert list(tmp_path.iterdir()) == []
