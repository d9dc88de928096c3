"""Rows in = rows out + rejects, and few rejects: checked for the whole run before anything is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.errors import DataError
from pipelines.formats.rows import Reject
from pipelines.ingestion.splits import no_row
from pipelines.ingestion.survey import Plan
from pipelines.jobs import counters
from schemas.tables import SPLITS


@dataclass(frozen=True)
class Tally:
    """Counts to be reconciled over the whole run, and the first refused row."""

    counts: Mapping[str, int]
    first: Reject | None = None

    @classmethod
    def of(cls, rejects: Sequence[Reject], **counts: int) -> Tally:
        return cls({**counts, "rejects": len(rejects)}, min(rejects, key=place, default=None))


def place(rejected: Reject) -> tuple[str, int, str]:
    return rejected.source, rejected.line, rejected.reason


def too_many(first: Reject, refused: int, rows: int) -> DataError:
    """The one line that stops a run for its rejects."""
    return DataError(
        f"{first.source}: row {first.line}: {first.reason}; mend the row, or raise data.max_rejects "
        f"({refused} of {rows} rows are refused)"
    )


class RejectLimit:
    """Stops a file as soon as its rejects alone are too many: those of a file of the wrong kind would fill memory."""

    def __init__(self, plan: Plan, max_rejects: float) -> None:
        self._allowed, self._rows = max_rejects * plan.rows, plan.rows
        self._refused = 0
        self._first: Reject | None = None

    def check(self, rejects: Sequence[Reject]) -> None:
        self._refused += len(rejects)
        self._first = self._first or (rejects[0] if rejects else None)
        if self._first is not None and self._refused > self._allowed:
            raise too_many(self._first, self._refused, self._rows)


def reconcile(_: None, tallies: list[Tally], plan: Plan, max_rejects: float, rejects: str) -> dict[str, dict[str, int]]:
    """Check that no row was lost and that few were refused; what passes is a fact of the rejects.

    Raises
    ------
    DataError
        Rows in ≠ rows out + rejects; more rejects than `data.max_rejects`; no label in train; no row in a split.
    """
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(tally.counts)
    first = min((tally.first for tally in tallies if tally.first is not None), key=place, default=None)
    if first is not None and total["rejects"] > max_rejects * total["rows_in"]:
        raise too_many(first, total["rejects"], total["rows_in"])
    if total["rows_in"] != plan.rows:
        raise DataError(
            f"{plan.files[0].path}: {plan.rows} rows were surveyed but {total['rows_in']} read; did a file change "
            f"meanwhile? run it again"
        )
    _check_nothing_lost(total, plan)
    if not total["train_pairs"]:
        raise DataError(f"{plan.files[0].path}: no training row has a label; check the labels or the split")
    for split, parts in zip(SPLITS[1:], plan.parts[1 : len(SPLITS)], strict=True):
        if parts and not total[f"{split}_rows"]:
            raise no_row(split, plan.rule, plan.files)
    for name, value in sorted(total.items()):
        counters.count(name, value)
    return {rejects: {"rows_in": total["rows_in"], "rejects": total["rejects"]}}


def _check_nothing_lost(total: Mapping[str, int], plan: Plan) -> None:
    """What was read against what was written. An interaction file is counted in pairs: its lines become other rows."""
    if plan.users is None:
        read, written = total["rows_in"], total["rows_out"] + total["rows_left_out"] + total["rejects_written"]
    else:
        read, written = total["pairs_in"], total["pairs_out"] + total["pairs_left_out"] + total["pairs_repeated"]
    if read != written or total["rejects"] != total["rejects_written"]:
        raise DataError(
            f"{plan.files[0].path}: rows in and out do not add up ({dict(sorted(total.items()))}): the runner lost or "
            f"repeated some; run it again"
        )
