"""Published figures of the data sets that a run may be of."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Published:
    """A set of published.toml: rows of percents by metric, and where they were taken from."""

    source: str
    rows: dict[str, dict[str, float]]


def load() -> dict[str, Any]:
    """published.toml as it stands."""
    return tomllib.loads(files("pipelines.report").joinpath("published.toml").read_text())


def beside(counts: dict[str, int]) -> Published | None:
    """The set whose counts are among these (`labels`, `features`, `test`), or None.

    A run does not say which data set it is of, and files have any name: the counts are what stays.
    """
    for found in load().values():
        known = found.get("counts")
        if known is not None and known.items() <= counts.items():
            rows = {name: dict(zip(found["metrics"], row, strict=True)) for name, row in found["rows"].items()}
            return Published(found["source"], rows)
    return None
