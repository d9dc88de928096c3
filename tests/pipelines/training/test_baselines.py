"""The baselines beside model-0: chosen by the metric that trainings are stopped by."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.baselines import one_vs_rest, pamir, ridge
from pipelines.config import LINEAR
from pipelines.datasets.example_blocks import DatasetBlocks
from pipelines.training.baselines import fit_baseline
from schemas.model_file import ModelFile
from tests.awe_core.blocks import InMemory, block


@pytest.mark.parametrize(("method", "module"), [("ridge", ridge), ("pamir", pamir), ("one-vs-rest", one_vs_rest)])
def test_a_baseline_is_chosen_by_the_metric(method: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def quality(scores: Any, validation: Any, metric: str) -> float:
        asked.append(metric)
        return 0.0

    monkeypatch.setattr(module, "quality", quality)
    rows = cast(DatasetBlocks, InMemory([block(np.eye(3), [[0], [1], [0, 2]], 3)]))
    fit_baseline(method, rows, rows, {"dimension": 3, "labels": 3, "history": False}, None, 0, "ndcg@2", 1)
    assert len(asked) > 1
    assert set(asked) == {"ndcg@2"}


@pytest.mark.parametrize("method", LINEAR)
def test_of_a_history_no_label_is_ranked_by_itself(method: str) -> None:
    """What is left out in training is left out where settings are chosen and where they are used again."""
    items = [[0, 1], [1, 2], [0, 2], [0, 1, 2]]
    x = sp.csr_matrix([[float(item in row) for item in range(3)] for row in items])
    # The last user has items of an earlier split, which are ranked neither for nor against.
    rows = cast(DatasetBlocks, InMemory([block(x, [*items[:3], [0, 1]], 3, seen=[[], [], [], [2]])]))
    facts = {"dimension": 3, "labels": 3, "history": True}
    model, choice = fit_baseline(method, rows, rows, facts, None, 0, "p@1", 1)
    again, _ = fit_baseline(method, rows, None, facts, cast(ModelFile, SimpleNamespace(facts=choice)), 0, "p@1", 1)
    for one in (model, again):
        assert one.weights.any()
        assert not one.weights.diagonal().any()
