"""PAMIR (Grangier and Bengio 2008): ranking by a full d × Y matrix, trained by passive-aggressive steps.

For every pair (x, y) of an epoch one label ȳ that x has not is drawn, all alike, and

    τ = min(C, max(0, 1 − w_y·x + w_ȳ·x) / 2‖x‖²),    w_y ← w_y + τ x,    w_ȳ ← w_ȳ − τ x

is the smallest step that ranks y a margin before ȳ, or C where that is smaller. Where x is a list of labels (feature j
stands for label j), x of a pair lacks the pair's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import epoch_order, generator
from awe_core.baselines.linear import Linear, quality
from awe_core.baselines.passive_aggressive import AGGRESSIVENESS, EPOCHS, Choice
from awe_core.examples import Block, BlockSource
from awe_core.rows import union


class Pamir:
    """A training under way: w float64 [Y, d], and what is needed of its mean over all steps.

    Parameters
    ----------
    aggressiveness : C.
    leave_one_out : x is a list of labels, CSR.
    """

    def __init__(
        self, dimension: int, labels: int, aggressiveness: float, seed: int, leave_one_out: bool = False
    ) -> None:
        self._C, self._seed, self._leave_one_out = aggressiveness, seed, leave_one_out
        self._w = np.zeros((labels, dimension))
        # w after step t is the sum of the moves up to t, so its mean is w − Σ t·move / T.
        self._late = np.zeros_like(self._w)
        self._steps = 0
        self._epoch = 0

    def run_epoch(self, source: BlockSource) -> None:
        """Visit every pair once."""
        self._epoch += 1
        for index, rows in epoch_order(list(source.rows_of_block), self._seed, self._epoch):
            self._run_block(source[index], rows, generator(self._seed, "pamir", self._epoch, index))

    def model(self, averaged: bool) -> Linear:
        """The matrix as it stands, or its mean over the steps so far."""
        w = self._w - self._late / max(1, self._steps) if averaged else self._w
        return Linear(w.T.astype(np.float32), np.zeros(len(w), np.float32))

    def _run_block(self, block: Block, rows: NDArray[np.intp], random: np.random.Generator) -> None:
        excluded = union(block.labels, block.seen)
        for row in rows.tolist():
            labels = block.labels.indices[block.labels.indptr[row] : block.labels.indptr[row + 1]]
            barred = excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]]
            others = len(self._w) - len(barred)
            if not len(labels) or not others:
                continue
            # Of the labels that are not barred the r-th: as many are before it as the barred ones it has passed.
            r = random.integers(others, size=len(labels))
            negatives = r + np.searchsorted(barred - np.arange(len(barred)), r, side="right")
            self._step(block, row, labels, negatives)

    def _step(self, block: Block, row: int, labels: NDArray[np.integer], negatives: NDArray[np.integer]) -> None:
        columns, x = _features(block, row)
        squared = float(x @ x)
        limit, weight = self._C, float(block.weight[row])
        for y, other in zip(labels.tolist(), negatives.tolist(), strict=True):
            if self._leave_one_out:
                columns, x = _features(block, row, but=y)
                squared = float(x @ x)
            if not squared:
                continue
            loss = 1.0 - self._w[y, columns] @ x + self._w[other, columns] @ x
            if loss > 0:
                move = weight * min(limit, float(loss) / (2 * squared)) * x
                late = self._steps * move
                self._w[y, columns] += move
                self._w[other, columns] -= move
                self._late[y, columns] += late
                self._late[other, columns] -= late
            self._steps += 1


def _features(
    block: Block, row: int, but: int | None = None
) -> tuple[slice | NDArray[np.integer], NDArray[np.float64]]:
    """Where x is not zero, or everywhere, and its values there; of sparse x without the column `but`."""
    x: Any = block.features
    if not sp.issparse(x):
        if but is not None:
            raise ValueError("leaving a label out of x needs sparse features, one for each label")
        return slice(None), np.asarray(x[row], dtype=np.float64)
    own = slice(x.indptr[row], x.indptr[row + 1])
    columns, values = x.indices[own], x.data[own].astype(np.float64)
    if but is None:
        return columns, values
    kept = columns != but
    return columns[kept], values[kept]


def fit(
    source: BlockSource, dimension: int, labels: int, choice: Choice, seed: int, leave_one_out: bool = False
) -> Linear:
    """Train by settings that were chosen before."""
    training = Pamir(dimension, labels, choice.aggressiveness, seed, leave_one_out)
    for _ in range(choice.epochs):
        training.run_epoch(source)
    return training.model(choice.averaged)


def choose(
    source: BlockSource,
    validation: BlockSource,
    dimension: int,
    labels: int,
    seed: int,
    metric: str,
    aggressiveness: Sequence[float] = AGGRESSIVENESS,
    epochs: int = EPOCHS,
    leave_one_out: bool = False,
) -> tuple[Linear, Choice]:
    """The best model by `metric` on validation: of every C, after every epoch, averaged and not; the first of equals.

    Memory: the matrix three times in float64 (`passive_aggressive.bytes_needed`), and a block.
    """
    best: tuple[float, Linear, Choice] | None = None
    for C in aggressiveness:
        training = Pamir(dimension, labels, C, seed, leave_one_out)
        for epoch in range(1, epochs + 1):
            training.run_epoch(source)
            for averaged in (True, False):
                model = training.model(averaged)
                score = quality(model.scores, validation, metric)
                if best is None or score > best[0]:
                    best = score, model, Choice(C, epoch, averaged)
    assert best is not None
    return best[1], best[2]
