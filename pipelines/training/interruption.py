"""SIGTERM and SIGINT during work that wants to reach a place to stop at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether the process was asked to stop: the number of the signal, or None."""

    signal: int | None = None


@contextmanager
def deferred_signals() -> Iterator[Stop]:
    """Within, a first SIGTERM or SIGINT is only noted; a second acts at once, as it would have without this.

    What was noted and not acted upon acts at the end.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        restore()

    for number in numbers:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
