"""Predictions are made anew when something that they depend on is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import annotate, train
from pipelines.stage import Context
from tests.pipelines import ingested


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to model-0."""
    root = tmp_path_factory.mktemp("annotate") / "run"
    rng = np.random.default_rng(0)
    data = ingested.write_npz(root.parent / "rows.npz", X=rng.normal(size=(120, 4)), y=rng.integers(0, 5, 120))
    ingested.run(root, train=data)
    made = context(root)
    train.main(made, made.lanes()[0], 0)
    return root


def context(root: Path, **affinity: Any) -> Context:
    return ingested.context(
        root,
        data={"train": str(root.parent / "rows.npz")},
        train={"D": 4, "batch": 32, "epochs": 1},
        affinity={"n": 5, **affinity},
        evaluate={"methods": ["knn"]},
    )


@pytest.mark.parametrize(
    "other", [{"epsilon": 0.9}, {"n": 3}, {"lambda_x": 5.0}, {"mode": "max"}], ids=lambda other: next(iter(other))
)
def test_the_method_knn_is_ranked_again_when_its_neighbours_count_for_something_else(
    trained: Path, other: dict[str, Any]
) -> None:
    def predicted(**affinity: Any) -> list[str]:
        made = context(trained, **affinity)
        annotate.main(made, made.lanes()[0], 0)
        return [part.name for part in ingested.manifest(trained, "predictions-0/knn/test").parts]

    assert predicted() == predicted(recall=0.5)  # which is of another join
    assert predicted() != predicted(**other)
