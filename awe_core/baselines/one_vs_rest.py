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
from awe_core.threads import Workers

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier

_NEGATIVE = -1.0
"""What a classifier says of every x whose training rows were all negative: the hinge's own answer to them."""


def fit(source: BlockSource, dimension: int, labels: int, choice: Choice, seed: int, threads: int = 1) -> Linear:
    """Train the classifiers of all labels, which know nothing of each other: no result depends on the threads.

    Memory: all examples at once, and the matrix.
    """
    x, y, weight = _whole(source)
    weights, intercept = np.zeros((dimension, labels), np.float32), np.full(labels, _NEGATIVE, np.float32)

    def train(label: int) -> None:
        positive = np.zeros(x.shape[0], bool)
        positive[y.indices[y.indptr[label] : y.indptr[label + 1]]] = True
        if not positive.any() or positive.all():
            intercept[label] = -_NEGATIVE if len(positive) and positive.all() else _NEGATIVE
            return
        classifier = _classifier(choice, seed).fit(x, positive, sample_weight=weight)
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
) -> tuple[Linear, Choice]:
    """The best model by `metric` on validation: of every C, averaged and not; the first of equals."""
    best: tuple[float, Linear, Choice] | None = None
    for C in aggressiveness:
        for averaged in (True, False):
            choice = Choice(C, epochs, averaged)
            model = fit(source, dimension, labels, choice, seed, threads)
            score = quality(model.scores, validation, metric)
            if best is None or score > best[0]:
                best = score, model, choice
    assert best is not None
    return best[1], best[2]


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
