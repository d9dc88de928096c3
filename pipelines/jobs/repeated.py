"""Something done again and again beside the work that goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(do: Callable[[], None], every_seconds: float) -> Iterator[None]:
    """Within, call `do` every so many seconds, in a thread of its own that has ended when this has."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every_seconds):
            do()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
