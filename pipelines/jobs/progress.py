"""How far a Beam job is: a bar on a terminal, elsewhere a line now and then, both with the time that is left.

Rows are counted by the workers that are threads of this process; of a job whose workers are not, only its time is
known.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pipelines import log
from pipelines.jobs.repeated import repeated

LINE_SECONDS = 30.0
"""Between two lines of a log."""
_BAR_SECONDS = 0.5


class _Rows:
    """Rows that are done, of the job that runs in this process."""

    def __init__(self) -> None:
        self._lock, self._done = threading.Lock(), 0

    def add(self, rows: int) -> None:
        with self._lock:
            self._done += rows

    def begin(self) -> None:
        with self._lock:
            self._done = 0

    @property
    def done(self) -> int:
        return self._done


ROWS = _Rows()


@contextmanager
def shown(name: str, rows: int | None) -> Iterator[None]:
    """Within, say how far a job is, that will come to so many rows; None where that is not known."""
    ROWS.begin()
    if not log.says_progress():
        yield
        return
    stream, in_a_log = log.stream(), not log.on_a_terminal()
    with tqdm(total=rows, desc=name, unit=" rows", unit_scale=True, file=stream, disable=in_a_log, leave=False) as bar:
        start = time.monotonic()

        def tell() -> None:
            done = ROWS.done if rows is None else min(ROWS.done, rows)
            if bar.disable:
                log.info(line(name, done, rows, time.monotonic() - start))
            else:
                bar.update(done - bar.n)

        with repeated(tell, LINE_SECONDS if bar.disable else _BAR_SECONDS):
            yield


def line(name: str, done: int, rows: int | None, seconds: float) -> str:
    """What a log is told: rows where some are known to be done, the time since the start, and what may be left."""
    said = f"{name}: {seconds:.0f} s"
    if not done:
        return said
    if rows is None:
        return f"{said}, {done:,} rows"
    left = seconds * (rows - done) / done
    return f"{said}, {done:,} of {rows:,} rows, some {left:.0f} s left"
