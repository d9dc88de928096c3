"""RUN/report.html of several seeds: means and spreads of their results, and the way to the report of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.errors import DataError
from pipelines.questions.existing_run import ExistingRun
from pipelines.report import look, overview, page, results
from pipelines.report.results import Row
from pipelines.results_table import read_results, summary_of
from pipelines.run_directory import RunDirectory
from schemas.filesystem import FileSystem, read_bytes
from schemas.tables import SPLITS


@dataclass(frozen=True)
class Seeds:
    """The runs of one configuration.

    Attributes
    ----------
    fs, run : where RUN/seed-S stand.
    seeds : in the order in which they were given.
    """

    fs: FileSystem
    run: RunDirectory
    seeds: tuple[int, ...]

    @classmethod
    def standing_at(cls, fs: FileSystem, run: RunDirectory) -> Seeds:
        """Those that summary.json is of. Raises DataError where it names none."""
        path = run.path("summary.json")
        try:
            return cls(fs, run, tuple(json.loads(read_bytes(fs, path))[0]["seeds"]))
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{path}: names no seeds ({error}); run 'awe run --seeds=…' again") from error

    @cached_property
    def first(self) -> ExistingRun:
        """The run of the first seed: data and settings are the same in all."""
        return ExistingRun.open(self.run.of_seed(self.seeds[0]).root)

    @cached_property
    def by_split(self) -> dict[str, list[Row]]:
        """Means in the place of metrics, in the order of the table."""
        summary = [{**row, "metrics": row["mean"]} for row in summary_of(self.fs, self.run, self.seeds)]
        return results.by_split(summary)


def main(of: Seeds) -> str:
    """Write the report; its path."""
    return page.put(of.fs, of.run, page.rendered(of.run, SECTIONS, of))


def _overview(of: Seeds) -> dict[str, Any]:
    first = overview.content(of.first)
    of_first = f", by seed {of.seeds[0]}"
    data = [(name, value + of_first if name == "examples" else value) for name, value in first["data"]]
    settings = [row for row in first["settings"] if row[0] != "seed"]
    named = ("seeds", ", ".join(map(str, of.seeds)))
    return {**first, "headline": overview.headline(of.by_split), "data": data, "settings": [*settings, named]}


def _results(of: Seeds) -> dict[str, Any]:
    return results.tables(of.first, of.by_split)


def _seeds(of: Seeds) -> dict[str, Any] | None:
    """P@1 of every method by every seed, on the first split of the table."""
    split, rows = next(iter(of.by_split.items()), (SPLITS[0], []))
    methods = [(split, row["iteration"], row["method"]) for row in rows]
    return {
        "split": split,
        "methods": [look.title(method, iteration) for _, iteration, method in methods],
        "rows": [{"seed": seed, "cells": _cells(of, seed, methods)} for seed in of.seeds],
    }


def _cells(of: Seeds, seed: int, methods: Sequence[tuple[str, int, str]]) -> list[str]:
    found = read_results(of.fs, of.run.of_seed(seed).path("results.json"))
    return [results.figure(found[method], "p@1") for method in methods]


SECTIONS = (
    page.Section("overview", "Overview", _overview),
    page.Section("results", "Results", _results),
    page.Section("seeds", "Seeds", _seeds),
)
