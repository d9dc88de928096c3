"""The table of results as the papers print it, published rows below ours, and precision and recall at k."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipelines.questions.existing_run import ExistingRun
from pipelines.report import look
from pipelines.report.chart import Axis, Chart, Series, curves
from pipelines.report.formatting import percent
from pipelines.report.published import Published, beside
from pipelines.results_table import SHOWN, query_seconds, read_results, row_order

Row = dict[str, Any]
_SPLITS = ("test", "validation")


def rows_by_split(run: ExistingRun) -> dict[str, list[Row]]:
    """The rows of results.json of every split that has some, in the order of the table."""
    return by_split(read_results(run.context.fs, run.context.run.path("results.json")).values())


def by_split(found: Collection[Row]) -> dict[str, list[Row]]:
    """Rows of results by their split, test first, in the order of the table."""
    divided = {split: sorted((row for row in found if row["split"] == split), key=row_order) for split in _SPLITS}
    return {split: rows for split, rows in divided.items() if rows}


def content(run: ExistingRun) -> dict[str, Any]:
    """A table and two charts a split."""
    return tables(run, rows_by_split(run))


def tables(run: ExistingRun, divided: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The same of rows that may be means over seeds, then with a `spread`; published rows are those of the run."""
    examples = run.context.examples("train").facts
    counts = {"labels": int(examples["labels"]), "features": int(examples["dimension"])}
    known = beside({**counts, "test": run.context.examples("test").rows})
    splits = [
        {"name": split, "scored": rows[0]["scored"], **_table(rows, known if split == "test" else None)}
        | {"charts": [chart for chart in (_at_k(rows, "p", "precision"), _at_k(rows, "recall", "recall")) if chart]}
        for split, rows in divided.items()
    ]
    counts_all = any(name.endswith("-all") for split in splits for name in split["columns"])
    return {"splits": splits, "published": known, "counts_all": counts_all}


def _table(rows: Sequence[Row], published: Published | None) -> dict[str, Any]:
    """Columns and cells; the best of ours in a column is marked."""
    columns = _columns(rows[0]["metrics"], published)
    best = {name: max(row["metrics"].get(name, 0.0) for row in rows) for name in columns}
    return {
        "columns": columns,
        "rows": [
            {
                "method": row["method"],
                "iteration": row["iteration"],
                "cells": [(figure(row, name), row["metrics"].get(name) == best[name]) for name in columns],
                "seconds": query_seconds(row),
                "bytes": row.get("bytes"),
            }
            for row in rows
        ],
        "seeds": rows[0].get("seeds"),
        "published": [
            {"method": name, "cells": [f"{figures[name]:.2f}" if name in figures else "–" for name in columns]}
            for name, figures in (published.rows.items() if published else ())
        ],
    }


def figure(row: Row, metric: str) -> str:
    """A metric in percent; of several seeds with its spread."""
    return " ± ".join(filter(None, mean_and_spread(row, metric)))


def mean_and_spread(row: Row, metric: str) -> tuple[str, str]:
    """A metric in percent, and what it differs by over seeds; nothing of one seed."""
    spread = row.get("spread", {}).get(metric)
    return percent(row["metrics"].get(metric)), "" if spread is None else percent(spread)


def _columns(metrics: dict[str, float], published: Published | None) -> list[str]:
    """The metrics of every table, the last of the lists, and those that published rows have."""
    wanted = {*SHOWN, *(name for row in (published.rows.values() if published else ()) for name in row)}
    wanted |= {name for name in metrics if name.startswith("map@")}
    wanted |= set([name for name in metrics if name.startswith("sibling-p@")][-1:])
    return [name for name in metrics if name in wanted]


def _at_k(rows: Sequence[Row], metric: str, word: str) -> Chart | None:
    """A metric against the length of the list; None where lists have one length only."""
    lengths = sorted(int(name.partition("@")[2]) for name in rows[0]["metrics"] if _is_at_k(name, metric))
    if len(lengths) < 2:
        return None
    series = [
        Series(
            look.title(row["method"], row["iteration"]),
            look.of_method(row["method"], row["iteration"]),
            [(k, 100 * row["metrics"][f"{metric}@{k}"]) for k in lengths],
        )
        for row in rows
    ]
    y = Axis.from_zero(f"{word} in %", [value for one in series for _, value in one.points])
    best = max(series, key=lambda one: one.points[0][1])
    alt = (
        f"{word.capitalize()} at k of {len(series)} methods on {rows[0]['split']}; the highest at k = {lengths[0]} is "
        f"{best.name} with {best.points[0][1]:.2f} %. The table above has the figures."
    )
    return curves(series, Axis("k", 0, lengths[-1], marks=tuple(lengths)), y, alt)


def _is_at_k(name: str, metric: str) -> bool:
    return name.startswith(f"{metric}@") and not name.endswith("-all")
