"""G: which share of the true pairs it covers, and how its values are spread over true and other candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from awe_core.rows import entry_positions, row_of_entry
from pipelines.datasets.models import model_file
from pipelines.questions.existing_run import ExistingRun
from pipelines.report.chart import Axis, Chart, histogram
from pipelines.report.shown_split import ShownSplit
from schemas import convert
from schemas.manifest import Manifest, read_manifest

_ROWS = 4096
"""Rows whose candidates the histogram counts: 4,096 have some 10⁵ of them."""

_BINS = 40
_LEAST_SHARE = 1e-5
"""Values below this share of the largest are counted in the first bin."""


def content(run: ExistingRun) -> dict[str, Any] | None:
    """Coverage of every split and a histogram, iteration by iteration; None where no G is stored."""
    shown = ShownSplit.of(run)
    if run.config.affinity.joint is not None or not run.iteration or shown is None:
        return None
    return {"iterations": [_iteration(run, shown, T) for T in range(1, run.iteration + 1)], "rows": _ROWS}


def _iteration(run: ExistingRun, shown: ShownSplit, T: int) -> dict[str, Any]:
    model = model_file(run.context.fs, run.lane.model(T), T).facts
    splits = []
    for split in run.lane.splits:
        manifest = read_manifest(run.context.fs, run.lane.reweighted(T, split), f"affinity --iteration={T}")
        splits.append({"name": split, **_coverage(manifest)})
    true, other = _weights(run, shown, T)
    return {
        "iteration": T,
        "splits": splits,
        "scale": model["scale"],
        "bias": model["bias"],
        "offset": model["offset"],
        "split": shown.name,
        "chart": _chart(true, other, shown.name) if len(true) + len(other) else None,
        "pairs": (len(true), len(other)),
    }


def _coverage(manifest: Manifest) -> dict[str, Any]:
    """Of a split's true pairs, those whose label is a candidate of their example, and the mean G of these."""
    pairs, covered, total = (
        sum(part.sums.get(name, 0.0) for part in manifest.parts)
        for name in ("true_pairs", "covered_pairs", "affinity_on_true")
    )
    return {
        "rows": manifest.rows,
        "pairs": int(pairs),
        "share": covered / pairs if pairs else None,
        "mean": total / covered if covered else None,
    }


def _weights(run: ExistingRun, shown: ShownSplit, T: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """G of the candidates that are true labels, and of the others, in a sample."""
    table, labels = shown.reweighted(T, _ROWS), len(run.labels.names)
    where = shown.lane.reweighted(T, shown.name)
    affinity = convert.weighted_lists(table, "candidates", "affinity", labels, where)
    truth = convert.lists(table, "labels", labels, where)
    is_true = entry_positions(truth, row_of_entry(affinity), affinity.indices) >= 0
    return affinity.data[is_true], affinity.data[~is_true]


def _chart(true: NDArray[np.float32], other: NDArray[np.float32], split: str) -> Chart:
    """Shares of the candidates by the logarithm of their G."""
    most = float(max(true.max(initial=0), other.max(initial=0))) or 1.0
    low = max(float(min(true.min(initial=most), other.min(initial=most))), most * _LEAST_SHARE)
    edges = np.geomspace(min(low, most / 2), most * 1.0001, _BINS + 1)
    heights = [
        (name, look, (100 * _counts(values, edges) / max(1, len(values))).tolist())
        for name, look, values in (("other candidates", "c1", other), ("true labels", "c8", true))
    ]
    alt = (
        f"Histogram of G on {split}, on a logarithmic scale: the median of {len(true):,} candidates that are true "
        f"labels is {_median(true)}, of {len(other):,} others {_median(other)}."
    )
    y = Axis.from_zero("% of these candidates", [height for _, _, of_it in heights for height in of_it])
    return histogram(heights, edges.tolist(), Axis("G", edges[0], edges[-1], logarithmic=True), y, alt)


def _counts(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.histogram(np.clip(values.astype(np.float64), edges[0], edges[-1]), edges)[0]


def _median(values: NDArray[np.float32]) -> str:
    return f"{float(np.median(values)):.3g}" if len(values) else "none"
