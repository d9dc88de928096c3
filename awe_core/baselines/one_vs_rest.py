"""One-vs-Rest by passive-aggressive: a binary classifier a label, scikit-learn's, ranked by what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.baselines.linear import Linear, quality
from awe_core.baselines.passive_aggressive import AGGRESSIVENESS, EPOCHS, Choice
from awe_core.examples import BlockSource, Features
from awe_core.rows import stable_order
from awe_core.threads import Workers

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier

_NEGATIVE = -1.0
"""What a classifier says of every x whose training rows were all negative: the hinge's own answer to them."""


def fit(
    source: BlockSource,
    dimension: int,
    labels: int,
    choice: Choice,
    seed: int,
    threads: int = 1,
    leave_one_out: bool = False,
) -> Linear:
    """Train the classifiers of all labels, which know nothing of each other: no result depends on the threads.

    With `leave_one_out` x is a list of labels (feature j stands for label j), and a label's classifier sees all others.
    Memory: all examples at once and the matrix; with `leave_one_out` 16 bytes an entry of x, and its values once more
    a thread.
    """
    x, y, weight = _whole(source)
    features = _Without(x) if leave_one_out else None
    weights, intercept = np.zeros((dimension, labels), np.float32), np.full(labels, _NEGATIVE, np.float32)

    def train(label: int) -> None:
        positive = np.zeros(x.shape[0], bool)
        positive[y.indices[y.indptr[label] : y.indptr[label + 1]]] = True
        if not positive.any() or positive.all():
            intercept[label] = -_NEGATIVE if len(positive) and positive.all() else _NEGATIVE
            return
        seen = x if features is None else features[label]
        classifier = _classifier(choice, seed).fit(seen, positive, sample_weight=weight)
        weights[:, label], intercept[label] = classifier.coef_[0], classifier.intercept_[0]

    with Workers(threads) as workers:
        workers.map(train, labels)
    return Linear(weights, intercept)


def choose(
    source: BlockSource,
    validation: BlockSource,
    dimension: int,
    labels: int,
    seed: int,
    metric: str,
    threads: int = 1,
    aggressiveness: Sequence[float] = AGGRESSIVENESS,
    epochs: int = EPOCHS,
    leave_one_out: bool = False,
) -> tuple[Linear, Choice]:
    """The best model by `metric` on validation: of every C, averaged and not; the first of equals."""
    best: tuple[float, Linear, Choice] | None = None
    for C in aggressiveness:
        for averaged in (True, False):
            choice = Choice(C, epochs, averaged)
            model = fit(source, dimension, labels, choice, seed, threads, leave_one_out)
            score = quality(model.scores, validation, metric)
            if best is None or score > best[0]:
                best = score, model, choice
    assert best is not None
    return best[1], best[2]


class _Without:
    """x with one column set to 0, for any: CSR [rows, d]."""

    def __init__(self, x: Features) -> None:
        if not isinstance(x, sp.csr_matrix):
            raise ValueError("leaving a label out of x needs sparse features, one for each label")
        self._x = x
        self._columns, self._entries = stable_order(x.indices, x.shape[1])

    def __getitem__(self, column: int) -> sp.csr_matrix:
        first, last = np.searchsorted(self._columns, [column, column + 1])
        data = self._x.data.copy()
        data[self._entries[first:last]] = 0
        return sp.csr_matrix((data, self._x.indices, self._x.indptr), shape=self._x.shape)


def _classifier(choice: Choice, seed: int) -> SGDClassifier:
    """PA-I, as scikit-learn has it since its PassiveAggressiveClassifier went: eta0 is C."""
    from sklearn.linear_model import SGDClassifier  # takes a second, which every command would pay

    return SGDClassifier(
        loss="hinge",
        penalty=None,
        learning_rate="pa1",
        eta0=choice.aggressiveness,
        max_iter=choice.epochs,
        tol=None,
        average=choice.averaged,
        random_state=seed,
    )


def _whole(source: BlockSource) -> tuple[Features, sp.csc_matrix, NDArray[np.float32]]:
    """x, the labels by column, and the weights of all blocks."""
    blocks = [source[index] for index in range(len(source.rows_of_block))]
    features = [block.features for block in blocks]
    x = sp.vstack(features, format="csr") if sp.issparse(features[0]) else np.concatenate(features)
    y = sp.vstack([block.labels for block in blocks], format="csc")
    return x, y, np.concatenate([block.weight for block in blocks])
