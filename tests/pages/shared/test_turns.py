"""Scripts take turns, and step back behind the threads that answer what is live."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from pages.shared import turns


def test_few_scripts_run_at_once():
    inside, most = [], []

    def script() -> None:
        with turns.turn():
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()

    threads = [threading.Thread(target=script) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == turns.AT_ONCE


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_a_scripts_thread_steps_back_once():
    niceness = []

    def script() -> None:
        for _ in range(2):
            with turns.turn():
                niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=script)
    thread.start()
    thread.join()
    assert niceness == [min(before + turns.NICER, 19)] * 2
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
