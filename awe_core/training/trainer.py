"""The trainer: WARP over blocks of examples, for Wsabie (no affinity) and AWE (with one) alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from awe_core.arrangement import generator
from awe_core.examples import BlockSource
from awe_core.gate import Gate
from awe_core.model import Model, initial_model
from awe_core.threads import Workers
from awe_core.training.checkpoint import SUMS, Arrays, Checkpoint, Checkpoints, InMemory, arrays_of, model_of
from awe_core.training.course import Course
from awe_core.training.history import EpochRecord, Progress
from awe_core.training.optimisers import project
from awe_core.training.settings import TrainSettings
from awe_core.training.validation import examine

_ATTEMPTS = 5
"""Of a warm start."""
_SLOWER = 0.25

__all__ = ["EpochRecord", "Progress", "TrainSettings", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """The kept model and how it came about.

    Attributes
    ----------
    model : of the best epoch.
    history : a record of every epoch, of the last attempt where a warm start took several.
    best_epoch : the epoch that was kept.
    warm_rate : the factor on the learning rate that a warm start ended with; None where there was none.
    """

    model: Model
    history: list[EpochRecord]
    best_epoch: int
    warm_rate: float | None = None


def train(
    train: BlockSource,
    validation: BlockSource | None,
    labels: int,
    dimension: int,
    settings: TrainSettings,
    seed: int,
    iteration: int = 0,
    gate: Gate | None = None,
    start: Model | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train a model by WARP.

    Without a gate f(x, y) = xᵀUᵀVy (Wsabie) and an affinity of the blocks is not looked at; with one
    f = (s·G + b)·(xᵀUᵀVy + c). With `settings.affinity` f is that of an affinity which is learnt jointly, and there is
    no gate. Where b = 0 pairs and negatives are restricted to the candidates. An epoch visits every pair once. After it
    `settings.metric` on validation decides: the best epoch's model is kept (the earliest of equals), and `patience`
    epochs without a better one end the training.

    A warm start none of whose epochs reaches on validation what it started from begins again from there with a quarter
    of its rate, up to four times: the smaller the steps, the nearer it stays to a model that was better.

    The model is a function of (data, settings, seed, iteration, start): random streams are keyed by epoch, block, step
    and sub-block, a step is cut into sub-blocks by its pairs alone, their gradients are added up in order, and products
    run in one BLAS thread. Threads only say who computes which sub-block and who moves which rows.

    Memory: the model and the optimiser's accumulators, once, and once more where `checkpoints` keeps the best epoch in
    memory; two blocks and their pairs; and a thread's sub-block: its scores, rows × Y float32 where all labels are
    scored, pairs × 256 with pools, 16 MB with draws in rounds.

    Parameters
    ----------
    train, validation : blocks; without validation exactly `settings.epochs` epochs are run and the last is kept.
    labels : Y.
    dimension : d.
    settings : see `TrainSettings`.
    seed, iteration : name the random streams.
    gate : s and b, when the blocks' affinity is to be used.
    start : a model to go on from; used if `settings.warm_start`, its accumulators carried over. Not changed.
    on_progress : called after every step.
    checkpoints : keeps the training between steps, and the best epoch's model; in memory where not given.

    Raises
    ------
    ValueError
        There is no pair to train on, no example that is looked at after an epoch has a label, shapes do not fit, a
        distance meets an affinity, or a gate another one.
    FloatingPointError
        Training diverged; the message has epoch, step and learning rate.
    """
    if labels < 1 or dimension < 1:
        raise ValueError(f"there must be a label and a feature to train on, not {labels} and {dimension}")
    if gate is not None and settings.similarity != "dot":
        raise ValueError(
            f'train.similarity = "{settings.similarity}" is never positive, so an affinity would punish what it should '
            'lift; use "dot" with an affinity'
        )
    if gate is not None and settings.affinity is not None:
        raise ValueError("an affinity that is learnt jointly cannot be joined to a stored one")
    warm = start is not None and settings.warm_start
    rate = settings.learning_rate * (settings.warm_rate if warm else 1.0)
    keeper = checkpoints or InMemory()

    def begun_with() -> Arrays:
        return _begun_with(start if warm else None, dimension, labels, settings, seed, iteration)

    with (
        threadpool_limits(limits=1, user_api="blas"),
        np.errstate(over="ignore", invalid="ignore"),
        Workers(settings.threads_used) as workers,
    ):
        saved = keeper.load()
        arrays = _first_arrays(begun_with(), settings, copied=warm) if saved is None else saved.arrays
        course = Course(train, labels, settings, seed, iteration, gate, rate, arrays, workers, on_progress, keeper)
        school = _School(course, validation, gate, settings, workers, keeper, begun_with if warm else None)
        if saved is not None:
            school.go_on(saved)
        if warm and not school.history:
            school.examine_the_start()
        return school.train()


def _begun_with(
    start: Model | None, dimension: int, labels: int, settings: TrainSettings, seed: int, iteration: int
) -> Arrays:
    """What a training begins with; the arrays of a model to go on from are its own, not copies."""
    if start is None:
        model = initial_model(dimension, labels, settings.D, seed, iteration, settings.label_bias)
    else:
        _check_start(start, dimension, labels, settings)
        model = start
    given = () if settings.affinity is None else settings.affinity.fixed
    arrays = {name: values for name, values in arrays_of(model).items() if name not in given}
    if settings.optimiser == "sgd":
        arrays = {name: values for name, values in arrays.items() if not name.startswith(SUMS)}
    offset = model.offset if settings.offset == "learnt" else settings.offset
    arrays["offset"] = np.array([offset], dtype=np.float32)
    if settings.affinity is not None:
        _add_own_tensors(arrays, settings.affinity.first_tensors(dimension, labels, generator(seed, "own", iteration)))
    return arrays


def _first_arrays(begun_with: Arrays, settings: TrainSettings, copied: bool) -> Arrays:
    """The same within C, and with the optimiser's sums, in arrays that the training may change."""
    arrays = {name: values.copy() for name, values in begun_with.items()} if copied else begun_with
    project(arrays["U"], None, settings.C, settings.free)
    project(arrays["V"], None, settings.C, settings.free)
    if settings.optimiser == "adagrad":
        # Written now, not when a step first meets a row: a machine hands out new memory as slowly as it trains on it.
        for name in ("U", "V"):
            arrays.setdefault(f"{SUMS}{name}", np.full_like(arrays[name], 0))
    return arrays


def _add_own_tensors(arrays: Arrays, first: Arrays) -> None:
    """Those of the affinity that the model to go on from does not have."""
    for name, tensor in first.items():
        if arrays.setdefault(name, tensor).shape != tensor.shape:
            raise ValueError(f"the model to go on from has a {name} of {arrays[name].shape}, not {tensor.shape}")


def _check_start(model: Model, dimension: int, labels: int, settings: TrainSettings) -> None:
    D = settings.D
    if model.U.shape != (dimension, D) or model.V.shape != (labels, D):
        raise ValueError(
            f"the model to go on from has U {model.U.shape} and V {model.V.shape}, the data and train.D ask for "
            f"U {(dimension, D)} and V {(labels, D)}"
        )
    if settings.label_bias and not (model.U[:, -1] == 1).all():
        raise ValueError("train.label_bias: the model to go on from was trained without label biases")


class _School:
    """Epochs, examinations, and when it is enough."""

    def __init__(
        self,
        course: Course,
        validation: BlockSource | None,
        gate: Gate | None,
        settings: TrainSettings,
        workers: Workers,
        keeper: Checkpoints,
        start: Callable[[], Arrays] | None,
    ) -> None:
        self._course, self._validation, self._gate = course, validation, gate
        self._settings, self._workers, self._keeper = settings, workers, keeper
        self._start, self._attempt = start, 0
        self.history: list[EpochRecord] = []
        self._best_epoch = 0
        self._best = -math.inf
        course.progress = self._progress

    def go_on(self, saved: Checkpoint) -> None:
        """Take up where a checkpoint was left."""
        progress = saved.progress
        self._attempt = progress["attempt"]
        self.history = [EpochRecord(**record) for record in progress["history"]]
        self._best_epoch = progress["best_epoch"]
        self._best = -math.inf if progress["best"] is None else progress["best"]
        self._course.go_on(progress["course"])

    def _progress(self) -> dict[str, object]:
        return {
            "attempt": self._attempt,
            "history": [asdict(record) for record in self.history],
            "best_epoch": self._best_epoch,
            "best": self._best if math.isfinite(self._best) else None,
        }

    def examine_the_start(self) -> None:
        """What the epochs of a warm start have to reach."""
        if self._validation is not None:
            start = EpochRecord(0, None, 0, 0, 0, 0, 0, None, self._course.offset, 0.0)
            self.history.append(self._examined(start, self._validation))

    def _examined(self, record: EpochRecord, validation: BlockSource) -> EpochRecord:
        course, settings = self._course, self._settings
        found = examine(
            validation,
            course.model(),
            self._gate,
            settings.metric,
            settings.validation_sample,
            self._workers,
            course.save_while_examined,
        )
        return replace(record, p_at_1=found["p@1"], validation=found[settings.metric])

    def train(self) -> Trained:
        """Run epochs until the last, or until validation has stopped getting better."""
        settings, course = self._settings, self._course
        while True:
            record = course.run_epoch()
            if self._validation is not None:
                record = self._examined(record, self._validation)
            self.history.append(record)
            best = self._is_best(record)
            if best:
                self._best_epoch = record.epoch
                self._best = math.inf if record.validation is None else record.validation
            waited = record.epoch - self._best_epoch >= settings.patience and record.epoch >= settings.min_epochs
            if record.epoch < settings.epochs and not waited:
                course.next_epoch()
                self._keeper.save(course.checkpoint(), best)
            elif self._start is not None and self._lost_against_the_start():
                self._begin_again(self._start())
            else:
                kept = course.model() if best else self._kept()
                return Trained(kept, self.history, self._best_epoch, self._warm_rate())

    def _lost_against_the_start(self) -> bool:
        before = self.history[0].validation if self.history[0].epoch == 0 else None
        return before is not None and self._best < before and self._attempt < _ATTEMPTS - 1

    def _begin_again(self, arrays: Arrays) -> None:
        self._attempt += 1
        self.history, self._best_epoch, self._best = self.history[:1], 0, -math.inf
        self._course.begin_again(arrays, _SLOWER)
        self._keeper.save(self._course.checkpoint(), best=False)

    def _warm_rate(self) -> float | None:
        return None if self._start is None else self._settings.warm_rate * _SLOWER**self._attempt

    def _kept(self) -> Model:
        kept = self._settings
        return model_of(self._keeper.best(), kept.similarity, kept.affinity, kept.kernel_used)

    def _is_best(self, record: EpochRecord) -> bool:
        return self._best_epoch == 0 or record.validation is None or record.validation > self._best
