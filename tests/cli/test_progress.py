"""Progress bars, and commands that stop when they are asked to."""

from __future__ import annotations

import os
import signal

import pytest

from lungvae_core.cli.progress import stop_on_signals, task_bars


def test_a_signal_sets_the_event_and_a_second_one_ends_at_once(capsys: pytest.CaptureFixture) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals("this epoch") as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        assert "Stopping after this epoch; press Ctrl-C again" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_sigterm_stops_without_a_word(capsys: pytest.CaptureFixture) -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
    assert capsys.readouterr().out == ""


def test_tasks_have_a_bar_each_on_standard_error(capsys: pytest.CaptureFixture) -> None:
    with task_bars() as progress:
        pass
    assert capsys.readouterr().err == ""  # a refusal is one line, without a bar above it
    with task_bars() as progress:
        progress("Patients", 1, 4)
        progress("Files", 2, 7)
        progress("Patients", 4, 4)
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in ("Patients", "4/4", "Files", "2/7"):
        assert part in printed.err
