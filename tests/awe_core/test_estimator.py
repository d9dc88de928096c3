"""The estimators keep scikit-learn's contracts, and hand their settings on to the trainer."""

from __future__ import annotations

import doctest
import warnings
from dataclasses import fields, replace
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from awe_core import estimator
from awe_core.arranged import ArrangedBlocks
from awe_core.estimator import AffinityWeightedEmbedding, Wsabie
from awe_core.examples import Block
from awe_core.model import initial_model
from awe_core.training import course
from awe_core.training.trainer import TrainSettings, train
from tests.compiled import needs_numba

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)).astype(np.float32)
y = RNG.integers(0, 3, 60)
Y = np.eye(3)[y]
SMALL = {"D": 2, "epochs": 1, "n": 3, "batch": 16, "learning_rate": 0.1}
SHORT = {"D": 8, "epochs": 8, "batch": 64, "learning_rate": 0.1}
BOTH = [Wsabie(**SHORT), AffinityWeightedEmbedding(**SHORT, n=10)]
DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS[:600] / 16
DIGIT = DIGIT[:600]
IDS = np.arange(600)

ONLY_IN_EXPECTATION = dict.fromkeys(
    ["check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"],
    "negatives are drawn at random, and each copy of a row draws its own; of AffinityWeightedEmbedding copies are "
    "neighbours too, and weights do not enter G. In expectation it holds: see the test below",
)


def name(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", [Wsabie(), AffinityWeightedEmbedding()], ids=name)
def test_scikit_learns_own_checks(model: Any) -> None:
    found = check_estimator(model, expected_failed_checks=ONLY_IN_EXPECTATION, on_skip=None, on_fail=None)
    failed = {check["check_name"]: check["exception"] for check in found if check["status"] == "failed"}
    assert failed == {}
    assert {check["check_name"] for check in found if check["status"] == "xfail"} == set(ONLY_IN_EXPECTATION)
    assert sum(check["status"] == "passed" for check in found) > 50


def test_a_weight_of_two_is_two_copies_in_expectation() -> None:
    """One step from one model: its mean over the draws is the same, and without the weights it is another."""
    weight = np.array([2] * 4 + [1] * 8)
    copies = np.repeat(np.arange(12), weight)
    begin = initial_model(5, 3, 2, seed=1, iteration=0)
    how = TrainSettings(
        D=2, C=np.inf, learning_rate=0.1, batch=1024, epochs=1, patience=1, optimiser="sgd", warm_rate=1
    )

    def moved(rows: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
        labels = sp.csr_matrix(Y[rows])
        block = Block(np.arange(len(rows)), X[rows], labels, 0 * labels, weights.astype(np.float32))
        model = train(ArrangedBlocks(block, seed, 64, 64), None, 3, 5, how, seed, start=begin).model
        return np.concatenate([model.U.ravel(), model.V.ravel()])

    def standard_errors_apart(weights: np.ndarray) -> float:
        alone = np.arange(12)
        apart = np.array([moved(alone, weights, seed) - moved(copies, np.ones(16), seed + 1000) for seed in range(200)])
        spread = apart.std(axis=0)
        return float(np.abs(apart.mean(axis=0)[spread > 0] / (spread[spread > 0] / np.sqrt(len(apart)))).max())

    assert standard_errors_apart(weight) < 4
    assert standard_errors_apart(np.ones(12)) > 8


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_a_row_of_no_weight_is_as_if_it_were_not_there(model: Any) -> None:
    weight = (np.arange(60) % 3 > 0).astype(float)
    ids = np.arange(60)
    some = clone(model).fit(X, y, sample_weight=weight, ids=ids)
    kept = clone(model).fit(X[weight > 0], y[weight > 0], ids=ids[weight > 0])
    assert np.array_equal(some.models_[-1].U, kept.models_[-1].U)


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_every_way_to_give_the_labels_trains_the_same_model(model: Any) -> None:
    names = np.array(["a\tb", "", "ü\n"], dtype=object)
    order = np.argsort(names)
    lists = [[names[order[label]]] for label in y]
    by_indicator = clone(model).fit(X, Y)
    for given in (sp.csr_matrix(Y), sp.coo_array(Y), Y.astype(bool), Y.tolist(), y, lists, [set(row) for row in lists]):
        fitted = clone(model).fit(X, given)
        assert np.array_equal(fitted.models_[-1].V, by_indicator.models_[-1].V)
        assert fitted.score(X, given) == by_indicator.score(X, Y)
    best = by_indicator.decision_function(X).argmax(axis=1)
    assert clone(model).fit(X, y).predict(X).tolist() == best.tolist()
    assert clone(model).fit(X, lists).predict(X) == [[names[order[label]]] for label in best]
    assert np.array_equal(by_indicator.predict(X), np.eye(3)[best])
    sparse = clone(model).fit(X, sp.csr_matrix(Y)).predict(X)
    assert sp.issparse(sparse)
    assert np.array_equal(sparse.toarray(), np.eye(3)[best])


def test_label_sets_are_predicted_with_as_many_labels_as_an_example_has() -> None:
    lists = [[label, label + 10] for label in y]
    fitted = AffinityWeightedEmbedding(**SMALL).fit(X, lists)
    assert fitted.labels_per_row_ == 2
    assert fitted.classes_.tolist() == [0, 1, 2, 10, 11, 12]
    assert {len(row) for row in fitted.predict(X)} == {2}


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("model", BOTH, ids=name)
def test_sparse_x_is_read_as_dense_x(model: Any, kind: Any) -> None:
    fitted = clone(model).fit(kind(DIGITS[:300]), DIGIT[:300])
    dense = clone(model).fit(DIGITS[:300], DIGIT[:300])
    assert np.abs(fitted.decision_function(kind(DIGITS)) - dense.decision_function(DIGITS)).max() < np.inf
    assert fitted.score(kind(DIGITS[300:]), DIGIT[300:]) == pytest.approx(
        dense.score(DIGITS[300:], DIGIT[300:]), abs=0.1
    )
    assert fitted.score(DIGITS[300:], DIGIT[300:]) > 0.7


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_pipeline_grid_search_and_clone(model: Any) -> None:
    chain = make_pipeline(StandardScaler(), clone(model))
    step = chain.steps[-1][0]
    search = GridSearchCV(chain, {f"{step}__D": [2, 8]}, cv=3).fit(DIGITS, DIGIT)
    assert search.best_params_ == {f"{step}__D": 8}
    assert search.best_score_ > 0.8
    copy = clone(search.best_estimator_.steps[-1][1])
    assert copy.get_params() == {**model.get_params(), "D": 8}
    assert not hasattr(copy, "models_")
    # scikit-learn refuses lists of labels where it would stratify; a splitter of one's own does not look at y.
    lists = [[int(digit)] for digit in DIGIT]
    assert cross_val_score(clone(model), DIGITS, lists, cv=KFold(3)).mean() > 0.8


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_it_takes_every_setting_of_the_trainer(model: Any) -> None:
    other_names = {"n_jobs": "threads", "kind": "affinity"}
    taken = {other_names.get(key, key) for key in model.get_params()}
    of_the_pipeline = {"leave_one_out", "horizon"}
    of_the_other = {"warm_start", "warm_rate", "offset", "affinity"} if isinstance(model, Wsabie) else {"similarity"}
    assert {field.name for field in fields(TrainSettings)} - taken == of_the_pipeline | of_the_other
    given = {"schedule": "linear", "min_epochs": 5, "alpha": "constant", "top_k": 3}
    settings = clone(model).set_params(**given)._settings()
    assert {key: getattr(settings, key) for key in given} == given


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_refit_trains_on_all_for_the_epochs_that_were_best(schedule: str) -> None:
    how = {"D": 8, "epochs": 9, "patience": 2, "batch": 64, "learning_rate": 0.4, "schedule": schedule}
    chosen, refitted = (Wsabie(**how, refit=refit).fit(DIGITS, DIGIT) for refit in (False, True))
    scores = [[record.validation for record in model.history_[0]] for model in (chosen, refitted)]
    assert scores[0] == scores[1]
    best = 1 + int(np.argmax(scores[0]))
    assert best < 9
    labels = sp.csr_matrix(np.eye(10, dtype=np.float32)[DIGIT])
    block = Block(np.arange(600), DIGITS.astype(np.float32), labels, 0 * labels, np.ones(600, np.float32))
    settings = replace(chosen._settings(), epochs=best, horizon=9)
    expected = train(ArrangedBlocks(block, 0, 16384, 1024), None, 10, 64, settings, 0).model
    assert np.array_equal(refitted.models_[0].U, expected.U)
    assert not np.array_equal(refitted.models_[0].U, chosen.models_[0].U)


def test_a_refit_makes_every_iteration_of_all_rows() -> None:
    how = {"D": 8, "epochs": 9, "patience": 2, "batch": 64, "n": 10, "iterations": 2, "warm_rate": 4.0}
    chosen, refitted = (AffinityWeightedEmbedding(**how, refit=refit).fit(DIGITS, DIGIT) for refit in (False, True))
    assert [len(history) for history in refitted.history_] == [len(history) for history in chosen.history_]
    assert [trained.best_epoch for trained in chosen._trained] == [len(made.history) for made in refitted._trained]
    assert [trained.warm_rate for trained in chosen._trained] == [made.warm_rate for made in refitted._trained]
    # A row of the base is its own neighbour where it is taken for a new one; now all of them are.
    as_new, as_own = ([made.affinity(DIGITS, ids).sum(axis=1) for made in (chosen, refitted)] for ids in (None, IDS))
    nearer = [(new > own).mean() for new, own in zip(as_new, as_own, strict=True)]
    assert nearer[0] < nearer[1] == 1


def _fitted(model: Any, n_jobs: int) -> Any:
    return clone(model).set_params(n_jobs=n_jobs).fit(DIGITS, DIGIT)


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_a_joblib_worker_and_threads_fit_the_same_bytes(model: Any) -> None:
    here = _fitted(model, 1)
    [there] = joblib.Parallel(n_jobs=2)([joblib.delayed(_fitted)(model, 2)])
    for mine, other in zip(here.models_, there.models_, strict=True):
        assert np.array_equal(mine.U, other.U)
        assert np.array_equal(mine.V, other.V)
    assert np.array_equal(here.decision_function(DIGITS), there.decision_function(DIGITS))


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_random_state_may_be_drawn(model: Any) -> None:
    def V(random_state: Any) -> np.ndarray:
        return clone(model).set_params(random_state=random_state).fit(X, y).models_[-1].V

    assert np.array_equal(V(np.random.RandomState(3)), V(np.random.RandomState(3)))
    assert not np.array_equal(V(np.random.RandomState(3)), V(np.random.RandomState(4)))
    assert not np.array_equal(V(None), V(None))
    assert np.array_equal(V(7), V(np.int64(7)))


def test_partial_fit_goes_on_from_the_model_as_it_stands() -> None:
    pieces = [slice(start, start + 100) for start in range(0, 500, 100)]
    model = Wsabie(D=16, batch=64, learning_rate=0.1)
    with pytest.raises(ValueError, match="classes must be given to the first call"):
        model.partial_fit(DIGITS[:100], DIGIT[:100])
    scores = []
    for _ in range(4):
        for rows in pieces:
            model.partial_fit(DIGITS[rows], DIGIT[rows], classes=range(10))
        scores.append(model.score(DIGITS[500:], DIGIT[500:]))
    assert scores[-1] > max(scores[0] + 0.1, 0.7)
    assert [record.epoch for record in model.history_[0]] == list(range(1, 21))
    again = clone(model)
    for rows in pieces * 4:
        again.partial_fit(DIGITS[rows], DIGIT[rows], classes=range(10))
    assert np.array_equal(model.models_[0].U, again.models_[0].U)
    with pytest.raises(ValueError, match="the label 11, which is not among the classes"):
        model.partial_fit(DIGITS[:1], [11])
    with pytest.raises(ValueError, match="classes are not those of the first call"):
        model.partial_fit(DIGITS[:1], [1], classes=range(11))
    assert not hasattr(AffinityWeightedEmbedding(), "partial_fit")


def test_of_two_classes_the_one_that_is_predicted_has_the_sign_and_the_scores_can_be_calibrated() -> None:
    two = (X[:, 0] > 0).astype(int)
    fitted = AffinityWeightedEmbedding(D=4, epochs=5, n=3).fit(X, two)
    decided = fitted.decision_function(X)
    assert np.abs(decided).max() < 1e6
    assert ((decided > 0).astype(int) == fitted.predict(X)).all()
    assert len(np.unique(decided)) > 50
    calibrated = CalibratedClassifierCV(AffinityWeightedEmbedding(D=4, epochs=5, n=3), cv=3).fit(X, two)
    assert len(np.unique(calibrated.predict_proba(X))) > 50


@pytest.mark.parametrize("model", BOTH, ids=name)
def test_labels_that_were_not_met_are_missed_and_rows_without_any_are_not_counted(model: Any) -> None:
    lists = [[str(label)] for label in y]
    fitted = clone(model).fit(X, lists)
    right = fitted.predict(X[:2])
    assert fitted.score(X[:2], right) == 1.0
    assert fitted.score(X[:2], [right[0], ["nobody has it"]]) == 0.5
    assert fitted.score(X[:2], [right[0], []]) == 1.0


def test_labels_that_are_no_candidates_stand_below_all_that_are() -> None:
    fitted = AffinityWeightedEmbedding(D=4, epochs=2, n=1).fit(X, y)
    scores = fitted.decision_function(X)
    candidates = fitted.affinity(X).toarray() > 0
    assert (candidates.sum(axis=1) == 1).all()
    for own, is_candidate in zip(scores, candidates, strict=True):
        least = min(own[is_candidate].min(), 0.0)
        assert (own[~is_candidate] < least).all()
        np.testing.assert_allclose(own[~is_candidate], least, atol=1e-300)
    assert fitted.predict(X).tolist() == fitted.predict_topk(X, 1)[:, 0].tolist()
    by_all = AffinityWeightedEmbedding(D=4, epochs=2, n=1, bias=0.5).fit(X, y)
    assert all(len(set(own)) == 3 for own in by_all.decision_function(X).tolist())
    assert by_all.predict(X).tolist() == by_all.predict_topk(X, 1)[:, 0].tolist()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.array([[0.5, 1], [1, 0]] * 30), "indicator, a column of 0 and 1"),
        (sp.csr_matrix(2 * Y), "indicator, a column of 0 and 1"),
        ([["a"], [1]] * 30, "cannot be told apart or sorted"),
        ([[[1]], [[2]]] * 30, "cannot be told apart or sorted"),
        ([[]] * 60, "no row of y has a label"),
        (Y[:50], "X has 60 rows and y 50"),
        (np.linspace(0, 1, 60), "Unknown label type: continuous"),
    ],
)
def test_what_is_no_y_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Wsabie(D=2, epochs=1).fit(X, given)


def test_a_column_is_read_as_scikit_learn_reads_it_and_one_of_truths_is_an_indicator() -> None:
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert Wsabie(D=2, epochs=1).fit(X, y[:, None]).classes_.tolist() == [0, 1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Wsabie(D=2, epochs=1).fit(X, y[:, None] == 1).classes_) == 1


def test_a_row_that_was_trained_on_is_its_own_neighbour_only_where_it_is_new() -> None:
    largest = 2**63 - 2  # ids may be any of 63 bits, and new rows need none of their own
    fitted = AffinityWeightedEmbedding(**{**SMALL, "n": 1}).fit(X, Y, ids=np.arange(60) + largest - 60)
    own = fitted.affinity(X, ids=np.arange(60) + largest - 60)
    assert (fitted.affinity(X).argmax(axis=1).ravel() == y).mean() > (own.argmax(axis=1).ravel() == y).mean()


def test_verbose_says_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    AffinityWeightedEmbedding(**SMALL, verbose=1).fit(X, y)
    said = capsys.readouterr().out
    assert "[AffinityWeightedEmbedding] iteration 1: epoch 1 of at most 1" in said
    AffinityWeightedEmbedding(**SMALL).fit(X, y)
    assert not capsys.readouterr().out


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(estimator) == (0, 11)


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_the_kernel_that_is_asked_for_trains_every_iteration(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "numba":
        needs_numba()
    named, used = course.kernel_named, []
    monkeypatch.setattr(course, "kernel_named", lambda name: used.append(name) or named(name))
    AffinityWeightedEmbedding(**SMALL, kernel=kernel).fit(X, Y)
    assert used == [kernel] * 2


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match='train.kernel must be one of "auto", "numpy", "numba"'):
        AffinityWeightedEmbedding(**SMALL, kernel="fortran").fit(X, Y)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"embedding": "frist"}, "affinity.embedding must be one of"),
        ({"kind": "hybrid"}, "needs a finite affinity.lambda_y"),
        ({"validation_fraction": 1.5}, "validation_fraction must be 0 or more and below 1"),
        ({"validation_fraction": np.nan}, "validation_fraction must be 0 or more and below 1"),
        ({"rows_per_part": 0}, "rows_per_part and block_rows must be 1 or more"),
        ({"iterations": -1}, "iterations must be 0 or more"),
        ({"folds": 2, "iterations": 2}, 'give embedding="first"'),
        ({"kind": "low-rank", "kind_params": {"k": 3}}, "has no 'k'; it has rank"),
    ],
)
def test_what_the_pipeline_refuses_the_estimator_refuses(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AffinityWeightedEmbedding(**{**SMALL, **wrong}).fit(X, y)


def test_what_is_asked_of_an_iteration_that_has_it_not_is_refused() -> None:
    knn, sigmoid = (AffinityWeightedEmbedding(**SMALL, kind=kind).fit(X, Y) for kind in ("knn", "sigmoid"))
    for asked in (-1, 2):
        with pytest.raises(ValueError, match=f"iteration must be from 0 to 1, not {asked}"):
            knn.rank(X, iteration=asked)
    with pytest.raises(ValueError, match="iteration 0 is Wsabie's and stores no G"):
        knn.affinity(X, iteration=0)
    with pytest.raises(ValueError, match="kind 'sigmoid' is learnt with U and V and stores no G"):
        sigmoid.affinity(X)
    with pytest.raises(ValueError, match="ranks by a G that is stored"):
        sigmoid.rank(X, method="gxf")
    own = sigmoid.rank(X, method="wsabie").labels
    assert own.tolist() == sigmoid.rank(X, iteration=0).labels.tolist()
    seen = np.zeros_like(Y)
    seen[:, 1] = 1
    assert 1 not in knn.rank(X, seen=seen).labels


def test_a_row_of_a_leaf_is_not_counted_for_itself() -> None:
    """With a label of its own every row has it as a candidate only where it is taken for a new row."""
    alone = np.arange(60)
    fitted = AffinityWeightedEmbedding(**SMALL, kind="cluster", leaf_rows=20).fit(
        X, np.hstack([np.eye(60), Y]), ids=alone + 5
    )
    base = fitted.affinity(X)[alone, alone].A1 > 0
    assert base.sum() == 54  # all but those held out
    assert not fitted.affinity(X, ids=alone + 5)[alone, alone].any()
    assert (fitted.affinity(X, ids=alone + 1000)[alone, alone].A1 > 0).tolist() == base.tolist()


def test_what_cannot_be_ranked_is_no_hit() -> None:
    fitted = AffinityWeightedEmbedding(**SMALL, kind="cluster", leaf_rows=1000).fit(X, Y)
    queries, truth = X[:6], np.eye(3)[np.zeros(6, dtype=int)]
    assert fitted.score(queries, truth) > 0
    leaves = fitted._affinities[1].by
    fitted._affinities[1] = replace(fitted._affinities[1], by=replace(leaves, counts=0 * leaves.counts))
    assert fitted.score(queries, truth) == 0


def test_an_embedding_that_stays_makes_its_neighbours_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings, train_once = [], estimator.train
    monkeypatch.setattr(estimator, "train", lambda *given, **how: trainings.append(1) or train_once(*given, **how))
    how = {**SMALL, "folds": 3, "iterations": 3, "embedding": "first"}
    fitted = AffinityWeightedEmbedding(**how).fit(DIGITS[:200], DIGIT[:200])
    assert len(trainings) == 4 + 3
    assert len(set(fitted.medians_[1:])) == 1


@pytest.mark.parametrize("asked_as", [sp.csr_matrix, np.asarray])
@pytest.mark.parametrize("fitted_as", [sp.csr_matrix, np.asarray])
@pytest.mark.parametrize("how", [{}, {"kind": "rbf"}, {"input_weight": 0.5}])
def test_x_may_be_asked_in_another_form_than_it_was_fitted_in(how: Any, fitted_as: Any, asked_as: Any) -> None:
    some = np.where(np.abs(X) > 0.8, X, 0).astype(np.float32)
    expected = AffinityWeightedEmbedding(**SMALL, **how).fit(fitted_as(some), y)
    scores = expected.decision_function(asked_as(some))
    np.testing.assert_allclose(scores, expected.decision_function(fitted_as(some)), rtol=1e-5)
    assert np.array_equal(expected.rank(asked_as(some), k=2).labels, expected.rank(fitted_as(some), k=2).labels)


def test_a_whole_number_is_a_bias() -> None:
    one, whole = (AffinityWeightedEmbedding(**SMALL, bias=bias).fit(X, y) for bias in (1.0, 1))
    assert np.array_equal(one.decision_function(X), whole.decision_function(X))
    assert np.array_equal(one.rank(X, k=2).labels, whole.rank(X, k=2).labels)


@pytest.mark.parametrize("offset", [np.float32(1), np.int64(1), 1])
def test_any_number_is_an_offset(offset: Any) -> None:
    found, expected = (AffinityWeightedEmbedding(**SMALL, offset=one).fit(X, y) for one in (offset, 1.0))
    assert np.array_equal(found.models_[1].U, expected.models_[1].U)


def test_a_stored_zero_is_not_seen() -> None:
    nothing = sp.csr_matrix(np.ones_like(Y))
    nothing.data[:] = 0
    fitted = AffinityWeightedEmbedding(**SMALL).fit(X, Y, seen=nothing)
    assert np.array_equal(fitted.models_[1].U, AffinityWeightedEmbedding(**SMALL).fit(X, Y).models_[1].U)
    assert np.array_equal(fitted.rank(X, k=2, seen=nothing).labels, fitted.rank(X, k=2).labels)


@pytest.mark.parametrize("model", BOTH, ids=name)
@pytest.mark.parametrize(("ids", "words"), [(np.zeros(60, int), "distinct"), (np.arange(60.0), "whole numbers")])
def test_ids_that_name_no_rows_are_refused(model: Any, ids: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        clone(model).fit(X, y, ids=ids)


def test_parameters_that_are_set_after_fitting_change_no_answer() -> None:
    fitted = AffinityWeightedEmbedding(**SMALL).fit(X, y)
    before = fitted.decision_function(X), fitted.rank(X, 2, method="gxf").labels
    fitted.set_params(kind="low-rank", n=1, lambda_x=9.0)
    assert np.array_equal(fitted.decision_function(X), before[0])
    assert np.array_equal(fitted.rank(X, 2, method="gxf").labels, before[1])


def test_a_fit_that_failed_leaves_nothing_to_ask() -> None:
    fitted = AffinityWeightedEmbedding(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="the affinity is 0 on every training pair"):
        fitted.fit(X, [[row] for row in range(60)])  # nobody's neighbours have its label
    with pytest.raises(NotFittedError):
        fitted.predict(X)


@pytest.mark.parametrize("huge", [{"X": X * np.float32(1e20)}, {"sample_weight": np.full(60, 1e25)}])
def test_sums_of_squares_that_overflow_are_said(huge: dict[str, Any]) -> None:
    with pytest.raises(FloatingPointError, match="a sum of squared gradients is not finite"):
        Wsabie(D=4, epochs=3, batch=16).fit(**{"X": X, "y": y, **huge})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "pair-matrix", "kind_params": {"pair_labels": 0}}, "pair_labels must be 1 or more"),
        ({"kind": "top-k", "kind_params": {"k": 2.5}}, "1 or more and whole"),
        ({"kind": "low-rank", "kind_params": {"rank": 2.5}}, "1 or more and whole"),
        ({"offset": "foo"}, 'a number or "learnt"'),
    ],
)
def test_more_that_is_refused_in_a_line(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AffinityWeightedEmbedding(**{**SMALL, **wrong}).fit(X, Y)


def test_lists_of_neighbours_are_of_dense_x() -> None:
    with pytest.raises(ValueError, match="rows of sparse x are joined exactly"):
        AffinityWeightedEmbedding(**SMALL, kind="rbf", recall=0.9).fit(sp.csr_matrix(X), y)
