"""Training with affinities that are learnt jointly with U and V."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core import model as model_module
from awe_core.affinities.constant import Constant
from awe_core.affinities.linear_sigmoid import LinearSigmoid
from awe_core.affinities.low_rank import LowRank
from awe_core.affinities.max import Max
from awe_core.affinities.pair_matrix import PairMatrix
from awe_core.affinities.sigmoid import Sigmoid
from awe_core.affinities.top_k import TopK
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.scoring import rank_by_model
from awe_core.training import course, optimisers
from awe_core.training.checkpoint import Checkpoint
from awe_core.training.trainer import TrainSettings, train
from awe_core.training.validation import examine
from tests.awe_core.blocks import InMemory, block
from tests.compiled import needs_numba

SETTINGS = TrainSettings(D=6, C=2.0, learning_rate=0.2, batch=16, epochs=5, patience=5, kernel="numpy", threads=1)
ITEMS = 12
PAIRS = PairMatrix(0.5, "random", sp.random(ITEMS, ITEMS, 0.5, format="csr", random_state=0, dtype=np.float32))
AFFINITIES = [Constant(0.5), LinearSigmoid(1.0, 0.25), Sigmoid(), Max(), TopK(3), LowRank(2), PAIRS]


def histories(users: int, seed: int, held: int = 0) -> InMemory:
    """Users of two tastes, six items each; x is the history, the labels are its items, or those that were held out."""
    rng = np.random.default_rng(seed)
    liked = [rng.permutation(6) + 6 * (user % 2) for user in range(users)]
    known = [sorted(own[held:].tolist()) for own in liked]
    x = np.zeros((users, ITEMS))
    for user, own in enumerate(known):
        x[user, own] = 1
    truth = [sorted(own[:held].tolist()) for own in liked] if held else known
    return InMemory([block(sp.csr_matrix(x), truth, ITEMS, known if held else None)])


def fitted(affinity, start=None, **others):
    settings = replace(SETTINGS, affinity=affinity, leave_one_out=True, **others)
    return train(histories(60, 0), histories(40, 1, held=1), ITEMS, ITEMS, settings, seed=3, start=start)


def content(model: Model) -> bytes:
    return b"".join(tensor.tobytes() for tensor in (model.U, model.V, *model.own.values()))


@pytest.mark.parametrize(("warm", "sampler"), [(False, "geometric"), (True, "rounds"), (True, "pooled")])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_every_affinity_learns_the_tastes(affinity, warm, sampler):
    wsabie = fitted(None).model if warm else None
    trained = fitted(affinity, wsabie, warm_rate=0.5, sampler=sampler)
    # Of the seven items that a user has not seen one is of the user's taste.
    kept = next(record for record in trained.history if record.epoch == trained.best_epoch)
    assert kept.p_at_1 > 0.7
    assert (trained.history[0].epoch == 0) == warm
    assert np.linalg.norm(trained.model.U, axis=1).max() <= 2.0 + 1e-5


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_ranking_and_validation_go_by_the_affinitys_f(affinity):
    model, held_out = fitted(affinity).model, histories(40, 1, held=1)
    first = rank_by_model(model, 1)(held_out[0]).labels
    hits = np.mean([label in held_out[0].labels[row].indices for row, label in enumerate(first)])
    assert examine(held_out, model, None, "p@1")["p@1"] == pytest.approx(hits)


@pytest.mark.parametrize("x", [np.eye(8), np.random.default_rng(5).normal(size=(8, 8))])
@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
def test_a_constant_of_1_is_wsabie(x, sampler):
    source = InMemory([block(x, [[row, (row + 1) % 8] for row in range(8)], 8)])
    settings = replace(SETTINGS, epochs=4, sampler=sampler)
    wsabie = train(source, None, 8, 8, settings, seed=1).model
    ours = train(source, None, 8, 8, replace(settings, affinity=Constant(1.0)), seed=1).model
    np.testing.assert_allclose(ours.U, wsabie.U, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.V, wsabie.V, rtol=1e-3, atol=1e-4)


@pytest.fixture
def small_sub_blocks(monkeypatch):
    """Sub-blocks of a few pairs and tasks of two rows, so that toy data fill several threads."""
    monkeypatch.setattr(course, "sub_block_pairs", lambda batch: 4)
    monkeypatch.setattr(course, "pool_pairs", lambda joint, kernel: 4)
    monkeypatch.setattr(optimisers, "_ROWS_OF_A_TASK", 2)


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
@pytest.mark.parametrize(("affinity", "sampler"), [(TopK(3), "rounds"), (LowRank(2), "pooled"), (PAIRS, "pooled")])
def test_the_number_of_threads_does_not_change_a_bit(affinity, sampler, kernel, small_sub_blocks):
    if kernel == "numba":
        needs_numba()
    settings = {"epochs": 2, "sampler": sampler, "kernel": kernel}
    one, four = (content(fitted(affinity, threads=n, **settings).model) for n in (1, 4))
    assert one == four


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_epochs_are_chosen_and_labels_ranked_by_the_kernel_that_trains(kernel, monkeypatch):
    if kernel == "numba":
        needs_numba()
    named, used = model_module.kernel_named, []
    monkeypatch.setattr(model_module, "kernel_named", lambda name: used.append(name) or named(name))
    trained = fitted(TopK(3), epochs=2, kernel=kernel).model
    assert used
    trained.f(histories(4, 1)[0].features)
    assert set(used) == {kernel}


@pytest.mark.parametrize(("affinity", "sampler"), [(TopK(3), "rounds"), (LowRank(2), "pooled"), (Max(), "pooled")])
def test_the_kernels_train_alike(affinity, sampler, small_sub_blocks):
    needs_numba()
    ours, theirs = (fitted(affinity, epochs=1, sampler=sampler, kernel=kernel).model for kernel in ("numba", "numpy"))
    for name in ("U", "V"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-3, atol=1e-4)


class Killed(Exception):
    """In place of a signal."""


class Disk:
    """Checkpoints as a disk keeps them: copies. After `steps` steps it saves and is killed."""

    def __init__(self, steps: int) -> None:
        self.left, self.saved, self.marked = steps, None, None

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        arrays = {name: values.copy() for name, values in checkpoint.arrays.items()}
        self.saved = arrays, json.dumps(checkpoint.progress)
        self.marked = arrays if best else self.marked
        if self.left == 0:
            raise Killed

    def load(self) -> Checkpoint | None:
        if self.saved is None:
            return None
        arrays, progress = self.saved
        return Checkpoint({name: values.copy() for name, values in arrays.items()}, json.loads(progress))

    def best(self):
        return self.marked


@pytest.mark.parametrize("affinity", [TopK(3), LowRank(2), PAIRS])
def test_killed_it_goes_on_to_the_same_bytes(affinity):
    settings = replace(SETTINGS, affinity=affinity, leave_one_out=True, epochs=3)
    given = (histories(60, 0), histories(40, 1, held=1), ITEMS, ITEMS, settings)
    undisturbed = train(*given, seed=3)
    disk = Disk(steps=25)
    with pytest.raises(Killed):
        train(*given, seed=3, checkpoints=disk)
    resumed = train(*given, seed=3, checkpoints=disk)
    assert content(resumed.model) == content(undisturbed.model)
    assert [replace(one, seconds=0) for one in resumed.history] == [
        replace(one, seconds=0) for one in undisturbed.history
    ]


def test_a_low_rank_affinity_goes_on_with_its_tensors():
    first = fitted(LowRank(2), epochs=1).model
    still = fitted(LowRank(2), first, epochs=1, learning_rate=1e-12).model
    np.testing.assert_allclose(still.own["g"], first.own["g"], atol=1e-6)
    with pytest.raises(ValueError, match=r"has a g of \(12, 2\), not \(12, 3\)"):
        fitted(LowRank(3), first)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match=r"similarity"):
        replace(SETTINGS, affinity=Sigmoid(), similarity="negative-distance")
    settings = replace(SETTINGS, affinity=Sigmoid())
    with pytest.raises(ValueError, match="stored"):
        train(histories(4, 0), None, ITEMS, ITEMS, settings, seed=0, gate=Gate(1.0, 0.0))


def test_divergence_of_its_own_tensors_is_seen():
    with pytest.raises(FloatingPointError, match="training diverged at epoch"):
        fitted(LowRank(2), optimiser="sgd", learning_rate=1e30, C=math.inf)
