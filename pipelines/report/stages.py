"""Where time, memory and disk went, by stage: from what the stages left beside what they made."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.questions.existing_run import ExistingRun
from pipelines.questions.model_report import read_history
from pipelines.report.chart import bars
from pipelines.report.formatting import duration
from pipelines.run_directory import Lane
from schemas.filesystem import FileSystem, read_bytes
from schemas.manifest import COUNTERS, find_manifest
from schemas.tables import SPLITS


@dataclass(frozen=True)
class Spent:
    """What one stage took; None where it left no word of that.

    Attributes
    ----------
    peak : bytes that the launching process held at the most, as far as it was looked at.
    written : bytes of the parts.
    """

    stage: str
    seconds: float | None
    peak: int | None
    written: int | None


def content(run: ExistingRun) -> dict[str, Any]:
    """A bar a stage, and the table of the same."""
    spent = list(_stages(run))
    timed = [one for one in spent if one.seconds is not None]
    total = sum(one.seconds or 0.0 for one in timed)
    longest = max(timed, key=lambda one: one.seconds or 0.0, default=None)
    alt = f"Seconds of {len(timed)} stages, {duration(total)} together"
    alt += f"; the longest is {longest.stage} with {duration(longest.seconds)}." if longest else "."
    drawn = [(one.stage, one.seconds or 0.0, duration(one.seconds), f"c{_colour(one.stage)}") for one in timed]
    return {"chart": bars(drawn, alt) if drawn else None, "spent": spent, "total": total}


_COLOURS = {"ingest": 0, "train": 8, "embed": 5, "affinity": 6, "annotate": 2, "evaluate": 1}


def _colour(stage: str) -> int:
    return next(colour for name, colour in _COLOURS.items() if name in stage)


def _stages(run: ExistingRun) -> Iterable[Spent]:
    """In the order in which they ran."""
    fs, directory = run.context.fs, run.context.run
    lanes = run.context.lanes()
    tables = [_json(fs, directory.path("log", f"{name}.json")) for name in ("ingest-survey", "ingest")]
    examples = dict.fromkeys([*SPLITS, *lanes[-1].splits])
    yield _spent(fs, "ingest", tables, [*map(directory.examples, examples), directory.labels])
    for lane in lanes:
        said = "" if lane == lanes[-1] else "select: "
        for T in range(run.iteration + 1):
            yield from _iteration(run, lane, T, said)
    results = [_json(fs, directory.path("log", f"evaluate-{T}.json")) for T in range(run.iteration + 1)]
    yield _spent(fs, "evaluate", results, [])


def _iteration(run: ExistingRun, lane: Lane, T: int, said: str) -> Iterable[Spent]:
    fs = run.context.fs
    facts = run.context.examples("train").facts
    if T and run.config.affinity.joint is None:
        source = run.config.affinity.source(T)
        if run.config.affinity.embedded and source == T - 1:
            yield _of_datasets(fs, f"{said}embed {source}", [lane.embeddings(source, split) for split in lane.splits])
            if source == 0 and run.config.folds:
                yield _of_datasets(fs, f"{said}embed by folds", _fold_embeddings(lane, run.config.folds))
        yield _of_datasets(fs, f"{said}affinity {T}", [lane.reweighted(T, split) for split in lane.splits])
    yield _spent(fs, f"{said}train {T}", [_trained(fs, lane, T)], [])
    if T == 0 and run.config.folds:
        yield _spent(fs, f"{said}train folds", [_json(fs, fs.join(lane.root, "log", "train-folds.json"))], [])
    methods = run.config.methods(T, facts)
    ranked = [lane.predictions(T, method, split) for method in methods for split in lane.ranked]
    yield _of_datasets(fs, f"{said}annotate {T}", ranked)


def _fold_embeddings(lane: Lane, folds: int) -> list[str]:
    return [lane.fold_embeddings(*which) for which in itertools.product(range(folds), lane.fit, (True, False))]


def _trained(fs: FileSystem, lane: Lane, T: int) -> dict[str, Any]:
    """What the log says of a training; where it says nothing, the seconds of the model's epochs."""
    logged = _json(fs, fs.join(lane.root, "log", f"train-{T}.json"))
    return logged or {"seconds": sum(record["seconds"] for record in read_history(fs, lane.model(T)))}


def _of_datasets(fs: FileSystem, stage: str, directories: list[str]) -> Spent:
    """Of the jobs that made some datasets: one wrote several, and each of them has its table."""
    tables = [_json(fs, fs.join(directory, COUNTERS)) for directory in directories]
    distinct = {json.dumps(table, sort_keys=True): table for table in tables if table}
    return _spent(fs, stage, list(distinct.values()), directories)


def _spent(fs: FileSystem, stage: str, tables: list[dict[str, Any] | None], directories: list[str]) -> Spent:
    seconds = [table["seconds"] for table in tables if table]
    peaks = [table["peak_bytes"] for table in tables if table and table.get("peak_bytes")]
    manifests = [manifest for directory in directories if (manifest := find_manifest(fs, directory))]
    written = sum(part.bytes for manifest in manifests for part in manifest.parts) if manifests else None
    return Spent(stage, sum(seconds) if seconds else None, max(peaks, default=None), written)


def _json(fs: FileSystem, path: str) -> dict[str, Any] | None:
    """What a log says; None where it was removed or damaged, for nothing depends on it."""
    try:
        found = json.loads(read_bytes(fs, path))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and "seconds" in found else None
