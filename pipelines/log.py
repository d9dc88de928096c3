"""What a command says while it works: plain lines with the seconds since its start, and a bar on a terminal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import IO, TextIO

_LOGGER = logging.getLogger("awe")
_START = time.monotonic()


class _Elapsed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"[{time.monotonic() - _START:7.1f} s] {record.getMessage()}"


def configure() -> None:
    """Send our lines to standard error, and of other libraries only errors; Beam's not even those.

    Beam prints the traceback of a failed bundle several times over. The launcher raises it too: the one line that
    matters is shown, and the whole goes to the run's log.
    """
    handler = logging.StreamHandler(_own_stderr())
    handler.setFormatter(_Elapsed())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def _own_stderr() -> TextIO:
    """Standard error for our lines alone, that stays when `kept_quiet` turns the process's own away."""
    if sys.__stderr__ is None or sys.stderr is not sys.__stderr__:
        return sys.stderr
    return os.fdopen(os.dup(sys.__stderr__.fileno()), "w", buffering=1)


@contextmanager
def kept_quiet(file: IO[str]) -> Iterator[None]:
    """Send what this process and those that it starts print to standard error into a file. Our own lines still show.

    The in-process runner and its worker processes print every traceback themselves, several times over.
    """
    sys.stderr.flush()
    real = sys.__stderr__ is not None and sys.stderr is sys.__stderr__
    saved = os.dup(2) if real else -1
    try:
        if real:
            os.dup2(file.fileno(), 2)
        with redirect_stderr(file):
            yield
    finally:
        if real:
            os.dup2(saved, 2)
            os.close(saved)


def stream() -> TextIO:
    """Where our lines go: standard error, also while `kept_quiet` turns the process's own away."""
    handler = _LOGGER.handlers[0] if _LOGGER.handlers else None
    return handler.stream if isinstance(handler, logging.StreamHandler) else sys.stderr


def on_a_terminal() -> bool:
    """Whether somebody watches our lines, as far as one can tell."""
    ours = stream()
    return not ours.closed and ours.isatty()  # closed: by whoever has called us from a program of their own


def so_many(number: int, noun: str) -> str:
    """`1 label`, `2,000 labels`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def info(message: str) -> None:
    """One line of progress."""
    _LOGGER.info("%s", message)


def be_quiet() -> None:
    """From now on say only notices and errors, and show no bar."""
    _LOGGER.setLevel(logging.WARNING)


def says_progress() -> bool:
    """Whether progress is said at all."""
    return _LOGGER.isEnabledFor(logging.INFO)


def no_bar() -> bool | None:
    """tqdm's `disable`: None leaves a bar to terminals, True shows none where no progress is said."""
    return None if says_progress() else True


def notice(message: str) -> None:
    """One line that is said even where progress is not."""
    _LOGGER.warning("%s", message)


@contextmanager
def without_progress() -> Iterator[None]:
    """Within, only notices are shown: of work that repeats the same stages many times."""
    before = _LOGGER.level
    be_quiet()
    try:
        yield
    finally:
        _LOGGER.setLevel(before)


def detail(message: str) -> None:
    """One line for whoever looks into a failure."""
    _LOGGER.info("  %s", message)
