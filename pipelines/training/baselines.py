"""The linear baselines that are fitted beside model-0: ridge, PAMIR, One-vs-Rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from awe_core.baselines import one_vs_rest, pamir
from awe_core.baselines.linear import Linear
from awe_core.baselines.passive_aggressive import Choice
from awe_core.baselines.ridge import RidgeFits, choose_penalty
from pipelines.datasets.example_blocks import DatasetBlocks
from schemas.model_file import ModelFile


def fit_baseline(
    method: str,
    fit: DatasetBlocks,
    held_out: DatasetBlocks | None,
    facts: Mapping[str, Any],
    selected: ModelFile | None,
    seed: int,
    metric: str,
    threads: int,
) -> tuple[Linear, dict[str, Any]]:
    """The model and, as a fact of model-0, what validation preferred by `metric`.

    Without a `held_out` split the settings are those of the `selected` model. Of a history every pair's own label is
    left out, as in training.
    """
    d, labels = int(facts["dimension"]), int(facts["labels"])
    history = bool(facts["history"])
    if method == "ridge":
        return _ridge(fit, held_out, d, labels, history, selected, metric)
    fact = f"{method}_choice"
    if held_out is None:
        assert selected is not None
        choice = Choice.from_json(selected.facts[fact])
        if method == "pamir":
            return pamir.fit(fit, d, labels, choice, seed, history), {fact: asdict(choice)}
        return one_vs_rest.fit(fit, d, labels, choice, seed, threads, history), {fact: asdict(choice)}
    if method == "pamir":
        model, choice = pamir.choose(fit, held_out, d, labels, seed, metric, leave_one_out=history)
    else:
        model, choice = one_vs_rest.choose(fit, held_out, d, labels, seed, metric, threads, leave_one_out=history)
    return model, {fact: asdict(choice)}


def _ridge(
    fit: DatasetBlocks,
    held_out: DatasetBlocks | None,
    dimension: int,
    labels: int,
    history: bool,
    selected: ModelFile | None,
    metric: str,
) -> tuple[Linear, dict[str, Any]]:
    fits = RidgeFits.fit((fit[index] for index in range(len(fit.rows_of_block))), dimension, labels, history)
    if held_out is not None:
        penalty = choose_penalty(fits, held_out, metric)
    else:
        assert selected is not None
        penalty = float(selected.facts["ridge_penalty"])
    return fits.solve(penalty), {"ridge_penalty": penalty}
