"""The whole run on arrays, as scikit-learn estimators: `Wsabie`, and `AffinityWeightedEmbedding` on top of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from awe_core import scoring
from awe_core.affinities.joint import Joint
from awe_core.affinities.joint_kinds import JOINT_KINDS, JointKind, joint_named
from awe_core.affinities.pair_matrix import pairs_of_model
from awe_core.affinities.settings import AffinitySettings
from awe_core.affinities.stored import STORED_KINDS, StoredKind
from awe_core.arranged import ArrangedBlocks
from awe_core.arrangement import hash_key
from awe_core.examples import Features
from awe_core.folds import without_each
from awe_core.gate import Gate, affinity_scale
from awe_core.kernels.kernel import KernelName
from awe_core.label_ranker import LOWEST, LabelRanker, Scorer, WideModel, canonical, partial_targets
from awe_core.model import Model
from awe_core.ranking import Ranking
from awe_core.rows import row_of_entry
from awe_core.similarity import Similarity
from awe_core.stored_affinity import Making, StoredAffinity
from awe_core.threads import Workers
from awe_core.training.optimisers import OptimiserName
from awe_core.training.schedule import Schedule
from awe_core.training.settings import TrainSettings
from awe_core.training.trainer import Trained, train
from awe_core.warp.rank_weights import Alpha
from awe_core.warp.samplers import Sampler

_PAIR_LABELS = 50
Method = Literal["wsabie", "knn-embedding", "gxf", "awe"]


class Wsabie(LabelRanker):
    """Wsabie, f(x, y) = xᵀUᵀVy, trained by WARP (Weston, Bengio, Usunier 2011).

    Parameters
    ----------
    D, C, margin, optimiser, learning_rate, schedule, batch, epochs, min_epochs, patience, sampler, alpha, top_k,
    similarity, label_bias, kernel
        See `awe_core.training.settings.TrainSettings`.
    validation_fraction : of the examples, held out by hash for early stopping; 0 trains for exactly `epochs`, as does a
        data set so small that nobody is held out.
    validation_sample : of those, how many are looked at after an epoch; None for all.
    metric : of their ranked labels, by which training stops: "p@k", "recall@k", "ndcg@k" or "map@k".
    refit : train once more, on all examples, for as many epochs as were best for those held out.
    rows_per_part, block_rows : how the pipeline would cut the data.
    random_state : an integer is the seed of all random streams; from None or a generator one is drawn.
    n_jobs : threads; no result depends on it.
    verbose : 1 prints a line an epoch.

    Attributes
    ----------
    classes_, labels_per_row_, models_, history_, n_features_in_ : see `awe_core.label_ranker.LabelRanker`; models and
        histories are lists of one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> wsabie = Wsabie(D=8, epochs=3).fit(X[:1500] / 16, y[:1500])
    >>> wsabie.predict(X[1500:] / 16).shape
    (297,)
    >>> tags = Wsabie(D=4, epochs=3).fit([[1.0, 0], [0, 1], [1, 1]], [["red"], ["blue"], ["blue", "red"]])
    >>> tags.classes_.tolist()
    ['blue', 'red']
    """

    def __init__(
        self,
        D: int = 64,
        C: float = math.inf,
        margin: float = 1.0,
        optimiser: OptimiserName = "adagrad",
        learning_rate: float = 0.03,
        schedule: Schedule = "constant",
        batch: int = 512,
        epochs: int = 50,
        min_epochs: int = 1,
        patience: int = 5,
        sampler: Sampler | Literal["auto"] = "auto",
        alpha: Alpha = "1/j",
        top_k: int = 1,
        similarity: Similarity = "dot",
        label_bias: bool = False,
        kernel: KernelName | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        validation_sample: int | None = None,
        metric: str = "ndcg@5",
        refit: bool = False,
        rows_per_part: int = 16384,
        block_rows: int = 1024,
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.D = D
        self.C = C
        self.margin = margin
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch = batch
        self.epochs = epochs
        self.min_epochs = min_epochs
        self.patience = patience
        self.sampler = sampler
        self.alpha = alpha
        self.top_k = top_k
        self.similarity = similarity
        self.label_bias = label_bias
        self.kernel = kernel
        self.validation_fraction = validation_fraction
        self.validation_sample = validation_sample
        self.metric = metric
        self.refit = refit
        self.rows_per_part = rows_per_part
        self.block_rows = block_rows
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike | sp.spmatrix,
        y: Any,
        sample_weight: ArrayLike | None = None,
        ids: NDArray[np.int64] | None = None,
        seen: sp.csr_matrix | None = None,
    ) -> Self:
        """Train anew. The parameters are those of `AffinityWeightedEmbedding.fit`."""
        examples = self._begin(X, y, sample_weight, ids, seen, least_rows=1)
        self._count_labels(examples.labels)
        fit, validation = self._divided(examples)
        selected = self._train(fit, validation, self._settings(), "Wsabie")
        trained = selected
        if self.refit and validation is not None:
            settings = self._settings(**self._as_selected(selected))
            trained = self._train(self._arranged(examples), None, settings, "Wsabie of all")
        self.models_, self.history_, self._calls = [trained.model], [selected.history], 0
        return self

    def _train(
        self, fit: ArrangedBlocks, validation: ArrangedBlocks | None, settings: TrainSettings, named: str
    ) -> Trained:
        shape = len(self.classes_), self.n_features_in_
        return train(fit, validation, *shape, settings, self._seed, on_progress=self._progress(named))

    def partial_fit(
        self,
        X: ArrayLike | sp.spmatrix,
        y: Any,
        classes: Iterable[Any] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """One epoch over these rows, from the model and AdaGrad's sums as they stand.

        Nothing is held out and nothing stops early; `epochs`, `patience` and `validation_fraction` are not looked at.
        `labels_per_row_` is that of the last rows given.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`.
        classes : all labels there will be, in the first call; an indicator's columns say it by themselves.
        """
        first = not hasattr(self, "models_")
        targets = partial_targets(None if first else self._targets, y, classes)
        features = validate_data(self, X, reset=first, accept_sparse="csr", dtype=np.float32)
        if first:
            self._settle(targets)
        examples = self._examples(canonical(features), y, sample_weight)
        self._count_labels(examples.labels)
        calls = 0 if first else self._calls + 1
        trained = train(
            self._arranged(examples),
            None,
            labels=len(self.classes_),
            dimension=self.n_features_in_,
            settings=self._settings(epochs=1, warm_rate=1.0),
            # An epoch's random streams are keyed by the seed: every call has one of its own.
            seed=int(hash_key(self._seed, f"partial fit/{calls}")),
            start=None if first else self.models_[0],
            on_progress=self._progress(f"call {calls + 1}"),
        )
        history = [] if first else self.history_[0]
        self.models_, self._calls = [trained.model], calls
        self.history_ = [[*history, *(replace(record, epoch=len(history) + 1) for record in trained.history)]]
        return self

    def rank(self, X: ArrayLike | sp.spmatrix, k: int = 10, seen: sp.csr_matrix | None = None) -> Ranking:
        """The k best labels of every row, best first, ties by label; `seen` [rows, labels] are not ranked."""
        queries = self._queries(X, None, seen)
        with threadpool_limits(1):
            return queries.restore(queries.map(scoring.rank_by_model(self.models_[0], k)))

    def _scorer(self) -> Scorer:
        model = WideModel(self.models_[0])
        return lambda features: model.scores(model.embed(features))


class AffinityWeightedEmbedding(LabelRanker):
    """Affinity Weighted Embedding, f(x, y) = (s·G(x, y) + b)·(xᵀUᵀVy + c) (Weston, Weiss, Yee 2013).

    Trains Wsabie, finds every example's nearest neighbours in its embedding, weighs their labels, and trains again
    with that weight; `iterations` times. The same configuration gives the same neighbours, G and predictions as the
    pipeline. There is no `partial_fit`: new rows would change the neighbours, and so G, of all rows before them.

    Parameters
    ----------
    D, C, margin, optimiser, learning_rate, schedule, batch, epochs, min_epochs, patience, warm_start, warm_rate,
    sampler, alpha, top_k, label_bias, kernel
        See `awe_core.training.settings.TrainSettings`.
    kind : of the affinity: one that is stored (`awe_core.affinities.stored`) or one that is learnt jointly with U and V
        (`awe_core.affinities.joint_kinds`), which has no neighbours, no G to ask for and no method but `awe`.
    kind_params : of a kind that is learnt jointly, by name: `{"rank": 8}`, say. Those of the pair matrix are `other`,
        and `pairs`, CSR [d, labels], or `pair_labels`, how many of a feature are taken from the model before.
    n, lambda_x, mode, epsilon, offset, bias
        Neighbours of an example, λx in units of 1 / median d², sum or max over the neighbours, ε, c, b.
    lambda_y, near_labels
        λy in units of 1 / median squared distance of labels; the nearest other labels of a label that the latent RBF
        counts.
    leaf_rows, leaf_labels : of the clusters: training examples of a leaf at the most, and N.
    embedding : the model whose neighbours or leaves are taken: of the iteration before, or always Wsabie.
    folds : F; from 2 on examples have G of models trained without their own fold (`awe_core.folds`).
    input_weight : ρ, how much of x stands beside Ux where neighbours or leaves are looked for
        (`awe_core.neighbour_space`); 0 is Ux alone.
    recall : of the neighbours of the examples that are trained on, the share to find; 1 finds all. Those of other rows
        are all found.
    iterations : T of the last iteration; 0 is Wsabie alone.
    validation_fraction : of the examples, held out by hash for early stopping.
    validation_sample : of those, how many are looked at after an epoch; None for all.
    metric : of their ranked labels, by which training stops: "p@k", "recall@k", "ndcg@k" or "map@k".
    refit : make all iterations once more, of all examples, with the epochs and warm rates that were best for those held
        out. Of the same rows the pipeline's is another model, as good: it walks them in another order.
    rows_per_part, block_rows : how the pipeline would cut the data.
    random_state : an integer is the run's seed; from None or a generator one is drawn.
    n_jobs : threads; no result depends on it.
    verbose : 1 prints a line an epoch.

    Attributes
    ----------
    classes_, labels_per_row_, models_, history_, n_features_in_ : see `awe_core.label_ranker.LabelRanker`.
    gates_ : Gate by iteration; the first is None.
    medians_ : m of λx by iteration; None where there is none, as in the first.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> awe = AffinityWeightedEmbedding(D=8, n=10, epochs=3).fit(X[:1500] / 16, y[:1500, None] == range(10))
    >>> awe.predict_topk(X[1500:] / 16, k=3).shape
    (297, 3)
    >>> awe.score(X[1500:] / 16, y[1500:, None] == range(10)) > 0.7
    True
    """

    gates_: list[Gate | None]
    medians_: list[float | None]

    def __init__(
        self,
        D: int = 64,
        C: float = math.inf,
        margin: float = 1.0,
        optimiser: OptimiserName = "adagrad",
        learning_rate: float = 0.03,
        schedule: Schedule = "constant",
        batch: int = 512,
        epochs: int = 50,
        min_epochs: int = 1,
        patience: int = 5,
        warm_start: bool = True,
        warm_rate: float = 0.25,
        sampler: Sampler | Literal["auto"] = "auto",
        alpha: Alpha = "1/j",
        top_k: int = 1,
        label_bias: bool = False,
        kernel: KernelName | Literal["auto"] = "auto",
        kind: StoredKind | JointKind = "knn",
        kind_params: Mapping[str, Any] | None = None,
        n: int = 50,
        lambda_x: float = 4.0,
        lambda_y: float = math.inf,
        near_labels: int = 10,
        mode: Literal["sum", "max"] = "sum",
        epsilon: float = 0.0,
        recall: float = 1.0,
        leaf_rows: int = 500,
        leaf_labels: int = 50,
        embedding: Literal["previous", "first"] = "previous",
        input_weight: float = 0.0,
        folds: int = 1,
        offset: float | Literal["learnt"] = 0.0,
        bias: float = 0.0,
        iterations: int = 1,
        validation_fraction: float = 0.1,
        validation_sample: int | None = None,
        metric: str = "ndcg@5",
        refit: bool = False,
        rows_per_part: int = 16384,
        block_rows: int = 1024,
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.D = D
        self.C = C
        self.margin = margin
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch = batch
        self.epochs = epochs
        self.min_epochs = min_epochs
        self.patience = patience
        self.warm_start = warm_start
        self.warm_rate = warm_rate
        self.sampler = sampler
        self.alpha = alpha
        self.top_k = top_k
        self.label_bias = label_bias
        self.kernel = kernel
        self.kind = kind
        self.kind_params = kind_params
        self.n = n
        self.lambda_x = lambda_x
        self.lambda_y = lambda_y
        self.near_labels = near_labels
        self.mode = mode
        self.epsilon = epsilon
        self.recall = recall
        self.leaf_rows = leaf_rows
        self.leaf_labels = leaf_labels
        self.embedding = embedding
        self.input_weight = input_weight
        self.folds = folds
        self.offset = offset
        self.bias = bias
        self.iterations = iterations
        self.validation_fraction = validation_fraction
        self.validation_sample = validation_sample
        self.metric = metric
        self.refit = refit
        self.rows_per_part = rows_per_part
        self.block_rows = block_rows
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike | sp.spmatrix,
        y: Any,
        sample_weight: ArrayLike | None = None,
        ids: NDArray[np.int64] | None = None,
        seen: sp.csr_matrix | None = None,
    ) -> Self:
        """Train all iterations.

        Parameters
        ----------
        X : [rows, d], dense or sparse; computed in float32.
        y : one class a row; or label indicators [rows, labels] of 0 and 1, dense or sparse; or a list of labels a row.
        sample_weight : [rows], multiplies the step; does not enter G. A row of weight 0 is left out altogether, where
            the pipeline keeps it as a neighbour.
        ids : int64 [rows], distinct; row numbers where not given. Hashes of them decide who is held out.
        seen : [rows, labels], labels that are never drawn as negatives.

        Raises
        ------
        ValueError : X or y is not what it has to be, a parameter is out of range, or most rows have the same embedding.
        FloatingPointError : training diverged.
        """
        self._check()
        examples = self._begin(X, y, sample_weight, ids, seen, least_rows=2 if self.iterations else 1)
        of_x = self.kind in STORED_KINDS and not STORED_KINDS[self.kind].embedded
        if self.iterations and of_x and self.recall < 1 and sp.issparse(examples.features):
            raise ValueError("affinity.recall: rows of sparse x are joined exactly; leave it out")
        self._count_labels(examples.labels)
        fit, validation = self._divided(examples)
        self._iterate(fit, validation, [])
        if self.refit and validation is not None:
            history = self.history_
            self._iterate(self._arranged(examples), None, self._trained)
            self.history_ = history
        self.models_ = self._models
        return self

    def _iterate(self, fit: ArrangedBlocks, validation: ArrangedBlocks | None, selected: Sequence[Trained]) -> None:
        """Train all iterations; where they are `selected`, for as many epochs as those were kept at."""
        self._trained: list[Trained] = []
        self._models: list[Model] = []
        self.gates_ = []
        self._affinities: list[StoredAffinity | None] = []
        for iteration in range(self.iterations + 1):
            if iteration and not self._jointly:
                fit, validation = self._reweighted(fit, validation, iteration)
            else:
                self._affinities.append(None)
            how = self._as_selected(selected[iteration]) if selected else {}
            self._train(fit, validation, iteration, how)
        self.history_ = [trained.history for trained in self._trained]
        self.medians_ = [affinity.median if affinity else None for affinity in self._affinities]

    @property
    def _jointly(self) -> bool:
        """Whether the affinity is learnt jointly with U and V."""
        return self.kind in JOINT_KINDS

    def _check(self) -> None:
        """Raises ValueError that says in a line what is not known, out of range, or does not go together."""
        settings = self._affinity_settings
        if self.iterations < 0:
            raise ValueError(f"iterations must be 0 or more, not {self.iterations}")
        if settings.out_of_fold and self.iterations > 1 and self.embedding == "previous":
            raise ValueError('folds are of Wsabie\'s embedding: with several iterations give embedding="first"')
        known = _parameters_of(self.kind)
        unknown = sorted(set(self.kind_params or {}) - known)
        if unknown:
            has = f"has {', '.join(sorted(known))}" if known else "has none"
            raise ValueError(f"kind_params: kind {self.kind!r} has no {unknown[0]!r}; it {has}")
        most = (self.kind_params or {}).get("pair_labels", _PAIR_LABELS)
        if most < 1:
            raise ValueError(f"kind_params: pair_labels must be 1 or more, not {most}")

    @property
    def _affinity_settings(self) -> AffinitySettings:
        own = self.get_params(deep=False)
        return AffinitySettings(**{one.name: own[one.name] for one in fields(AffinitySettings)})

    def _joint(self, iteration: int) -> Joint | None:
        """The affinity that an iteration learns with U and V."""
        if not iteration or not self._jointly:
            return None
        given = dict(self.kind_params or {})
        if self.kind == "pair-matrix":
            pairs, most = given.pop("pairs", None), given.pop("pair_labels", _PAIR_LABELS)
            given["listed"] = (
                canonical(sp.csr_matrix(pairs)) if pairs is not None else self._model_pairs(iteration, most)
            )
        return joint_named(self.kind, given)

    def _model_pairs(self, iteration: int, most: int) -> sp.csr_matrix:
        source = self._source(iteration)
        with threadpool_limits(1):
            return pairs_of_model(source.U, source.V, most)

    def _reweighted(
        self, fit: ArrangedBlocks, validation: ArrangedBlocks | None, iteration: int
    ) -> tuple[ArrangedBlocks, ArrangedBlocks | None]:
        """Both sides with G by the embedding of the iteration before, kept with what it is made of."""
        making = Making(self._affinity_settings, self._seed, self._threads(), self.block_rows)
        if iteration > 1 and (self.embedding == "first" or not making.kind.embedded):
            self._affinities.append(self._affinities[-1])  # made of the same as the one before, which both sides have
            return fit, validation
        with threadpool_limits(1):
            made = StoredAffinity.of(making, self._source(iteration), fit)
            self._affinities.append(made)
            fit = fit.with_affinities(self._fitted_affinities(fit, made))
            if validation is not None:
                validation = validation.with_affinities(made.of_rows(validation, own=True))
        return fit, validation

    def _fitted_affinities(self, fit: ArrangedBlocks, made: StoredAffinity) -> list[sp.csr_matrix]:
        """G of the examples that are trained on."""
        return made.out_of_fold(fit, self._fold_models(fit)) if self.folds > 1 else made.of_fitted(fit)

    def _fold_models(self, fit: ArrangedBlocks) -> list[Model]:
        """Wsabie by fold, trained on the others for as many epochs as the one that was trained on all."""
        at_once = min(self.folds, self._threads())
        threads = max(1, self._threads() // at_once)
        settings = self._settings(offset=0.0, epochs=self._trained[0].best_epoch, horizon=self.epochs, threads=threads)
        shape = len(self.classes_), self.n_features_in_
        with Workers(at_once) as workers:
            return workers.each(
                lambda others: train(others, None, *shape, settings, self._seed).model,
                without_each(fit, self._seed, self.folds),
            )

    def _source(self, iteration: int) -> Model:
        """The model whose U and V the affinity of an iteration is made of."""
        return self._models[iteration - 1 if self.embedding == "previous" else 0]

    def _train(
        self, fit: ArrangedBlocks, validation: ArrangedBlocks | None, iteration: int, how: Mapping[str, Any]
    ) -> None:
        stored = iteration > 0 and not self._jointly
        gate = Gate(affinity_scale(fit), self.bias) if stored else None
        trained = train(
            fit,
            validation,
            labels=len(self.classes_),
            dimension=self.n_features_in_,
            settings=self._settings(offset=self.offset if stored else 0.0, affinity=self._joint(iteration), **how),
            seed=self._seed,
            iteration=iteration,
            gate=gate,
            start=self._models[-1] if iteration and self.warm_start else None,
            on_progress=self._progress(f"iteration {iteration}"),
        )
        self._trained.append(trained)
        self._models.append(trained.model)
        self.gates_.append(gate)

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
        last = self._iteration(iteration)
        chosen = method or ("awe" if last else "wsabie")
        if chosen not in get_args(Method) or (chosen != "wsabie" and not last):
            raise ValueError(f"method {chosen!r} is none of {', '.join(get_args(Method))} at iteration {last}")
        joint = self.models_[last].joint
        if joint is not None and chosen in ("knn-embedding", "gxf"):
            raise ValueError(f"method {chosen!r} ranks by a G that is stored, and kind {joint.kind!r} has none")
        queries = self._queries(X, ids, seen)
        with threadpool_limits(1):
            if chosen == "wsabie" or joint is not None:
                rank = scoring.rank_by_model(self.models_[last if chosen == "awe" else 0], k)
            else:
                made = self._affinities[last]
                assert made is not None
                queries = queries.with_affinities(made.of_rows(queries, own=ids is not None))
                rank = self._gated(chosen, last, k)
            return queries.restore(queries.map(rank))

    def affinity(
        self, X: ArrayLike | sp.spmatrix, ids: NDArray[np.int64] | None = None, iteration: int | None = None
    ) -> sp.csr_matrix:
        """G(x, y) of every row: CSR float32 [rows, labels] whose structure is the candidates.

        Of a row that was trained on too it is made by the model of all, whatever `folds` are. Raises ValueError where
        no G is stored.
        """
        last = self._iteration(iteration)
        made = self._affinities[last]
        if made is None:
            which = f"kind {self.kind!r} is learnt with U and V and" if last else "iteration 0 is Wsabie's and"
            raise ValueError(f"{which} stores no G")
        queries = self._queries(X, ids, None)
        with threadpool_limits(1):
            blocks = made.of_rows(queries, own=ids is not None)
        order = np.concatenate([np.zeros(0, np.intp), *queries.positions])
        return sp.csr_matrix(sp.vstack(blocks, format="csr")[np.argsort(order)])

    def _scorer(self) -> Scorer:
        last, gate = len(self.models_) - 1, self.gates_[-1]
        model = WideModel(self.models_[last])
        if self.models_[last].joint is not None:
            return model.f
        if gate is None:
            return lambda features: model.scores(model.embed(features))
        made, before = self._affinities[last], WideModel(self._source(last))
        assert made is not None
        weighing, where = made.of_new(), made.where

        def scores(features: Features) -> NDArray[np.float64]:
            places = features if where is None else where.beside(before.embed(features), features)
            affinity = weighing.of(places).affinity
            embedding = model.embed(features)
            if not gate.bias:
                return self._candidate_scores(gate, embedding, affinity)
            weights = np.full(affinity.shape, gate.bias, dtype=np.float64)
            weights[row_of_entry(affinity), affinity.indices] += gate.scale * affinity.data
            return weights * (model.scores(embedding) + self.models_[last].offset)

        return scores

    def _candidate_scores(
        self, gate: Gate, embedding: NDArray[np.float32], affinity: sp.csr_matrix
    ) -> NDArray[np.float64]:
        scores = np.full(affinity.shape, LOWEST)
        gated = scoring.gated_scores(self.models_[-1], gate, embedding.astype(np.float64), affinity)
        scores[row_of_entry(gated), gated.indices] = gated.data
        return scores

    def _iteration(self, asked: int | None) -> int:
        """T, the last where none is asked for."""
        check_is_fitted(self, "models_")
        last = len(self.models_) - 1
        if asked is not None and not 0 <= asked <= last:
            raise ValueError(f"iteration must be from 0 to {last}, not {asked}")
        return last if asked is None else asked

    def _gated(self, method: str, iteration: int, k: int) -> scoring.Rank:
        gate, model = self.gates_[iteration], self.models_[iteration]
        assert gate is not None
        if method == "knn-embedding":
            return scoring.rank_by_affinity(k)
        if method == "gxf":
            before = self.models_[iteration - 1]
            return scoring.rank_by_gated_model(Model(before.U, before.V, model.offset), gate, k)
        return scoring.rank_by_gated_model(model, gate, k)


def _parameters_of(kind: str) -> set[str]:
    """Names in `kind_params`."""
    if kind == "pair-matrix":
        return {"pairs", "pair_labels", "other"}
    return {one.name for one in fields(JOINT_KINDS[kind])} if kind in JOINT_KINDS else set()  # type: ignore[arg-type]
