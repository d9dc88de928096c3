"""What a command says while it works: plain lines with the seconds since its start, and a bar on a terminal."""

from __future__ import annotations

import logging
import sys
import time

_LOGGER = logging.getLogger("awe")
_START = time.monotonic()


class _Elapsed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"[{time.monotonic() - _START:7.1f} s] {record.getMessage()}"


def configure() -> None:
    """Send our lines to standard error, and of other libraries only what is worse than a warning."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Elapsed())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    logging.getLogger().setLevel(logging.ERROR)


def info(message: str) -> None:
    """One line of progress."""
    _LOGGER.info("%s", message)


def detail(message: str) -> None:
    """One line for whoever looks into a failure."""
    _LOGGER.info("  %s", message)
