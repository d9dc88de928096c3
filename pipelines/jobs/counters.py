"""Counters of what the workers did, kept with the run's log and read by tests."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import thread_time_ns
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.runners.runner import PipelineResult

from pipelines.jobs.progress import ROWS

DATASETS = "datasets_written"
"""The directories that a job wrote, by which what it counted finds its place beside their manifests."""

_NAMESPACE = "awe"
_MEMBER = " includes "


_PROGRESS = frozenset(
    {"rows_read", "rows_embedded", "rows_joined", "rows_reweighted", "rows_ranked", "rows_measured", "rows_annotated"}
)
"""Counters of which a stage has one, that comes to the number of its rows."""


def count(name: str, amount: int = 1) -> None:
    """Add to a counter."""
    Metrics.counter(_NAMESPACE, name).inc(amount)
    if name in _PROGRESS:
        ROWS.add(amount)


def observe(name: str, value: int) -> None:
    """Take a value into a distribution (its count, sum, minimum and maximum are kept)."""
    Metrics.distribution(_NAMESPACE, name).update(value)


def member(name: str, value: str) -> None:
    """Take a string into a set: a counter of its own, for Beam 2.77 keeps only one worker's part of a string set."""
    Metrics.counter(_NAMESPACE, f"{name}{_MEMBER}{value}").inc()


@contextmanager
def kernel(name: str) -> Iterator[None]:
    """Time a stretch of numerics, in microseconds of its thread's CPU, and note which worker it ran on."""
    member("kernel_workers", f"{socket.gethostname()}/{os.getpid()}/{threading.get_ident()}")
    start = thread_time_ns()
    yield
    observe(f"{name}_us", (thread_time_ns() - start) // 1_000)


def totals(result: PipelineResult) -> dict[str, Any]:
    """All counters of a finished job by name: numbers, {count, sum, min, max} or sorted lists of strings."""
    found = result.metrics().query()
    table: dict[str, Any] = {}
    for metric in found["counters"]:
        name, is_member, value = metric.key.metric.name.partition(_MEMBER)
        if is_member:
            table[name] = sorted({*table.get(name, []), value})
        else:
            # Of a runner that has no attempted values, Prism, Beam makes None of a zero.
            table[name] = table.get(name, 0) + (metric.result or 0)
    for metric in found["distributions"]:
        name, value = metric.key.metric.name, metric.result
        if not value.count:  # Prism keeps one for a step that observed nothing
            continue
        before = table.get(name, {"count": 0, "sum": 0, "min": value.min, "max": value.max})
        table[name] = {
            "count": before["count"] + value.count,
            "sum": before["sum"] + value.sum,
            "min": min(before["min"], value.min),
            "max": max(before["max"], value.max),
        }
    return table


def described(table: Mapping[str, Any]) -> list[str]:
    """The counters of a job as lines of one table: a sum, how many members, or of a distribution its parts."""
    width = max(map(len, table), default=0)
    return [f"{name:<{width}}  {_value(value)}" for name, value in sorted(table.items())]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value):>15,}"
    if not isinstance(value, dict):
        return f"{value:>15,}"
    mean = value["sum"] / max(value["count"], 1)
    return f"{value['sum']:>15,} in {value['count']:,}: {value['min']:,} … {mean:,.0f} … {value['max']:,}"
