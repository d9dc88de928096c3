"""What a worker process keeps between elements: shards of a base, models, tables of labels."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

T = TypeVar("T")


class ProcessCache:
    """Values by key, loaded once a process and shared by its threads; the least recently used go first.

    Parameters
    ----------
    entries : how many values are kept. What a thread still holds stays in memory until it lets go.
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._values: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The value of `key`, loaded by `load` where it is not there. One thread loads, the others wait."""
        with self._lock:
            if key not in self._values:
                self._values[key] = load()
                while len(self._values) > self._entries:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            return cast(T, self._values[key])
