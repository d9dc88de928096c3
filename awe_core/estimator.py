"""The whole run on arrays: the twin of the Beam pipeline, as a scikit-learn estimator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_is_fitted
from threadpoolctl import threadpool_limits

from awe_core import scoring
from awe_core.affinity import LabelsById, knn_affinity, median_distance, smallest_hashes
from awe_core.arranged import ArrangedBlocks, take
from awe_core.arrangement import hash_fractions
from awe_core.examples import Block, Features
from awe_core.gate import Gate, affinity_scale
from awe_core.kernels import KernelName
from awe_core.knn import prepare, search
from awe_core.knn.approximate import approximate_join
from awe_core.model import Model
from awe_core.neighbours import Neighbours
from awe_core.ranking import Ranking
from awe_core.trainer import EpochRecord, TrainSettings, train

Method = Literal["wsabie", "knn-embedding", "gxf", "awe"]


class AffinityWeightedEmbedding(BaseEstimator):
    """Affinity Weighted Embedding, f(x, y) = (s·G(x, y) + b)·(xᵀUᵀVy + c) (Weston, Weiss, Yee 2013).

    Trains Wsabie, finds every example's nearest neighbours in its embedding, weighs their labels, and trains again
    with that weight; `iterations` times. The same configuration gives the same neighbours, G and predictions as the
    pipeline.

    Parameters
    ----------
    D, C, margin, optimiser, learning_rate, batch, epochs, patience, warm_start, warm_rate, sampler,
    label_bias, kernel
        See `awe_core.trainer.TrainSettings`.
    n, lambda_x, mode, epsilon, offset, bias
        Neighbours of an example, λx in units of 1 / median d², sum or max over the neighbours, ε, c, b.
    recall : of the neighbours of the examples that are trained on, the share to find; 1 finds all. Those of other rows
        are all found.
    iterations : T of the last iteration; 0 is Wsabie alone.
    validation_fraction : of the examples, held out by hash for early stopping.
    rows_per_part, block_rows : how the pipeline would cut the data.
    random_state : the run's seed.

    Attributes
    ----------
    models_ : Model by iteration.
    gates_ : Gate by iteration; the first is None.
    medians_ : m by iteration; the first is None.
    history_ : list of `EpochRecord` by iteration.
    n_features_in_ : d.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> awe = AffinityWeightedEmbedding(D=8, n=10, epochs=3).fit(X[:1500] / 16, y[:1500, None] == range(10))
    >>> awe.predict_topk(X[1500:] / 16, k=3).shape
    (297, 3)
    """

    def __init__(
        self,
        D: int = 64,
        C: float = math.inf,
        margin: float = 1.0,
        optimiser: Literal["adagrad", "sgd"] = "adagrad",
        learning_rate: float = 0.1,
        batch: int = 512,
        epochs: int = 50,
        patience: int = 5,
        warm_start: bool = True,
        warm_rate: float = 0.25,
        sampler: Literal["auto", "geometric", "rounds"] = "auto",
        label_bias: bool = False,
        kernel: KernelName | Literal["auto"] = "auto",
        n: int = 20,
        lambda_x: float = 2.0,
        mode: Literal["sum", "max"] = "sum",
        epsilon: float = 0.0,
        recall: float = 1.0,
        offset: float | Literal["learnt"] = 0.0,
        bias: float = 0.0,
        iterations: int = 1,
        validation_fraction: float = 0.1,
        rows_per_part: int = 16384,
        block_rows: int = 1024,
        random_state: int = 0,
    ) -> None:
        self.D = D
        self.C = C
        self.margin = margin
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.batch = batch
        self.epochs = epochs
        self.patience = patience
        self.warm_start = warm_start
        self.warm_rate = warm_rate
        self.sampler = sampler
        self.label_bias = label_bias
        self.kernel = kernel
        self.n = n
        self.lambda_x = lambda_x
        self.mode = mode
        self.epsilon = epsilon
        self.recall = recall
        self.offset = offset
        self.bias = bias
        self.iterations = iterations
        self.validation_fraction = validation_fraction
        self.rows_per_part = rows_per_part
        self.block_rows = block_rows
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike | sp.spmatrix,
        Y: ArrayLike | sp.spmatrix,
        sample_weight: NDArray[np.float32] | None = None,
        ids: NDArray[np.int64] | None = None,
        seen: sp.csr_matrix | None = None,
    ) -> AffinityWeightedEmbedding:
        """Train all iterations.

        Parameters
        ----------
        X : [rows, d], dense or sparse; computed in float32.
        Y : label indicators [rows, labels], dense or sparse.
        sample_weight : float32 [rows], multiplies the step; does not enter G.
        ids : int64 [rows], distinct; row numbers where not given. Hashes of them decide who is held out.
        seen : [rows, labels], labels that are never drawn as negatives.
        """
        examples = _block(X, Y, ids, seen, sample_weight)
        held_out = hash_fractions(self.random_state, "validation", examples.ids) < self.validation_fraction
        fit = self._arranged(take(examples, np.flatnonzero(~held_out)))
        validation = self._arranged(take(examples, np.flatnonzero(held_out)))
        self.n_features_in_ = examples.features.shape[1]
        self.labels_ = examples.labels.shape[1]
        self.models_: list[Model] = []
        self.gates_: list[Gate | None] = []
        self.medians_: list[float | None] = []
        self.history_: list[list[EpochRecord]] = []
        self._base = fit
        with threadpool_limits(1):
            for iteration in range(self.iterations + 1):
                gate, start = None, None
                if iteration:
                    self.medians_.append(self._median(iteration))
                    fit = fit.with_affinities(self._affinities(fit, iteration))
                    validation = validation.with_affinities(self._affinities(validation, iteration))
                    gate = Gate(affinity_scale(fit), self.bias)
                    start = self.models_[-1] if self.warm_start else None
                else:
                    self.medians_.append(None)
                trained = train(
                    fit,
                    validation,
                    labels=self.labels_,
                    dimension=self.n_features_in_,
                    settings=self._settings(iteration),
                    seed=self.random_state,
                    iteration=iteration,
                    gate=gate,
                    start=start,
                )
                self.models_.append(trained.model)
                self.gates_.append(gate)
                self.history_.append(trained.history)
        return self

    def rank(
        self,
        X: ArrayLike | sp.spmatrix,
        k: int = 10,
        method: Method | None = None,
        iteration: int | None = None,
        ids: NDArray[np.int64] | None = None,
        seen: sp.csr_matrix | None = None,
    ) -> Ranking:
        """The k best labels of every row, best first, ties by label.

        Parameters
        ----------
        X : [rows, d].
        k : length of the lists; a row with fewer candidates has a shorter one.
        method : what to rank by; `awe` where not given, or `wsabie` where there is no affinity.
        iteration : T; the last one where not given.
        ids : int64 [rows]: a row that was trained on is not its own neighbour. Without ids all rows are new.
        seen : [rows, labels], labels that are not ranked.
        """
        check_is_fitted(self, "models_")
        last = self.iterations if iteration is None else iteration
        chosen = method or ("awe" if last else "wsabie")
        if chosen not in get_args(Method) or (chosen != "wsabie" and not last):
            raise ValueError(f"method {chosen!r} is none of {', '.join(get_args(Method))} at iteration {last}")
        rows = X.shape[0] if hasattr(X, "shape") else len(X)  # type: ignore[arg-type]
        ids = _new_ids(self._base.whole.ids, rows) if ids is None else ids
        queries = self._arranged(_block(X, sp.csr_matrix((rows, self.labels_)), ids, seen, None))
        with threadpool_limits(1):
            if chosen == "wsabie":
                rank = scoring.rank_by_model(self.models_[0], k)
            else:
                queries = queries.with_affinities(self._affinities(queries, last))
                rank = self._gated(chosen, last, k)
            return queries.restore([rank(queries[index]) for index in range(len(queries.positions))])

    def predict_topk(self, X: ArrayLike | sp.spmatrix, k: int = 10, **how: Any) -> NDArray[np.int64]:
        """Label ids of `rank` as a rectangle, int64 [rows, k], −1 where a list has ended."""
        return self.rank(X, k, **how).padded(k)

    def affinity(
        self, X: ArrayLike | sp.spmatrix, ids: NDArray[np.int64] | None = None, iteration: int | None = None
    ) -> sp.csr_matrix:
        """G(x, y) of every row: CSR float32 [rows, labels] whose structure is the candidates."""
        check_is_fitted(self, "models_")
        rows = X.shape[0] if hasattr(X, "shape") else len(X)  # type: ignore[arg-type]
        ids = _new_ids(self._base.whole.ids, rows) if ids is None else ids
        queries = self._arranged(_block(X, sp.csr_matrix((rows, self.labels_)), ids, None, None))
        with threadpool_limits(1):
            blocks = self._affinities(queries, self.iterations if iteration is None else iteration)
        order = np.concatenate([np.zeros(0, np.intp), *queries.positions])
        return sp.csr_matrix(sp.vstack(blocks, format="csr")[np.argsort(order)])

    def _settings(self, iteration: int) -> TrainSettings:
        return TrainSettings(
            D=self.D,
            C=self.C,
            margin=self.margin,
            optimiser=self.optimiser,
            learning_rate=self.learning_rate,
            batch=self.batch,
            epochs=self.epochs,
            patience=self.patience,
            warm_start=self.warm_start,
            warm_rate=self.warm_rate,
            offset=self.offset if iteration else 0.0,
            sampler=self.sampler,
            label_bias=self.label_bias,
            kernel=self.kernel,
        )

    def _arranged(self, examples: Block) -> ArrangedBlocks:
        return ArrangedBlocks(examples, self.random_state, self.rows_per_part, self.block_rows)

    def _embedded_base(self, iteration: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        model = self.models_[iteration - 1]
        order = np.concatenate(self._base.positions)
        return self._base.whole.ids[order], np.concatenate(self._base.map(lambda block: model.embed(block.features)))

    def _median(self, iteration: int) -> float:
        ids, vectors = self._embedded_base(iteration)
        sample = smallest_hashes(self.random_state, ids)
        base = prepare(ids, vectors)
        runs = [sample[start : start + self.block_rows] for start in range(0, len(sample), self.block_rows)]
        found = [search(base, base.alike(ids[run], vectors[run]), self.n) for run in runs]
        return median_distance(np.concatenate([near.distances for near in found]))

    def neighbours(self, queries: ArrangedBlocks, iteration: int) -> list[Neighbours]:
        """The join: neighbours of every block of queries in the embedding of the iteration before."""
        if self.recall < 1 and queries.whole is self._base.whole:
            return self._approximate_neighbours(iteration)
        base, model = prepare(*self._embedded_base(iteration)), self.models_[iteration - 1]
        found = []
        for index in range(len(queries.positions)):
            block = queries[index]
            found.append(search(base, base.alike(block.ids, model.embed(block.features)), self.n))
        return found

    def _approximate_neighbours(self, iteration: int) -> list[Neighbours]:
        """Of every block of the base, in the base; found by lists."""
        ids, vectors = self._embedded_base(iteration)
        found, _ = approximate_join(ids, vectors, self.n, self.recall, self.random_state)
        ends = np.cumsum([len(rows) for rows in self._base.positions])
        rows = [slice(end - len(these), end) for end, these in zip(ends, self._base.positions, strict=True)]
        return [replace(found, ids=found.ids[these], distances=found.distances[these]) for these in rows]

    def _affinities(self, queries: ArrangedBlocks, iteration: int) -> list[sp.csr_matrix]:
        labels = LabelsById.of(self._base.whole.ids, self._base.whole.labels)
        median = self.medians_[iteration]
        assert median is not None
        return [
            knn_affinity(found, labels, self.lambda_x / median, self.mode, self.epsilon)
            for found in self.neighbours(queries, iteration)
        ]

    def _gated(self, method: str, iteration: int, k: int) -> scoring.Rank:
        gate, model = self.gates_[iteration], self.models_[iteration]
        assert gate is not None
        if method == "knn-embedding":
            return scoring.rank_by_affinity(k)
        if method == "gxf":
            before = self.models_[iteration - 1]
            return scoring.rank_by_gated_model(Model(before.U, before.V, model.offset), gate, k)
        return scoring.rank_by_gated_model(model, gate, k)


def _block(
    X: ArrayLike | sp.spmatrix,
    Y: ArrayLike | sp.spmatrix,
    ids: NDArray[np.int64] | None,
    seen: sp.csr_matrix | None,
    weight: NDArray[np.float32] | None,
) -> Block:
    features: Features = check_array(X, accept_sparse="csr", dtype=np.float32, input_name="X")
    features = _sorted_copy(features) if sp.issparse(features) else features
    labels = _sorted_copy(Y)
    labels.eliminate_zeros()
    rows = features.shape[0]
    if labels.shape[0] != rows:
        raise ValueError(f"X has {rows} rows and Y {labels.shape[0]}")
    return Block(
        ids=np.arange(rows) if ids is None else np.asarray(ids, np.int64),
        features=features,
        labels=labels,
        seen=sp.csr_matrix(labels.shape, dtype=np.float32) if seen is None else _sorted_copy(seen),
        weight=np.ones(rows, np.float32) if weight is None else np.asarray(weight, np.float32),
    )


def _sorted_copy(matrix: ArrayLike | sp.spmatrix) -> sp.csr_matrix:
    """As CSR with sorted indices; what the caller gave stays as it was."""
    rows = sp.csr_matrix(matrix, copy=True)
    rows.sort_indices()
    return rows


def _new_ids(known: Sequence[int] | NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Ids for rows that were never trained on."""
    return np.arange(rows, dtype=np.int64) + int(np.max(known, initial=-1)) + 1
