"""Time and space of one query, by method, beside how good it is."""

from __future__ import annotations

from typing import Any

from pipelines.questions.existing_run import ExistingRun
from pipelines.report import look
from pipelines.report.chart import Axis, Series, scatter
from pipelines.report.formatting import number
from pipelines.report.results import Row, rows_by_split
from pipelines.results_table import query_seconds


def content(run: ExistingRun) -> dict[str, Any] | None:
    """A row a method, and P@1 against milliseconds; None where nothing was scored."""
    by_split = rows_by_split(run)
    if not by_split:
        return None
    split, rows = next(iter(by_split.items()))
    timed = [(row, 1000 * seconds) for row in rows if (seconds := query_seconds(row))]
    series = [
        Series(
            look.title(row["method"], row["iteration"]),
            look.of_method(row["method"], row["iteration"]),
            [(milliseconds, 100 * row["metrics"]["p@1"])],
        )
        for row, milliseconds in timed
    ]
    if not series:
        return {"split": split, "rows": [_row(row) for row in rows], "chart": None}
    times = [one.points[0][0] for one in series]
    x = Axis.over("CPU ms of one query", times)
    y = Axis.from_zero("P@1 in %", [one.points[0][1] for one in series])
    alt = f"P@1 against the CPU time of one query on {split}: " + "; ".join(
        f"{one.name} {number(one.points[0][0])} ms, {one.points[0][1]:.2f} %" for one in series
    )
    return {"split": split, "rows": [_row(row) for row in rows], "chart": scatter(series, x, y, alt)}


def _row(row: Row) -> dict[str, Any]:
    return {
        "method": row["method"],
        "iteration": row["iteration"],
        "p_at_1": row["metrics"]["p@1"],
        "seconds": query_seconds(row),
        "bytes": row.get("bytes"),
    }
