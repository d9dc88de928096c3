"""What the run is of: data, settings, and the figures that one looks for first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.questions.existing_run import ExistingRun
from pipelines.report import look
from pipelines.report.formatting import count, number
from pipelines.report.results import Row, mean_and_spread, rows_by_split
from schemas.manifest import find_manifest
from schemas.tables import SPLITS


def content(run: ExistingRun) -> dict[str, Any]:
    """Facts as (name, value) pairs, the headline, and the configuration as it was resolved."""
    return {
        "headline": headline(rows_by_split(run)),
        "data": _data(run),
        "settings": _settings(run),
        "toml": run.config.to_toml().decode(),
    }


def headline(by_split: Mapping[str, Sequence[Row]]) -> dict[str, Any] | None:
    """P@1 of the methods that the 2013 paper compares, on test where that was scored."""
    split, rows = next(iter(by_split.items()), ("", []))
    compared = [row for row in rows if row["method"] in ("wsabie", "knn-embedding", "awe")]
    tiles = [(look.title(row["method"], row["iteration"]), *mean_and_spread(row, "p@1")) for row in compared]
    return {"split": split, "tiles": tiles} if tiles else None


def _data(run: ExistingRun) -> list[tuple[str, str]]:
    facts, data = run.context.examples("train").facts, run.config.data
    files = data.train if isinstance(data.train, str) else ", ".join(data.train or ())
    rows = [f"{count(run.context.examples(split).rows)} {split}" for split in SPLITS]
    refused = find_manifest(run.context.fs, run.context.run.rejects)
    kind = "sparse" if facts["sparse"] else "dense"
    features = "who the user is" if facts["one_hot"] else f"{count(int(facts['dimension']))} features, {kind}"
    if "mapped_from" in facts:
        features += f", of an RBF kernel at {count(data.landmarks)} landmarks"
    return [
        ("train files", files or "scikit-learn's digits"),
        ("examples", ", ".join(rows)),
        ("x", features),
        ("labels", f"{count(int(facts['labels']))}, {number(_labels_a_row(run))} a row of train"),
        ("siblings", "given" if run.labels.siblings is not None else "no hierarchy"),
        ("rows refused", count(refused.rows if refused else 0)),
    ]


def _labels_a_row(run: ExistingRun) -> float:
    return float(run.labels.counts.sum()) / max(1, run.context.examples("train").rows)


def _settings(run: ExistingRun) -> list[tuple[str, str]]:
    config, D = run.config, int(run.described(run.iteration).facts["settings"]["D"])
    affinity = config.affinity
    neighbours = f", n = {affinity.n}, λx = {number(affinity.lambda_x)}" if affinity.kind == "knn" else ""
    return [
        ("iterations", f"Wsabie and {count(run.iteration)} of AWE" if run.iteration else "Wsabie alone"),
        ("D", count(D)),
        ("affinity", f"{affinity.kind}{neighbours}" if run.iteration else "none"),
        ("learning rate", f"{number(config.train.learning_rate)}, {config.train.optimiser}"),
        ("refit", "on train and validation" if config.train.refit else "no"),
        ("seed", str(config.run.seed)),
    ]
