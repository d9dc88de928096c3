"""What scikit-learn asks of both estimators: X and y in, scores, labels and rankings out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from awe_core.affinities.joint import Point
from awe_core.arranged import ArrangedBlocks, take
from awe_core.arrangement import hash_fractions
from awe_core.examples import Block, Features
from awe_core.kernels.choice import kernel_named
from awe_core.model import Model
from awe_core.ranking import Ranking
from awe_core.rows import runs
from awe_core.scoring import SCORES_BYTES
from awe_core.similarity import all_similarities
from awe_core.targets import Targets
from awe_core.threads import Workers
from awe_core.training.history import EpochRecord, Progress
from awe_core.training.settings import TrainSettings
from awe_core.training.trainer import Trained

LOWEST = float(np.finfo(np.float32).min)
"""Score of a label that cannot be ranked (no candidate), before it has one that others can count with."""


Scorer = Callable[[Features], NDArray[np.float64]]
"""x, [rows, d], → scores [rows, Y]."""


class LabelRanker(ClassifierMixin, BaseEstimator):
    """A ranking of labels by WARP embeddings, as a classifier of label sets or of single labels.

    Attributes
    ----------
    classes_ : the labels, in the order of the columns of `decision_function`, [Y].
    labels_per_row_ : how many labels `predict` names: the mean number of a training example with labels, rounded; 1
        where y is one class a row.
    models_ : Model by iteration.
    history_ : list of `EpochRecord` by iteration; of a `refit` those by which the epochs were chosen.
    n_features_in_ : d.
    """

    models_: list[Model]
    history_: list[list[EpochRecord]]
    classes_: NDArray[Any]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags

    @abstractmethod
    def _scorer(self) -> Scorer:
        """What gives f(x, y) of some rows and all labels, in float64; `LOWEST` where y is no candidate."""

    @abstractmethod
    def rank(self, X: ArrayLike | sp.spmatrix, k: int = 10) -> Ranking:
        """The k best labels of every row."""

    def decision_function(self, X: ArrayLike | sp.spmatrix) -> NDArray[np.float64]:
        """f(x, y) of every row and label.

        Computed in float64 from U and V, so that a row's scores do not depend on the rows beside it. Labels that are no
        candidates of a row, whose G is 0, have 0, or where candidates are not above 0 a little less than the least of
        them: the order is that of `rank`, and what comes after the candidates ties.

        Returns
        -------
        float64 [rows, Y]; where y is one of two classes f(x, second) − f(x, first), [rows].
        """
        features = self._new_features(X)
        found = [np.zeros((0, len(self.classes_))), *(_filled(scores) for _, scores in self._score_runs(features))]
        scores = np.concatenate(found)
        if self._targets.kind == "classes" and len(self.classes_) == 2:
            return np.asarray(scores[:, 1] - scores[:, 0])
        return scores

    def predict(self, X: ArrayLike | sp.spmatrix) -> Any:
        """The best `labels_per_row_` labels of every row, in the form in which y was given to `fit`.

        A ranking has no threshold: all rows get as many labels, or as many as they have candidates. Of single classes a
        row without any candidate gets the first, for scikit-learn knows no row without a class.
        """
        features, k = self._new_features(X), min(self.labels_per_row_, len(self.classes_))
        labels = np.full((features.shape[0], k), -1, dtype=np.int64)
        for rows, scores in self._score_runs(features):
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            labels[rows] = np.where(np.take_along_axis(scores, order, axis=1) > LOWEST, order, -1)
        if self._targets.kind == "classes":
            labels = np.maximum(labels, 0)
        return self._targets.decode(labels)

    def predict_topk(self, X: ArrayLike | sp.spmatrix, k: int = 10, **how: Any) -> NDArray[np.int64]:
        """Places in `classes_` of the labels of `rank`, int64 [rows, k], −1 where a list has ended."""
        return self.rank(X, k, **how).padded(k)

    def score(self, X: ArrayLike | sp.spmatrix, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """P@1: the share of the rows with labels whose best label is a true one; of single classes, the accuracy.

        A label that was not met by `fit` is one that no row is given.
        """
        features = self._new_features(X)
        truth = self._targets.encode(y, strict=False)
        weight = _weights(sample_weight, truth.shape[0]).astype(np.float64)
        if truth.shape[0] != features.shape[0]:
            raise ValueError(f"X has {features.shape[0]} rows and y {truth.shape[0]}")
        weight *= self._targets.labelled(y)
        hits = np.zeros(len(weight))
        for rows, scores in self._score_runs(features):
            hits[rows] = np.asarray(truth[np.arange(rows.start, rows.stop), scores.argmax(axis=1)]).ravel()
            if self._targets.kind != "classes":
                hits[rows] *= scores.max(axis=1) > LOWEST
        if not weight.sum() > 0:
            raise ValueError("no row of y has a label, so there is nothing to score")
        return float(np.average(hits, weights=weight))

    def _score_runs(self, features: Features) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Scores of runs of rows that keep to `scoring.SCORES_BYTES`."""
        step = max(1, SCORES_BYTES // (32 * len(self.classes_)))
        with threadpool_limits(1):
            scores = self._scorer()
            for rows in runs(features.shape[0], step):
                yield rows, scores(features[rows])

    def _new_features(self, X: ArrayLike | sp.spmatrix) -> Features:
        check_is_fitted(self, "models_")
        return canonical(validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float32))

    def _queries(
        self, X: ArrayLike | sp.spmatrix, ids: NDArray[np.int64] | None, seen: sp.csr_matrix | None
    ) -> ArrangedBlocks:
        """Rows to rank, cut as the pipeline cuts them."""
        features = self._new_features(X)
        rows, labels = features.shape[0], len(self.classes_)
        nothing = sp.csr_matrix((rows, labels), dtype=np.float32)
        return self._arranged(_block(features, nothing, np.ones(rows, np.float32), ids, seen))

    # --- Fitting ---

    def _begin(
        self,
        X: ArrayLike | sp.spmatrix,
        y: Any,
        sample_weight: ArrayLike | None,
        ids: NDArray[np.int64] | None,
        seen: sp.csr_matrix | None,
        least_rows: int,
    ) -> Block:
        """Check what is given to `fit`: the examples, with the seed and the targets settled."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be 0 or more and below 1, not {self.validation_fraction}")
        if self.rows_per_part < 1 or self.block_rows < 1:
            raise ValueError(
                f"rows_per_part and block_rows must be 1 or more, not {self.rows_per_part} and {self.block_rows}"
            )
        for fitted in ("models_", "history_"):  # a fit that fails leaves nothing that could be asked
            self.__dict__.pop(fitted, None)
        features = validate_data(self, X, accept_sparse="csr", dtype=np.float32, ensure_min_samples=least_rows)
        self._settle(Targets.of(y))
        examples = self._examples(canonical(features), y, sample_weight, ids, seen)
        if len(np.unique(examples.ids)) < len(examples):
            raise ValueError("ids have to be distinct")
        return examples

    def _settle(self, targets: Targets) -> None:
        self._seed = seed_of(self.random_state)
        self._targets, self.classes_ = targets, targets.classes

    def _examples(
        self,
        features: Features,
        y: Any,
        sample_weight: ArrayLike | None,
        ids: NDArray[np.int64] | None = None,
        seen: sp.csr_matrix | None = None,
    ) -> Block:
        """Rows with their labels; those of weight 0 are left out."""
        labels = self._targets.encode(y)
        if labels.shape[0] != features.shape[0]:
            raise ValueError(f"X has {features.shape[0]} rows and y {labels.shape[0]}")
        weight = _weights(sample_weight, labels.shape[0])
        block = _block(features, labels, weight, ids, seen)
        if weight.all():
            return block
        if not weight.any():
            raise ValueError("the sample_weight of every row is zero: there is nothing to learn from")
        return take(block, np.flatnonzero(weight))

    def _count_labels(self, labels: sp.csr_matrix) -> None:
        """Keep how many labels `predict` names."""
        sizes = np.diff(labels.indptr)
        self.labels_per_row_ = max(1, round(float(sizes[sizes > 0].mean()))) if sizes.any() else 1

    def _divided(self, examples: Block) -> tuple[ArrangedBlocks, ArrangedBlocks | None]:
        """What is trained on, and what is held out for early stopping; None where one side would be empty."""
        held_out = hash_fractions(self._seed, "validation", examples.ids) < self.validation_fraction
        if not held_out.any() or held_out.all():
            return self._arranged(examples), None
        fit, validation = (take(examples, np.flatnonzero(rows)) for rows in (~held_out, held_out))
        return self._arranged(fit), self._arranged(validation)

    def _arranged(self, examples: Block) -> ArrangedBlocks:
        return ArrangedBlocks(examples, self._seed, self.rows_per_part, self.block_rows)

    def _settings(self, **others: Any) -> TrainSettings:
        """The trainer's settings that are parameters of this estimator; `others` go before them."""
        own = self.get_params(deep=False)
        named = {field.name: own[field.name] for field in fields(TrainSettings) if field.name in own}
        return TrainSettings(**{**named, "threads": self._threads(), **others})

    def _as_selected(self, selected: Trained) -> dict[str, Any]:
        """Settings of a training that takes over what another one chose on held out examples."""
        warm = {} if selected.warm_rate is None else {"warm_rate": selected.warm_rate}
        return {"epochs": selected.best_epoch, "horizon": self.epochs, **warm}

    def _threads(self) -> int:
        return int(effective_n_jobs(self.n_jobs))

    @contextmanager
    def _workers(self) -> Iterator[Workers]:
        with threadpool_limits(1), Workers(self._threads()) as workers:
            yield workers

    def _progress(self, name: str) -> Callable[[Progress], None] | None:
        """Prints a line an epoch, where `verbose`."""
        if not self.verbose:
            return None

        def report(progress: Progress) -> None:
            if progress.rows == progress.rows_of_epoch:
                place = f"epoch {progress.epoch} of at most {progress.epochs}, {progress.seconds:.1f} s"
                print(f"[{type(self).__name__}] {name}: {place}")  # noqa: T201 - as scikit-learn's estimators do

        return report


def partial_targets(known: Targets | None, y: Any, classes: Iterable[Any] | None) -> Targets:
    """The targets of `partial_fit`: those of the first call.

    Raises ValueError where the first call has no `classes` though y may have some of them only, or a later one others.
    """
    if known is None:
        found = Targets.of(y, classes)
        if classes is None and found.kind in ("classes", "lists"):
            raise ValueError("classes must be given to the first call of partial_fit: all labels there will be")
        return found
    if classes is not None and not np.array_equal(Targets.of(y, classes).classes, known.classes):
        raise ValueError("classes are not those of the first call of partial_fit")
    return known


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """The seed of all random streams: an integer as it is, else one that is drawn."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _filled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """`decision_function`'s scores from those of a `Scorer`."""
    ranked = scores > LOWEST
    least = np.min(scores, axis=1, initial=0.0, where=ranked)
    return np.where(ranked, scores, np.nextafter(least, -np.inf)[:, None])


class WideModel:
    """A model computed in float64, so that what it says of a row does not depend on the rows beside it."""

    def __init__(self, model: Model) -> None:
        self._U, self._V = model.U.astype(np.float64), model.V.astype(np.float64)
        self._similarity, self._joint = model.similarity, model.joint
        self._own = {name: t if t.dtype.kind == "i" else t.astype(np.float64) for name, t in model.own.items()}

    def f(self, features: Features) -> NDArray[np.float64]:
        """f of all labels where an affinity was learnt jointly: [rows, Y]."""
        assert self._joint is not None
        at = Point(self._U, self._V, self._own)
        return np.asarray(self._joint.all_scores(features.astype(np.float64), at, kernel_named("numpy")))

    def embed(self, features: Features) -> NDArray[np.float32]:
        """Ux, rounded to float32: [rows, D]."""
        return np.asarray(features.astype(np.float64) @ self._U, dtype=np.float32)

    def scores(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """s(Ux, Vy) of all labels: [rows, Y]."""
        return np.asarray(all_similarities(self._similarity, embedding.astype(np.float64), self._V))


def _block(
    features: Features,
    labels: sp.csr_matrix,
    weight: NDArray[np.float32],
    ids: NDArray[np.int64] | None,
    seen: sp.csr_matrix | None,
) -> Block:
    rows = features.shape[0]
    given = np.arange(rows, dtype=np.int64) if ids is None else np.asarray(ids)
    if given.shape != (rows,):
        raise ValueError(f"X has {rows} rows and ids {given.shape}")
    if given.dtype.kind not in "iu":
        raise ValueError(f"ids have to be whole numbers, not {given.dtype}")
    seen = sp.csr_matrix(canonical(sp.csr_matrix(labels.shape if seen is None else seen, dtype=np.float32)))
    seen.eliminate_zeros()
    if seen.shape != labels.shape:
        raise ValueError(f"seen is {seen.shape}, it has to be {labels.shape}: rows by labels")
    return Block(given.astype(np.int64), features, labels, seen, weight)


def canonical(matrix: ArrayLike | sp.spmatrix) -> Features:
    """Sparse rows as CSR with sorted 32-bit indices; what the caller gave stays as it was. Dense rows as they are."""
    if not sp.issparse(matrix):
        return matrix
    rows = sp.csr_matrix(matrix, copy=True)
    rows.sum_duplicates()
    if rows.nnz < 2**31:
        rows.indices, rows.indptr = rows.indices.astype(np.int32), rows.indptr.astype(np.int32)
    return rows


def _weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float32]:
    """float32 [rows], 1 where none is given."""
    if sample_weight is None:
        return np.ones(rows, np.float32)
    weight = check_array(sample_weight, ensure_2d=False, dtype=np.float32, input_name="sample_weight")
    if weight.shape != (rows,):
        raise ValueError(f"sample_weight has to have one value for each of {rows} rows, not the shape {weight.shape}")
    if (weight < 0).any():
        raise ValueError("sample_weight has to be 0 or more")
    return np.asarray(weight, dtype=np.float32)
