"""Results as a person reads them, and the summary over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.config import METHODS_0, METHODS_T
from pipelines.run_directory import RunDirectory
from schemas.errors import DataError
from schemas.filesystem import FileSystem, read_bytes
from schemas.manifest import digest

SHOWN = ("p@1", "p@3", "p@5", "recall@10", "recall@20", "ndcg@10", "sibling-p@1")
"""Metrics of the printed table, as far as a run has them; results.json has all."""


RowKey = tuple[str, int, str]
"""(split, iteration, method)."""


def row_fingerprint(row: dict[str, Any]) -> str:
    """Hash of all of a row of results but what it took."""
    return digest({name: value for name, value in row.items() if name not in ("seconds", "bytes", "fingerprint")})


def read_results(fs: FileSystem, path: str) -> dict[RowKey, dict[str, Any]]:
    """The rows of results.json; none where there is no such file yet. Raises DataError where a row was changed."""
    try:
        rows = json.loads(read_bytes(fs, path))
        found = {(row["split"], row["iteration"], row["method"]): row for row in rows}
        changed = [key for key, row in found.items() if row["fingerprint"] != row_fingerprint(row)]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a table of results ({error}); remove it and run 'awe evaluate' again") from error
    if changed:
        raise DataError(f"{path}: row {changed[0]} was changed by hand; remove the file and run 'awe evaluate' again")
    return found


def query_seconds(row: Mapping[str, Any]) -> float | None:
    """CPU seconds of ranking one example, with labels or without; None where they are not known."""
    seconds = row.get("seconds")
    # A row that was written before there was `rows` says how many had labels.
    return None if seconds is None else float(seconds) / int(row.get("rows", row["scored"]))


def _rows(fs: FileSystem, run: RunDirectory) -> list[dict[str, Any]]:
    return list(read_results(fs, run.path("results.json")).values())


def of_run(fs: FileSystem, run: RunDirectory, as_json: bool = False) -> str:
    """The test rows of one run, in percent; or as JSON the rows of all splits, in fractions."""
    rows = _rows(fs, run)
    return json.dumps(rows, indent=1) if as_json else _table(_summarise([rows]), "test")


def of_seeds(fs: FileSystem, run: RunDirectory, seeds: Sequence[int], as_json: bool = False) -> str:
    """The test rows of several seeds, mean ± standard deviation in percent; or as JSON what summary.json has.

    Writes summary.json, with all splits.
    """
    summary = summary_of(fs, run, seeds)
    text = json.dumps(summary, indent=1)
    fs.put(run.path("summary.json"), text.encode())
    return text if as_json else _table(summary, "test")


def summary_of(fs: FileSystem, run: RunDirectory, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What summary.json has, from the results of every seed."""
    summary = _summarise([_rows(fs, run.of_seed(seed)) for seed in seeds])
    return [{**row, "seeds": list(seeds)} for row in summary]


def _summarise(runs: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a (method, split, iteration) that all runs have: means, and sample standard deviations over the seeds."""
    tables = [{(r["split"], r["iteration"], r["method"]): r for r in rows} for rows in runs]
    summary = []
    for split, iteration, method in tables[0] if tables else []:
        several = [table[split, iteration, method] for table in tables if (split, iteration, method) in table]
        if len(several) < len(tables):
            continue
        names = several[0]["metrics"]
        values = {name: [row["metrics"][name] for row in several] for name in names}
        summary.append(
            {
                "method": method,
                "split": split,
                "iteration": iteration,
                "scored": several[0]["scored"],
                "mean": {name: statistics.fmean(v) for name, v in values.items()},
                "spread": {name: statistics.stdev(v) if len(v) > 1 else None for name, v in values.items()},
            }
        )
    return summary


_ORDER = (*METHODS_0, *METHODS_T)


def row_order(row: Mapping[str, Any]) -> tuple[int, int]:
    """Where a row of results stands in a table: by iteration, then as the methods are listed."""
    return row["iteration"], _ORDER.index(row["method"])


def _table(summary: Sequence[dict[str, Any]], split: str) -> str:
    rows = [row for row in summary if row["split"] == split]
    if not rows:
        return f"no results on {split}"
    shown = [name for name in SHOWN if name in rows[0]["mean"]]
    rows.sort(key=row_order)
    cells = [["method", "T", *shown]]
    for row in rows:
        figures = [_cell(row["mean"].get(name), row["spread"].get(name)) for name in shown]
        cells.append([row["method"], str(row["iteration"]), *figures])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            text.ljust(w) if column == 0 else text.rjust(w)
            for column, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    scored = rows[0]["scored"]
    seeds = rows[0].get("seeds")
    over = f", mean ± standard deviation over seeds {', '.join(map(str, seeds))}" if seeds else ""
    return "\n".join(
        [lines[0], "-" * len(lines[0]), *lines[1:], f"{split}, {scored:,} examples scored, in percent{over}"]
    )


def _cell(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "–"
    return f"{100 * mean:.2f}" if spread is None else f"{100 * mean:.2f} ± {100 * spread:.2f}"
