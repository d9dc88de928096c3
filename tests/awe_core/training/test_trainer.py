"""Training: the paper's step, what is kept, when it stops and what it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.arranged import take
from awe_core.gate import Gate, affinity_scale
from awe_core.model import Model, initial_model
from awe_core.training import course, optimisers, trainer
from awe_core.training.checkpoint import Checkpoint
from awe_core.training.trainer import Progress, TrainSettings, train
from awe_core.training.validation import examine
from awe_core.warp import pooled
from tests.awe_core.blocks import InMemory, block
from tests.compiled import needs_numba
from tests.oracles import warp as oracle

SETTINGS = TrainSettings(D=4, C=math.inf, learning_rate=0.1, batch=8, epochs=5, patience=2)
GATES = [None, Gate(1.5, 0.0), Gate(1.5, 0.4)]


def mixture(rows: int, seed: int, sparse: bool = False, labels: int = 5):
    """Labels that stand at the axes, one or two an example, with an affinity that covers most of them."""
    rng = np.random.default_rng(seed)
    truth = [sorted(rng.choice(labels, size=rng.integers(1, 3), replace=False).tolist()) for _ in range(rows)]
    x = np.zeros((rows, labels))
    for i, own in enumerate(truth):
        x[i, own] = 1 + rng.random(len(own))
    affinity = [
        {int(y): float(rng.random()) for y in {*own[: rng.integers(1, 3)], *rng.choice(labels, 2)}} for own in truth
    ]
    return block(sp.csr_matrix(x) if sparse else x, truth, labels, affinity=affinity)


def some_blocks(sparse: bool = False) -> tuple[InMemory, InMemory]:
    return InMemory([mixture(30, 0, sparse), mixture(17, 1, sparse)]), InMemory([mixture(20, 2, sparse)])


def parameters(model: Model) -> bytes:
    return model.U.tobytes() + model.V.tobytes() + np.float64(model.offset).tobytes()


# --- The step ---


@pytest.mark.parametrize("optimiser", ["sgd", "adagrad"])
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
@pytest.mark.parametrize("gate", GATES)
def test_a_pair_with_one_negative_makes_the_papers_step(optimiser, sampler, gate):
    # Two labels, one of them true: M = N = 1 whatever is drawn, so one epoch is one known step.
    x, affinity = np.array([0.5, -1.0, 2.0]), {0: 0.8, 1: 0.3}
    source = InMemory([block(x[None], [[0]], 2, affinity=[affinity], weight=[2.0])])
    settings = replace(SETTINGS, C=0.9, batch=1, epochs=1, optimiser=optimiser, sampler=sampler, margin=5.0)
    settings = replace(settings, offset="learnt")

    trained = train(source, None, 2, 3, settings, seed=7, gate=gate)

    start = initial_model(3, 2, 4, 7, 0)
    at = {
        "U": oracle.project(start.U.astype(np.float64), 0.9),
        "V": oracle.project(start.V.astype(np.float64), 0.9),
        "c": np.zeros(()),
    }
    extra = (affinity, gate.scale, gate.bias) if gate else (None, 1.0, 0.0)
    slopes = oracle.gradient(at, x, 0, 1, 2.0, 5.0, *extra)
    sums = {name: np.zeros_like(value) for name, value in at.items()} if optimiser == "adagrad" else None
    expected, sums = oracle.step(at, slopes, 0.1, 0.9, sums)
    assert trained.model.U == pytest.approx(expected["U"], rel=1e-4, abs=1e-5)
    assert trained.model.V == pytest.approx(expected["V"], rel=1e-4, abs=1e-5)
    assert trained.model.offset == pytest.approx(float(expected["c"]), rel=1e-4, abs=1e-5)
    assert trained.history[0].loss == pytest.approx(oracle.loss(at, x, 0, 1, 2.0, 5.0, *extra), rel=1e-4)
    if sums is not None:
        assert trained.model.accumulators["V"] == pytest.approx(sums["V"], rel=1e-4)


@pytest.mark.parametrize("gate", GATES)
def test_a_minibatch_sums_the_gradients_at_the_same_parameters(gate):
    # One negative a pair again; three examples in one step of SGD.
    x = np.array([[1.0, 0.5], [-0.5, 1.0], [0.2, 0.3]])
    truth, affinity = [[0], [1], [0]], [{0: 0.8, 1: 0.3}] * 3
    source = InMemory([block(x, truth, 2, affinity=affinity)])
    settings = replace(SETTINGS, batch=3, epochs=1, optimiser="sgd", margin=9.0)
    trained = train(source, None, 2, 2, settings, seed=1, gate=gate)

    start = initial_model(2, 2, 4, 1, 0)
    at = {"U": start.U.astype(np.float64), "V": start.V.astype(np.float64), "c": np.zeros(())}
    extra = (affinity[0], gate.scale, gate.bias) if gate else (None, 1.0, 0.0)
    slopes = [oracle.gradient(at, x[i], truth[i][0], 1 - truth[i][0], 1.0, 9.0, *extra) for i in range(3)]
    summed = {name: sum(slope[name] for slope in slopes) for name in ("U", "V")}
    expected, _ = oracle.step(at, summed, 0.1)
    assert trained.model.U == pytest.approx(expected["U"], abs=1e-5)
    assert trained.model.V == pytest.approx(expected["V"], abs=1e-5)


def test_a_weight_of_zero_teaches_nothing():
    source, _ = some_blocks()
    silent = InMemory([replace(part, weight=part.weight * 0) for part in source.blocks])
    trained = train(silent, None, 5, 5, SETTINGS, seed=0)
    start = initial_model(5, 5, 4, 0, 0)
    assert parameters(trained.model) == parameters(start)
    assert trained.history[-1].updates > 0


# --- Learning ---


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
@pytest.mark.parametrize(("optimiser", "rate"), [("sgd", 0.02), ("adagrad", 0.2)])
def test_labels_that_can_be_told_apart_are_learnt(sparse, gate, sampler, optimiser, rate):
    source, validation = some_blocks(sparse)
    settings = replace(SETTINGS, D=8, epochs=40, patience=40, learning_rate=rate, optimiser=optimiser, sampler=sampler)
    trained = train(source, validation, 5, 5, settings, seed=0, gate=gate)
    best = max(record.p_at_1 for record in trained.history)
    assert best > 0.85
    assert examine(validation, trained.model, gate, "p@1")["p@1"] == best
    assert trained.history[-1].loss < trained.history[0].loss


@pytest.mark.parametrize("gate", GATES)
def test_dense_and_sparse_features_train_alike(gate):
    models = [train(some_blocks(sparse)[0], None, 5, 5, SETTINGS, seed=0, gate=gate).model for sparse in (False, True)]
    assert models[0].U == pytest.approx(models[1].U, abs=1e-3)


def test_a_history_is_learnt_with_the_positive_left_out():
    # Labels come in twos, so the one left in x tells the one left out.
    truth = [[0, 1], [2, 3], [4, 5]] * 10
    source = block(sp.csr_matrix(np.array([[float(y in own) for y in range(6)] for own in truth])), truth, 6)
    settings = replace(SETTINGS, epochs=30, leave_one_out=True, learning_rate=0.2)
    model = train(InMemory([source]), None, 6, 6, settings, seed=0).model
    f = model.embed(np.eye(6, dtype=np.float32)) @ model.V.T
    np.fill_diagonal(f, -np.inf)
    assert f.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4]


def test_every_row_stays_within_C():
    source, _ = some_blocks()
    model = train(source, None, 5, 5, replace(SETTINGS, C=0.5, learning_rate=1.0), seed=0).model
    for rows in (model.U, model.V):
        assert np.linalg.norm(rows, axis=1).max() == pytest.approx(0.5, rel=1e-5)


# --- Same data, settings and seed: same model ---


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
def test_the_model_is_a_function_of_data_settings_and_seed(gate, sampler):
    def model(seed: int) -> bytes:
        source, validation = some_blocks()
        return parameters(train(source, validation, 5, 5, replace(SETTINGS, sampler=sampler), seed, gate=gate).model)

    assert model(0) == model(0)
    assert model(0) != model(1)


def test_without_a_gate_an_affinity_is_not_looked_at():
    source, _ = some_blocks()
    bare = InMemory([replace(part, affinity=None) for part in source.blocks])
    one, other = (train(blocks, None, 5, 5, SETTINGS, seed=0).model for blocks in (source, bare))
    assert parameters(one) == parameters(other)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_number_of_threads_does_not_change_a_bit(gate, sampler, sparse, small_sub_blocks):
    source, validation = some_blocks(sparse)
    settings = replace(SETTINGS, sampler=sampler, batch=16, offset="learnt")
    models = {
        parameters(train(source, validation, 5, 5, replace(settings, threads=n), 0, gate=gate).model) for n in (1, 2, 4)
    }
    assert len(models) == 1


@pytest.fixture
def small_sub_blocks(monkeypatch):
    """Sub-blocks of a few pairs, pools of three labels and tasks of two rows, so that toy data fill several threads."""
    monkeypatch.setattr(course, "sub_block_pairs", lambda batch: 3)
    monkeypatch.setattr(pooled, "POOL_PAIRS", 3)
    monkeypatch.setattr(pooled, "POOL_LABELS", 3)
    monkeypatch.setattr(optimisers, "_ROWS_OF_A_TASK", 2)


@pytest.mark.parametrize("gate", [None, Gate(1.5, 0.4)])
def test_the_kernels_train_alike(gate):
    needs_numba()
    settings = replace(SETTINGS, sampler="pooled", epochs=1)
    numpy, numba = (
        train(some_blocks()[0], None, 5, 5, replace(settings, kernel=kernel), 0, gate=gate).model
        for kernel in ("numpy", "numba")
    )
    assert numpy.U == pytest.approx(numba.U, abs=1e-4)
    assert numpy.V == pytest.approx(numba.V, abs=1e-4)


# --- Interrupted, and gone on with ---


class Killed(Exception):
    """What a kill is to a test."""


class Kept:
    """Checkpoints as a disk keeps them: copies. `steps` after the start it saves and is killed."""

    def __init__(self, steps: int | None = None, before: Kept | None = None) -> None:
        self._left = steps
        self._saved = None if before is None else before._saved
        self._best = {} if before is None else before._best

    def due(self) -> bool:
        if self._left is not None:
            self._left -= 1
        return self._left == 0

    def save(self, checkpoint, best):
        arrays = {name: values.copy() for name, values in checkpoint.arrays.items()}
        self._saved = json.dumps(checkpoint.progress), arrays
        if best:
            self._best = arrays
        if self._left == 0:
            raise Killed

    def load(self):
        if self._saved is None:
            return None
        progress, arrays = self._saved
        return Checkpoint({name: values.copy() for name, values in arrays.items()}, json.loads(progress))

    def best(self):
        return self._best


def told(history) -> list:
    return [replace(record, seconds=0.0) for record in history]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled", "auto"])
@pytest.mark.parametrize("steps", [1, 2, 5, 9, 14, 23])
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(gate, sampler, steps, small_sub_blocks):
    source, validation = some_blocks()
    settings = replace(SETTINGS, sampler=sampler, offset="learnt", schedule="cosine", epochs=4)

    def run(kept):
        return train(source, validation, 5, 5, settings, 0, 1, gate, checkpoints=kept)

    undisturbed = run(None)
    stopped = Kept(steps)
    with pytest.raises(Killed):
        run(stopped)
    again = Kept(steps=1, before=stopped)  # and once more, in the very next step
    with pytest.raises(Killed):
        run(again)
    resumed = run(Kept(before=again))
    assert parameters(resumed.model) == parameters(undisturbed.model)
    assert {name: sums.tobytes() for name, sums in resumed.model.accumulators.items()} == {
        name: sums.tobytes() for name, sums in undisturbed.model.accumulators.items()
    }
    assert told(resumed.history) == told(undisturbed.history)
    assert resumed.best_epoch == undisturbed.best_epoch


@pytest.mark.parametrize("steps", range(1, 12))
def test_killed_while_it_is_examined_a_warm_start_goes_on_to_the_same_bytes(steps):
    """Three blocks of validation are asked about before the first epoch, and after each."""
    source, _ = some_blocks()
    start = train(source, None, 5, 5, SETTINGS, seed=0).model
    settings = replace(SETTINGS, warm_start=True, epochs=3)
    blocks = InMemory([source[0]] * 3)

    def run(kept):
        return train(source, blocks, 5, 5, settings, 0, 1, start=start, checkpoints=kept)

    undisturbed = run(None)
    stopped = Kept(steps)
    with pytest.raises(Killed):
        run(stopped)
    progress = json.loads(stopped._saved[0])
    assert (not progress["history"]) == (steps <= 3)  # the start is not examined to its end
    resumed = run(Kept(before=stopped))
    assert parameters(resumed.model) == parameters(undisturbed.model)
    assert told(resumed.history) == told(undisturbed.history)


# --- Stopping ---


def test_patience_does_not_end_the_training_before_the_minimum():
    source, validation = some_blocks()
    settings = replace(SETTINGS, epochs=30, patience=1, learning_rate=0.3)
    short = train(source, validation, 5, 5, settings, seed=0)
    long = train(source, validation, 5, 5, replace(settings, min_epochs=12), seed=0)
    assert len(short.history) < 12 <= len(long.history)


def test_the_rate_follows_its_schedule_over_the_horizon():
    source, _ = some_blocks()
    settings = replace(SETTINGS, epochs=3, schedule="linear", horizon=10)
    rates = [record.rate for record in train(source, None, 5, 5, settings, seed=0).history]
    assert rates == pytest.approx([0.1, 0.09, 0.08])


def test_the_sampler_of_every_epoch_stands_in_the_history(monkeypatch):
    monkeypatch.setattr(
        course, "choose_sampler", lambda labels, pairs, draws, only: "rounds" if draws > 9 else "pooled"
    )
    source, _ = some_blocks()
    history = train(source, None, 5, 5, SETTINGS, seed=0).history
    assert history[0].sampler == "rounds"  # before anything is counted
    assert {record.sampler for record in history[1:]} == {"pooled"}
    assert all(0 < record.draws < 5 for record in history)


# --- The objective ---


@pytest.mark.parametrize("alpha", ["1/j", "constant", "top-k"])
@pytest.mark.parametrize("similarity", ["dot", "negative-distance", "negative-squared-distance"])
@pytest.mark.parametrize("sampler", ["geometric", "pooled"])
def test_every_member_of_the_family_learns(alpha, similarity, sampler):
    source, validation = some_blocks()
    settings = replace(
        SETTINGS, D=8, epochs=30, patience=30, learning_rate=0.2, alpha=alpha, similarity=similarity, sampler=sampler
    )
    trained = train(source, validation, 5, 5, settings, seed=0)
    assert max(record.p_at_1 for record in trained.history) > 0.85
    assert trained.model.similarity == similarity


def users(count: int, popular: int, labels: int = 6) -> InMemory:
    """One-hot users who have one label in common and one of their own choice."""
    truth = [sorted({popular, user % labels}) for user in range(count)]
    affinity = [dict.fromkeys(range(labels), 1.0)] * count
    return InMemory([block(sp.identity(count, format="csr"), truth, labels, affinity=affinity)])


def popular_label(model: Model) -> int:
    """The label that a user who is nowhere in particular gets."""
    return int(model.f(sp.identity(len(model.U), np.float32, "csr")).mean(axis=0).argmax())


@pytest.mark.parametrize("optimiser", ["sgd", "adagrad"])
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
@pytest.mark.parametrize("gate", GATES)
def test_label_biases_learn_what_is_popular_where_vectors_are_kept_short(sampler, gate, optimiser):
    settings = replace(SETTINGS, C=0.05, epochs=20, sampler=sampler, optimiser=optimiser, label_bias=True)
    model = train(users(30, popular=3), None, 6, 30, settings, seed=0, gate=gate).model
    assert (model.U[:, -1] == 1).all()
    for rows in (model.U, model.V):
        assert np.linalg.norm(rows[:, :-1], axis=1).max() <= 0.05 * (1 + 1e-6)
    bias = model.V[:, -1]
    assert popular_label(model) == bias.argmax() == 3
    assert bias[3] > 0.2 + np.delete(bias, 3).max()


def test_the_first_step_of_a_label_bias_is_the_rate():
    # Two labels and AdaGrad: the true one's bias goes up by η, the other's down by η.
    source = InMemory([block(sp.csr_matrix(np.eye(1)), [[1]], 2)])
    model = train(source, None, 2, 1, replace(SETTINGS, epochs=1, label_bias=True, margin=9.0), seed=0).model
    assert model.V[:, -1] == pytest.approx([-0.1, 0.1])


def test_label_biases_need_an_x_that_adds_up_to_1():
    source, _ = some_blocks()
    with pytest.raises(ValueError, match="features add up to 1"):
        train(source, None, 5, 5, replace(SETTINGS, label_bias=True), seed=0)


def test_label_biases_go_on_from_label_biases_alone():
    settings = replace(SETTINGS, label_bias=True)
    first = train(users(30, popular=3), None, 6, 30, settings, seed=0).model
    second = train(users(30, popular=3), None, 6, 30, settings, seed=0, iteration=1, gate=Gate(), start=first).model
    assert (second.U[:, -1] == 1).all()
    with pytest.raises(ValueError, match="trained without label biases"):
        train(users(30, popular=3), None, 6, 30, settings, seed=0, start=initial_model(30, 6, 4, 0, 0))


@pytest.mark.parametrize("other", [{"D": 1}, {"similarity": "negative-distance"}])
def test_a_label_bias_is_a_coordinate_of_a_dot_product(other):
    with pytest.raises(ValueError, match=r"train\.label_bias is one of D coordinates"):
        replace(SETTINGS, label_bias=True, **other)


def test_a_distance_is_refused_beside_an_affinity():
    source, _ = some_blocks()
    with pytest.raises(ValueError, match="never positive"):
        train(source, None, 5, 5, replace(SETTINGS, similarity="negative-distance"), 0, 1, Gate())


def test_the_best_epoch_is_kept_and_patience_ends_the_training():
    source, validation = some_blocks()
    settings = replace(SETTINGS, epochs=60, patience=3, learning_rate=0.3)
    trained = train(source, validation, 5, 5, settings, seed=0)
    curve = [record.validation for record in trained.history]
    assert trained.best_epoch == 1 + curve.index(max(curve))
    assert len(curve) == trained.best_epoch + 3 < 60
    assert examine(validation, trained.model, None, settings.metric)[settings.metric] == max(curve)


def test_the_first_rows_of_validation_decide_where_they_are_asked_for():
    source, validation = some_blocks()
    first = InMemory([take(validation[0], np.arange(9))])
    settings = replace(SETTINGS, epochs=12, learning_rate=0.02)
    whole, some, alone, all_of_it = (
        train(source, examined, 5, 5, replace(settings, validation_sample=rows), seed=0)
        for examined, rows in ((validation, None), (validation, 9), (first, None), (validation, 999))
    )
    assert told(some.history) == told(alone.history) != told(whole.history) == told(all_of_it.history)
    assert parameters(some.model) == parameters(alone.model)
    assert parameters(all_of_it.model) == parameters(whole.model)


@pytest.mark.parametrize("given", [{"validation_sample": 9}, {"metric": "ndcg@5"}])
def test_how_validation_is_looked_at_is_part_of_a_model_where_it_is_given(given):
    without = replace(SETTINGS, metric="p@1")
    assert not given.keys() & without.what_decides().keys()
    assert replace(without, **given).what_decides() == {**without.what_decides(), **given}


def test_the_metric_that_is_asked_for_chooses_the_epoch():
    source, validation = some_blocks()
    settings = replace(SETTINGS, epochs=25, patience=25, learning_rate=0.02, metric="ndcg@3")
    trained = train(source, validation, 5, 5, settings, seed=2)
    curve = [record.validation for record in trained.history]
    assert trained.best_epoch == 1 + curve.index(max(curve))
    assert examine(validation, trained.model, None, "ndcg@3")["ndcg@3"] == max(curve)
    # P@1 stands beside it, and would have chosen another one.
    usual = train(source, validation, 5, 5, replace(settings, metric="p@1"), seed=2)
    assert [record.p_at_1 for record in trained.history] == [record.p_at_1 for record in usual.history]
    assert [record.validation for record in usual.history] == [record.p_at_1 for record in usual.history]
    assert usual.best_epoch != trained.best_epoch


def test_without_validation_all_epochs_are_run_and_the_last_is_kept():
    source, validation = some_blocks()
    trained = train(source, None, 5, 5, replace(SETTINGS, epochs=4), seed=0)
    assert [record.p_at_1 for record in trained.history] == [None] * 4
    assert trained.best_epoch == 4
    # The epochs that a run with validation chose, run again, give the model that it kept.
    chosen = train(source, validation, 5, 5, SETTINGS, seed=0)
    again = train(source, None, 5, 5, replace(SETTINGS, epochs=chosen.best_epoch), seed=0)
    assert parameters(again.model) == parameters(chosen.model)


def test_the_history_accounts_for_every_pair():
    source, validation = some_blocks()
    pairs = sum(part.labels.nnz for part in source.blocks)
    for gate in GATES:
        for record in train(source, validation, 5, 5, SETTINGS, seed=0, gate=gate).history:
            assert record.pairs == pairs
            assert record.pairs == record.updates + record.skipped + record.no_negatives + record.uncovered
            assert (record.uncovered > 0) == (gate == GATES[1])


def test_progress_goes_through_every_epoch_to_its_end():
    source, _ = some_blocks()
    heard: list[Progress] = []
    train(source, None, 5, 5, replace(SETTINGS, epochs=2), seed=0, on_progress=heard.append)
    assert [(p.epoch, p.rows) for p in heard] == sorted((p.epoch, p.rows) for p in heard)
    assert {p.epoch: p.rows for p in heard} == {1: 47, 2: 47}
    assert heard[-1].seconds_left == 0
    assert Progress(1, 4, 47, 47, 10.0).seconds_left == 30.0


# --- Going on from a model ---


def a_first_model() -> Model:
    source, validation = some_blocks()
    return train(source, validation, 5, 5, SETTINGS, seed=0).model


@pytest.mark.parametrize("gate", GATES[1:])
def test_a_warm_start_scores_its_start_as_epoch_0_and_keeps_a_later_one(gate):
    source, validation = some_blocks()
    start = a_first_model()
    before = parameters(start), {name: sums.tobytes() for name, sums in start.accumulators.items()}
    settings = replace(SETTINGS, offset=1.0, learning_rate=1e-6)

    trained = train(source, validation, 5, 5, settings, 0, 1, gate, start)

    assert trained.history[0].epoch == 0
    assert trained.history[0].p_at_1 == examine(validation, replace(start, offset=1.0), gate, "p@1")["p@1"]
    assert trained.best_epoch == 1  # nothing gets better at this rate, but epoch 0 is not kept
    assert trained.model.U == pytest.approx(start.U, abs=1e-3)
    assert trained.model.offset == 1.0
    assert (parameters(start), {name: sums.tobytes() for name, sums in start.accumulators.items()}) == before


def test_a_warm_start_carries_the_accumulators_over_and_scales_the_rate():
    source, _ = some_blocks()
    start = a_first_model()

    def moved(start: Model, **changes: object) -> float:
        settings = replace(SETTINGS, epochs=1, batch=10**6, **changes)
        return float(np.abs(train(source, None, 5, 5, settings, 0, 1, Gate(), start).model.U - start.U).max())

    assert moved(start, warm_rate=0.5) == pytest.approx(2 * moved(start, warm_rate=0.25), rel=0.3)
    fresh = replace(start, accumulators={})
    assert moved(start, warm_rate=0.25) < 0.5 * moved(fresh, warm_rate=0.25)
    sums = train(source, None, 5, 5, SETTINGS, 0, 1, Gate(), start).model.accumulators
    assert (sums["V"] >= start.accumulators["V"]).all()


def test_a_start_from_scratch_has_no_epoch_0():
    source, validation = some_blocks()
    settings = replace(SETTINGS, warm_start=False)
    trained = train(source, validation, 5, 5, settings, 0, 1, Gate(), a_first_model())
    assert trained.history[0].epoch == 1
    assert parameters(trained.model) == parameters(train(source, validation, 5, 5, settings, 0, 1, Gate()).model)


def test_a_learnt_offset_moves_and_a_given_one_stays():
    source, _ = some_blocks()
    gate = Gate(affinity_scale(source))
    learnt = train(source, None, 5, 5, replace(SETTINGS, offset="learnt"), 0, 1, gate).model
    given = train(source, None, 5, 5, replace(SETTINGS, offset=0.5), 0, 1, gate).model
    assert learnt.offset != 0
    assert "offset" in learnt.accumulators
    assert given.offset == 0.5
    assert "offset" not in given.accumulators


def test_a_start_of_another_shape_is_refused():
    source, _ = some_blocks()
    with pytest.raises(ValueError, match=r"U \(3, 2\) and V \(5, 2\).*\(5, 4\)"):
        train(source, None, 5, 5, SETTINGS, 0, 1, Gate(), initial_model(3, 5, 2, 0, 0))


# --- What is odd about the data, or goes wrong ---


@pytest.mark.parametrize("optimiser", ["sgd", "adagrad"])
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
@pytest.mark.parametrize("sparse", [False, True])
def test_divergence_names_epoch_step_and_learning_rate(optimiser, sampler, sparse):
    source, validation = some_blocks(sparse)
    settings = replace(SETTINGS, learning_rate=1e30, optimiser=optimiser, sampler=sampler)
    with pytest.raises(FloatingPointError, match=r"diverged at epoch 1, step \d+ with learning rate 1e\+30: .*; lower"):
        train(source, validation, 5, 5, settings, seed=0)


def test_divergence_in_the_last_step_of_an_epoch_is_seen():
    source = InMemory([block(np.ones((1, 1)), [[0]], 2)])
    settings = replace(SETTINGS, learning_rate=3e38, optimiser="sgd", epochs=1, margin=1e3)
    with pytest.raises(FloatingPointError, match="epoch 1, step 1 "):
        train(source, None, 2, 1, settings, seed=0)


@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
@pytest.mark.parametrize("gate", GATES)
def test_odd_examples_are_trained_on_or_passed_over(gate, sampler):
    truth = [[], [0, 1, 2], [1], [0, 1]]
    affinity = [{0: 1.0}, {0: 1.0, 1: 1.0, 2: 0.5}, {1: 1.0, 2: 0.5}, {}]
    source = InMemory(
        [
            block(np.zeros((0, 2)), [], 3, affinity=[]),
            block(np.ones((4, 2)), truth, 3, seen=[[1], [], [0], [2]], affinity=affinity),
        ]
    )
    trained = train(source, source, 3, 2, replace(SETTINGS, sampler=sampler), 0, gate=gate)
    for record in trained.history:
        # The second example has all labels; the last has no negative left, and no candidate.
        assert record.no_negatives == (3 if candidates_only(gate) else 5)
        assert record.uncovered == (2 if candidates_only(gate) else 0)
        assert record.updates + record.skipped == 1


def candidates_only(gate: Gate | None) -> bool:
    return gate == Gate(1.5, 0.0)


@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
def test_one_label_alone_has_nothing_to_learn(sampler):
    source = InMemory([block(np.ones((3, 2)), [[0], [], [0]], 1)])
    trained = train(source, source, 1, 2, replace(SETTINGS, sampler=sampler), seed=0)
    assert parameters(trained.model) == parameters(initial_model(2, 1, 4, 0, 0))
    assert (trained.history[0].no_negatives, trained.history[0].p_at_1) == (2, 1.0)


def test_without_a_pair_there_is_nothing_to_train_on():
    bare = InMemory([block(np.ones((2, 2)), [[], []], 3, affinity=[{0: 1.0}, {}])])
    with pytest.raises(ValueError, match="no training example has a label"):
        train(bare, None, 3, 2, SETTINGS, seed=0)
    with pytest.raises(ValueError, match="no training example has a label"):
        train(InMemory([]), None, 3, 2, SETTINGS, seed=0)
    uncovered = InMemory([block(np.ones((1, 2)), [[2]], 3, affinity=[{0: 1.0}])])
    with pytest.raises(ValueError, match="no true label is a candidate"):
        train(uncovered, None, 3, 2, SETTINGS, seed=0, gate=Gate())


def test_a_gate_needs_an_affinity():
    source = InMemory([block(np.ones((1, 2)), [[1]], 3)])
    with pytest.raises(ValueError, match="block 0 has no affinity"):
        train(source, None, 3, 2, SETTINGS, seed=0, gate=Gate())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("D", 0), ("batch", 0), ("epochs", 0), ("patience", 0), ("C", 0.0), ("learning_rate", -1.0),
        ("learning_rate", math.nan), ("learning_rate", math.inf), ("margin", 0.0), ("warm_rate", 0.0),
        ("optimiser", "adam"), ("sampler", "all"), ("offset", math.nan), ("min_epochs", 0), ("schedule", "steps"),
        ("alpha", "1"), ("top_k", 0), ("similarity", "cosine"), ("kernel", "cython"), ("threads", 0),
        ("validation_sample", 0), ("validation_sample", 64.0), ("metric", "p@0"),
        ("metric", "sibling-p@1"), ("metric", "ndcg"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        replace(SETTINGS, **{name: value})


# At four times this rate the first model is lost, by every f.
LOSING = replace(SETTINGS, learning_rate=3.0, warm_rate=4.0, epochs=2, offset="learnt", C=2.0)


@pytest.mark.parametrize("gate", GATES)
def test_a_warm_start_that_loses_begins_again_with_smaller_steps(gate):
    source, validation = some_blocks()
    start = a_first_model()
    heard: list[Progress] = []
    trained = train(source, validation, 5, 5, LOSING, 0, 1, gate, start, on_progress=heard.append)
    attempts = 1 + sum(later.epoch < earlier.epoch for earlier, later in pairwise(heard))
    assert trained.warm_rate == 4.0 * 0.25 ** (attempts - 1) < 4.0
    validated = [record.validation for record in trained.history]
    assert max(validated[1:]) >= validated[0]
    # It is the training that this rate would have given at once.
    at_once = train(source, validation, 5, 5, replace(LOSING, warm_rate=trained.warm_rate), 0, 1, gate, start)
    assert at_once.warm_rate == trained.warm_rate
    assert parameters(trained.model) == parameters(at_once.model)
    assert told(trained.history) == told(at_once.history)


@pytest.mark.parametrize("steps", [3, 11, 19])
def test_killed_in_any_attempt_it_goes_on_to_the_same_bytes(steps):
    source, validation = some_blocks()
    start = a_first_model()
    undisturbed = train(source, validation, 5, 5, LOSING, 0, 1, GATES[2], start)
    stopped = Kept(steps)
    with pytest.raises(Killed):
        train(source, validation, 5, 5, LOSING, 0, 1, GATES[2], start, checkpoints=stopped)
    resumed = train(source, validation, 5, 5, LOSING, 0, 1, GATES[2], start, checkpoints=Kept(before=stopped))
    assert parameters(resumed.model) == parameters(undisturbed.model)
    assert told(resumed.history) == told(undisturbed.history)
    assert resumed.warm_rate == undisturbed.warm_rate


def test_it_begins_again_four_times_at_the_most(monkeypatch):
    source, validation = some_blocks()
    start = a_first_model()
    monkeypatch.setattr(trainer, "_SLOWER", 1.0)
    begun = []
    again = course.Course.begin_again
    monkeypatch.setattr(course.Course, "begin_again", lambda *given: begun.append(1) or again(*given))
    trained = train(source, validation, 5, 5, LOSING, 0, 1, GATES[2], start)
    assert len(begun) == 4
    assert max(record.p_at_1 for record in trained.history[1:]) < trained.history[0].p_at_1
