"""What `train.memory` bounds: all that the process of a training holds, and how much of it examples may have."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from awe_core.training.settings import TrainSettings
from pipelines.errors import ConfigError
from pipelines.jobs.repeated import repeated

STEP_BYTES = 32 * 2**20
"""What a thread makes of a sub-block: some arrays of scores, of up to 16 MB, and its gradients."""

UNDER_WAY = 3
"""Blocks beside those that are kept: the one worked on, the one that waits, and what decoding the next one takes."""

_ADVICE = 64 * 2**20
"""A bound that is proposed is rounded up to this: two processes never hold quite the same."""


class Memory:
    """Bytes that the process may hold: what examples may keep of them is shared by all who read some.

    Parameters
    ----------
    bound : for everything.
    held : for everything but examples (`held_beside_examples`).
    trainings : side by side, each with blocks of its own under way.

    Raises
    ------
    ConfigError
        Not even `held` has room, or, when a block is asked for, the blocks under way.
    """

    def __init__(self, bound: int, held: int, trainings: int = 1) -> None:
        self._bound, self._held, self._kept = bound, held, 0
        self._under_way = UNDER_WAY * trainings
        self._check(0)

    def take(self, size: int) -> bool:
        """Whether a block of `size` bytes may stay decoded; if so its bytes are taken."""
        self._check(size)
        if self._held + self._kept + (1 + self._under_way) * size > self._bound:
            return False
        self._kept += size
        return True

    def _check(self, size: int) -> None:
        least = self._held + self._under_way * size
        if least > self._bound:
            enough = -(-least // _ADVICE) * _ADVICE
            raise ConfigError(
                f"train.memory is {self._bound:,} bytes, and this training needs {least:,}: {self._held:,} for the "
                f"process and its model, {self._under_way * size:,} for the blocks under way; give "
                f"--train.memory={enough}"
            )


def held_beside_examples(
    dimension: int, labels: int, settings: TrainSettings, started: bool, trainings: int = 1
) -> int:
    """Bytes that a training holds without its examples, asked before it begins.

    What the process holds already (the interpreter, what it imported), U and V with the optimiser's sums, and the work
    of every thread.

    Parameters
    ----------
    dimension, labels : d, Y.
    started : another model is gone on from: it is held beside the one that is trained.
    trainings : side by side, which share the threads.
    """
    width = settings.D + (settings.affinity.width if settings.affinity is not None else 0)
    model = model_bytes(dimension, labels, width, settings.optimiser == "adagrad", started)
    fixed = 0 if settings.affinity is None else settings.affinity.fixed_bytes
    return resident_bytes() + fixed + trainings * model + STEP_BYTES * settings.threads_used


def model_bytes(dimension: int, labels: int, D: int, sums: bool, started: bool) -> int:
    """U and V with the optimiser's sums, if it has any, and those that are gone on from."""
    return 4 * D * (dimension + labels) * (2 if sums else 1) * (2 if started else 1)


def give_back() -> None:
    """Return to the system what this process has freed.

    A job that ran in it leaves hundreds of MB with the allocators, which `train.memory` would count as held.
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Bytes of physical memory that this process holds now; where only its peak is known (macOS), that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


class Peak:
    """The most bytes that were seen to be held; `bytes` is that so far, `held` what is asked."""

    def __init__(self, held: Callable[[], int]) -> None:
        self._held = held
        self.bytes = held()

    def look(self) -> None:
        self.bytes = max(self.bytes, self._held())


@contextmanager
def watched_peak(held: Callable[[], int] = resident_bytes, every_seconds: float = 0.1) -> Iterator[Peak]:
    """Look every so often at what is held, by this process where nothing else is asked for.

    The system keeps a peak too, of the whole life of a process: a stage has to be told from those before it.
    """
    peak = Peak(held)
    try:
        with repeated(peak.look, every_seconds):
            yield peak
    finally:
        peak.look()


def memory_of_machine() -> tuple[int, int]:
    """Bytes of memory, and of these what is free, or all where that is not said; a container's bound counts."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = re.search(r"MemAvailable: +(\d+) kB", _text("/proc/meminfo"))
    free = 1024 * int(said[1]) if said else whole
    bound, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if bound.isdigit() and used.isdigit():
        whole, free = min(whole, int(bound)), min(free, max(0, int(bound) - int(used)))
    return whole, free


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
