"""The baselines beside model-0: chosen by the metric that trainings are stopped by."""

from __future__ import annotations

from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

from awe_core.baselines import one_vs_rest, pamir, ridge
from pipelines.datasets.example_blocks import DatasetBlocks
from pipelines.training.baselines import fit_baseline
from tests.awe_core.blocks import InMemory, block


@pytest.mark.parametrize(("method", "module"), [("ridge", ridge), ("pamir", pamir), ("one-vs-rest", one_vs_rest)])
def test_a_baseline_is_chosen_by_the_metric(method: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def quality(scores: Any, validation: Any, metric: str) -> float:
        asked.append(metric)
        return 0.0

    monkeypatch.setattr(module, "quality", quality)
    rows = cast(DatasetBlocks, InMemory([block(np.eye(3), [[0], [1], [0, 2]], 3)]))
    fit_baseline(method, rows, rows, {"dimension": 3, "labels": 3}, None, 0, "ndcg@2", 1)
    assert len(asked) > 1
    assert set(asked) == {"ndcg@2"}
