"""What an affinity may be made with: values out of range, and values that do not go together, are refused in a line."""

from __future__ import annotations

import math
from typing import Any

import pytest

from awe_core.affinities.joint_kinds import JOINT_KINDS
from awe_core.affinities.settings import KINDS, AffinitySettings, keys_of
from awe_core.affinities.stored import STORED_KINDS

FINITE = {kind: {"lambda_y": 2.0} for kind, stored in STORED_KINDS.items() if stored.lambda_y == "finite"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_settings(kind: Any) -> None:
    settings = AffinitySettings(kind, **FINITE.get(kind, {}))
    assert settings.reads().keys() == {"kind", *keys_of(kind)} if kind in STORED_KINDS else kind in JOINT_KINDS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "nearest"}, "affinity.kind must be one of knn, rbf"),
        ({"embedding": "frist"}, "affinity.embedding must be one of previous, first"),
        ({"mode": "mean"}, "affinity.mode must be one of sum, max"),
        *[({key: 0}, f"affinity.{key} must be 1 or more") for key in ("n", "near_labels", "leaf_rows", "leaf_labels")],
        *[({"n": value}, "affinity.n must be 1 or more and whole") for value in (5.0, "5", None)],
        *[({"input_weight": value}, "finite and 0 or more") for value in (-1.0, math.nan, math.inf)],
        *[({"bias": value}, "finite and 0 or more") for value in (-1.0, math.nan, math.inf)],
        *[({"lambda_x": value}, "finite and above 0") for value in (-1.0, 0.0, math.nan, math.inf)],
        *[({"epsilon": value}, "0 or more and below 1") for value in (-1.0, 1.0, math.nan)],
        *[({"recall": value}, "above 0 and at most 1") for value in (0.0, 2.0, math.nan)],
        *[({"lambda_y": value}, "lambda_y must be above 0") for value in (-2.0, 0.0, math.nan)],
        ({"folds": -4}, "affinity.folds must be 0 or more"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AffinitySettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        *[({"kind": kind}, "needs a finite affinity.lambda_y") for kind in FINITE],
        *[({"kind": kind, "lambda_y": 2.0}, "compares no labels") for kind in ("knn", "cluster")],
        ({"kind": "rbf", "lambda_y": 2.0, "epsilon": 0.1}, "leave out lambda_y"),
        *[({"kind": kind, "lambda_y": 2.0, "bias": 0.5}, "leave one of the two out") for kind in ("rbf", "hybrid")],
        *[({"kind": "cluster", **one}, "has no neighbours") for one in ({"mode": "max"}, {"epsilon": 0.1})],
        ({"kind": "cluster", "recall": 0.9}, "has no neighbours"),
        ({"kind": "rbf", "embedding": "first"}, "made of x itself"),
        *[({"kind": kind, "input_weight": 1.0}, "leave out affinity.input_weight") for kind in ("rbf", *JOINT_KINDS)],
        *[({"kind": kind, "folds": 2}, "leave out affinity.folds") for kind in ("rbf", "cluster", *JOINT_KINDS)],
        ({"folds": 2, "recall": 0.9}, "leave one out"),
    ],
)
def test_values_that_do_not_go_together_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AffinitySettings(**wrong)


def test_a_latent_rbf_may_have_a_bias() -> None:
    assert AffinitySettings("latent-rbf", lambda_y=2.0, bias=0.5).reads()["lambda_y"] == 2.0
