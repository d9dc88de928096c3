"""Which sampler an epoch draws its negatives by, from a model of what each costs."""

from __future__ import annotations

from typing import Literal

from awe_core.warp.pooled import POOL_LABELS

Sampler = Literal["geometric", "rounds", "pooled"]

# Measured in one thread with D = 64, in units of one score of a dense product (1.5 ns): finding the violators among
# one score; one label drawn, gathered and scored; and one label of a pool, with its share of three products.
_COMPARE = 1.3
_DRAW = 40.0
_POOLED = 5.0

FIRST_DRAWS = 32.0
"""Draws that a pair is taken to need before an epoch has counted them; on Gowalla epochs counted 5 to 120 of them."""


def costs(labels: int, pairs_of_row: float, draws: float) -> dict[Sampler, float]:
    """Cost of a pair under each sampler, in units of one score of a dense matrix product.

    Parameters
    ----------
    labels : Y.
    pairs_of_row : mean number of pairs of the examples that have any: they share one row of scores.
    draws : expected number of draws to a violator, or to giving up.
    """
    return {
        "geometric": labels * (1 / max(1.0, pairs_of_row) + min(_COMPARE, 6 / max(1.0, pairs_of_row))),
        "rounds": _DRAW * min(draws, labels),
        "pooled": _POOLED * POOL_LABELS,
    }


def choose_sampler(labels: int, pairs_of_row: float, draws: float, candidates_only: bool) -> Sampler:
    """The cheapest sampler; of equally cheap ones the first of geometric, pooled and rounds.

    Where only candidates have a gate all of them are scored: that costs what their number does, not Y, and no pool of
    labels would hit them.
    """
    if candidates_only:
        return "geometric"
    cost = costs(labels, pairs_of_row, draws)
    order: tuple[Sampler, ...] = ("geometric", "pooled", "rounds")
    return min(order, key=lambda sampler: cost[sampler])
