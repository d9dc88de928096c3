"""Work in threads whose outcome does not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Self, TypeVar

Result = TypeVar("Result")


def available_threads() -> int:
    """The CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Threads that share one list of tasks; results come back in the order of the tasks.

    A task must depend on nothing but its number, and write only where no other task does: then its result is the same
    whichever thread runs it. Products inside run in one BLAS thread, and numpy releases the interpreter's lock.

    Parameters
    ----------
    threads : 1 runs everything in the caller's thread.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"train.threads must be 1 or more, not {threads}")
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="awe") if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, task: Callable[[int], Result], count: int) -> list[Result]:
        """`[task(0), …, task(count − 1)]`. The first exception, in the order of the tasks, is raised.

        The caller's thread takes part: the first task is its own.
        """
        if self._pool is None or count < 2:
            return [task(number) for number in range(count)]
        # numpy's error state is a context variable: without the context a thread would warn of what the caller ignores.
        waiting = [self._pool.submit(copy_context().run, task, number) for number in range(1, count)]
        try:
            first = task(0)
        except BaseException:
            for other in waiting:
                other.cancel()
                if not other.cancelled():
                    other.exception()
            raise
        return [first, *(other.result() for other in waiting)]
