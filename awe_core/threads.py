"""Work in threads whose outcome does not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Self, TypeVar

Result = TypeVar("Result")
Item = TypeVar("Item")

Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Does a task for every item, in whatever threads, and gives the results in the order of the items."""


def in_turn(task: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The tasks one after another, in this thread."""
    return [task(item) for item in items]


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
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="awe") if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, task: Callable[[int], Result], count: int) -> list[Result]:
        """`[task(0), …, task(count − 1)]`. The first exception, in the order of the tasks, is raised.

        Every thread, the caller's too, takes the next task when it is done with one. After an exception none is begun.
        """
        if self._pool is None or count < 2:
            return [task(number) for number in range(count)]
        results: list[Result | None] = [None] * count
        failed: dict[int, BaseException] = {}
        waiting = iter(range(count))  # asking it for the next number is one step of the interpreter: no lock

        def take_tasks() -> None:
            for number in waiting:
                if failed:
                    return
                try:
                    results[number] = task(number)
                except BaseException as error:
                    failed[number] = error

        # numpy's error state is a context variable: without the context a thread would warn of what the caller ignores.
        others = [self._pool.submit(copy_context().run, take_tasks) for _ in range(min(self._threads, count) - 1)]
        take_tasks()
        for other in others:
            other.result()
        if failed:
            raise failed[min(failed)]
        return results  # type: ignore[return-value]

    def each(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`[task(item) for item in items]`, as `map` does it."""
        return self.map(lambda number: task(items[number]), len(items))
