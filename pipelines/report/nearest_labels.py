"""The labels nearest to a label by the cosine of V (2011, table 2), siblings marked."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.questions.existing_run import ExistingRun
from pipelines.questions.nearest import LabelSpace

_LABELS, _NEAR = 100, 10


def content(run: ExistingRun) -> dict[str, Any] | None:
    """A row for each of the most frequent labels; None where there is one label only."""
    labels = run.labels
    if len(labels.names) < 2:
        return None
    frequent = np.lexsort((np.arange(len(labels.names)), -labels.counts))[:_LABELS].tolist()
    space = LabelSpace(run.label_vectors(), labels.siblings)
    rows = []
    for label in frequent:
        near = [(labels.names[each.label], each.cosine, each.sibling) for each in space.nearest(label, _NEAR)]
        rows.append({"name": labels.names[label], "count": int(labels.counts[label]), "near": near})
    return {
        "rows": rows,
        "all": len(labels.names),
        "hierarchy": labels.siblings is not None,
        "iteration": run.iteration,
    }
