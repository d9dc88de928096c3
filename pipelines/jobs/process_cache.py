"""What a worker process keeps between elements: shards of a base, models, tables of labels."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

_ALL: weakref.WeakSet[ProcessCache] = weakref.WeakSet()


class ProcessCache(Generic[T]):
    """Values by key, loaded once a process and shared by its threads; the least recently used go first.

    Parameters
    ----------
    entries : how many values are kept. What a thread still holds stays in memory until it lets go.
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._values: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._lock = threading.Lock()
        _ALL.add(self)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The value of `key`, loaded by `load` where it is not there.

        One thread loads, the others that want the same key wait for it; those that want another do not. Room is made
        before, not after. What `load` raises is raised to all who waited, and is not kept.
        """
        with self._lock:
            future = self._values.get(key)
            loads = future is None
            if future is None:
                while len(self._values) >= self._entries:
                    self._values.popitem(last=False)
                future = self._values[key] = Future()
            self._values.move_to_end(key)
        if loads:
            try:
                future.set_result(load())
            except BaseException as error:
                with self._lock:
                    self._values.pop(key, None)
                future.set_exception(error)
        return future.result()

    def clear(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.clear()


def clear_all() -> None:
    """Empty the caches of this process: what a job kept is of no use to what comes after it."""
    for cache in list(_ALL):
        cache.clear()
