"""The trainer: WARP over blocks of examples, for Wsabie (no affinity) and AWE (with one) alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from awe_core.arrangement import epoch_order, generator
from awe_core.examples import BlockSource
from awe_core.gate import Gate
from awe_core.minibatch import Minibatch, minibatches, trainable_pairs
from awe_core.model import Model, initial_model
from awe_core.optimisers import Optimiser, OptimiserName, optimiser_named, project
from awe_core.validation import precision_at_1
from awe_core.warp import (
    Draws,
    Gradient,
    Parameters,
    all_scores_are_cheaper,
    candidates_only,
    draw_geometric,
    draw_in_rounds,
    harmonic_losses,
    warp_gradient,
)

Sampler = Literal["auto", "geometric", "rounds"]


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes
    ----------
    D : dimension of the embedding.
    C : the longest that a row of U or V may be; inf for no constraint.
    margin : γ.
    optimiser : "sgd" or "adagrad".
    learning_rate : η.
    batch : pairs a step. The pairs of one example stay together, so a step has at least one example's; their
        gradients are summed at the same parameters. batch = 1 with one label an example is the paper's step.
    epochs : the most epochs; exactly so many without a validation set.
    patience : epochs without a better validation P@1 after which training stops.
    warm_start : with an affinity, go on from the previous iteration's model.
    warm_rate : factor on the learning rate of a warm start.
    offset : c where there is an affinity; "learnt" starts at 0, or at the offset of the model that is gone on from.
    leave_one_out : x is a user's history; the positive of the moment is left out of it.
    sampler : "geometric" scores all labels, "rounds" those drawn, "auto" what is cheaper for the minibatch.
    """

    D: int
    C: float
    learning_rate: float
    batch: int
    epochs: int
    patience: int
    margin: float = 1.0
    optimiser: OptimiserName = "adagrad"
    warm_start: bool = True
    warm_rate: float = 0.25
    offset: float | Literal["learnt"] = 0.0
    leave_one_out: bool = False
    sampler: Sampler = "auto"

    def __post_init__(self) -> None:
        for name in ("D", "batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("C", "learning_rate", "margin", "warm_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"train.{name} must be more than 0, not {getattr(self, name)}")
        for name in ("learning_rate", "margin", "warm_rate"):
            if math.isinf(getattr(self, name)):
                raise ValueError(f"train.{name} must be finite")
        if self.optimiser not in ("sgd", "adagrad"):
            raise ValueError(f'train.optimiser must be "sgd" or "adagrad", not {self.optimiser!r}')
        if self.sampler not in ("auto", "geometric", "rounds"):
            raise ValueError(f'train.sampler must be "auto", "geometric" or "rounds", not {self.sampler!r}')
        if self.offset != "learnt" and not math.isfinite(self.offset):
            raise ValueError(f'affinity.offset must be a number or "learnt", not {self.offset}')


@dataclass(frozen=True)
class EpochRecord:
    """One line of history.json.

    Attributes
    ----------
    epoch : from 1; 0 is the model that a warm start goes on from, under the affinity (gxf).
    loss : mean of weight · L(⌊M / N⌋) · hinge over the pairs trained on; None for epoch 0.
    pairs : pairs (x, y) visited = updates + skipped + no_negatives + uncovered.
    updates : pairs that found a violator.
    skipped : pairs that found none in M draws.
    no_negatives : pairs with M = 0.
    uncovered : pairs left out because their label is no candidate.
    p_at_1 : on the validation set, a fraction; None without one.
    offset : c after the epoch.
    seconds : of training alone.
    """

    epoch: int
    loss: float | None
    pairs: int
    updates: int
    skipped: int
    no_negatives: int
    uncovered: int
    p_at_1: float | None
    offset: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a training stands: `rows` of `rows_of_epoch` visited in `epoch` of at most `epochs`."""

    epoch: int
    epochs: int
    rows: int
    rows_of_epoch: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        """Estimate, as if all epochs were run at the pace so far; inf at the very start."""
        share = (self.epoch - 1 + self.rows / max(1, self.rows_of_epoch)) / self.epochs
        return self.seconds * (1 - share) / share if share > 0 else math.inf


@dataclass(frozen=True)
class Trained:
    """The kept model, the record of every epoch, and which epoch was kept."""

    model: Model
    history: list[EpochRecord]
    best_epoch: int


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
) -> Trained:
    """Train a model by WARP.

    Without a gate f(x, y) = xᵀUᵀVy (Wsabie) and an affinity of the blocks is not looked at; with one
    f = (s·G + b)·(xᵀUᵀVy + c). Where b = 0 pairs and negatives are restricted to the candidates. An epoch visits every
    pair once. After it the validation P@1 decides: the best epoch's model is kept (the earliest of equals), and
    `patience` epochs without a better one end the training.

    The model is a function of (data, settings, seed, iteration, start): random streams are keyed by epoch, block and
    step, and products run in one BLAS thread.

    Memory: one block and its pairs, two copies of the model and its accumulators, and for a minibatch its scores,
    rows × Y float32, and 14 bytes a pair and label compared, together at most 300 MB unless the sampler is forced.

    Parameters
    ----------
    train, validation : blocks; without validation exactly `settings.epochs` epochs are run and the last is kept.
    labels : Y.
    dimension : d.
    settings : see `TrainSettings`.
    seed, iteration : name the random streams.
    gate : s and b, when the blocks' affinity is to be used.
    start : the previous iteration's model; used if `settings.warm_start`, its accumulators carried over.
    on_progress : called after every step.

    Raises
    ------
    ValueError
        There is no pair to train on, or shapes do not fit.
    FloatingPointError
        Training diverged; the message has epoch, step and learning rate.
    """
    warm = start is not None and settings.warm_start
    if labels < 1 or dimension < 1:
        raise ValueError(f"there must be a label and a feature to train on, not {labels} and {dimension}")
    rate = settings.learning_rate * (settings.warm_rate if warm else 1.0)
    base = start if start is not None and warm else initial_model(dimension, labels, settings.D, seed, iteration)
    _check_shapes(base, dimension, labels, settings.D)
    offset = base.offset if settings.offset == "learnt" else settings.offset
    with threadpool_limits(limits=1, user_api="blas"), np.errstate(over="ignore", invalid="ignore"):
        course = _Course(train, labels, settings, seed, iteration, gate, rate, base, offset, on_progress)
        history: list[EpochRecord] = []
        if warm and validation is not None:
            before = precision_at_1(validation, course.model(), gate)
            history.append(EpochRecord(0, None, 0, 0, 0, 0, 0, before, course.offset, 0.0))
        return _until_no_better(course, validation, gate, settings, history)


def _check_shapes(model: Model, dimension: int, labels: int, D: int) -> None:
    if model.U.shape != (dimension, D) or model.V.shape != (labels, D):
        raise ValueError(
            f"the model to go on from has U {model.U.shape} and V {model.V.shape}, the data and train.D ask for "
            f"U {(dimension, D)} and V {(labels, D)}"
        )


def _until_no_better(
    course: _Course,
    validation: BlockSource | None,
    gate: Gate | None,
    settings: TrainSettings,
    history: list[EpochRecord],
) -> Trained:
    best, best_epoch, best_precision = course.model(), 0, -math.inf
    for epoch in range(1, settings.epochs + 1):
        record = course.run_epoch(epoch)
        if validation is not None:
            record = replace(record, p_at_1=precision_at_1(validation, course.model(), gate))
        history.append(record)
        precision = math.inf if record.p_at_1 is None else record.p_at_1
        if best_epoch == 0 or record.p_at_1 is None or precision > best_precision:
            best, best_epoch, best_precision = course.model(copy=True), epoch, precision
        elif epoch - best_epoch >= settings.patience:
            break
    return Trained(best, history, best_epoch)


class _Course:
    """A training under way: the parameters, the optimiser and the epochs run on them."""

    def __init__(
        self,
        source: BlockSource,
        labels: int,
        settings: TrainSettings,
        seed: int,
        iteration: int,
        gate: Gate | None,
        rate: float,
        base: Model,
        offset: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._source = source
        self._labels = labels
        self._settings = settings
        self._seed = seed
        self._iteration = iteration
        self._gate = gate
        self._rate = rate
        self._on_progress = on_progress
        self._losses = harmonic_losses(labels)
        self._parameters = Parameters(base.U.copy(), base.V.copy(), np.array([offset], dtype=np.float32))
        self._optimiser: Optimiser = optimiser_named(settings.optimiser, rate, base.accumulators)
        project(self._parameters.U, None, settings.C)
        project(self._parameters.V, None, settings.C)
        self._began = time.monotonic()

    @property
    def offset(self) -> float:
        return float(self._parameters.offset[0])

    def model(self, copy: bool = False) -> Model:
        """The model as it stands; unless copied it shares its arrays with the training."""
        U, V, sums = self._parameters.U, self._parameters.V, self._optimiser.accumulators
        if copy:
            U, V, sums = U.copy(), V.copy(), {name: values.copy() for name, values in sums.items()}
        return Model(U, V, self.offset, dict(sums))

    def run_epoch(self, epoch: int) -> EpochRecord:
        """Visit every pair once."""
        began = time.monotonic()
        tally = _Tally()
        rows_of_block = list(self._source.rows_of_block)
        visited, steps, total = 0, 0, sum(rows_of_block)
        for index, order in epoch_order(rows_of_block, self._seed, epoch):
            block = self._source[index]
            if self._gate is None:
                block = replace(block, affinity=None)
            elif block.affinity is None:
                raise ValueError(f"block {index} has no affinity: training with one needs the reweighted set")
            pairs = trainable_pairs(block, order, candidates_only(self._gate))
            tally.uncovered += pairs.uncovered
            batches = minibatches(block, order, pairs, self._settings.batch, self._settings.leave_one_out)
            done = 0
            for step, batch in enumerate(batches):
                rng = generator(self._seed, "warp", self._iteration, epoch, index, step)
                steps += 1
                try:
                    tally.add(batch, *self._step(batch, rng))
                except FloatingPointError as error:
                    raise self._diverged(epoch, steps, error) from error
                done += len(batch.pair_row)
                self._report(epoch, visited + len(block) * done // len(pairs.row), total)
            visited += len(block)
        self._check_model(epoch, steps)
        record = tally.record(epoch, self.offset, time.monotonic() - began)
        if record.pairs == record.uncovered:
            none = "no training example has a label" if not record.pairs else "no true label is a candidate"
            raise ValueError(f"{none}: there is no pair to train on")
        return record

    def _step(self, batch: Minibatch, rng: np.random.Generator) -> tuple[Draws, float]:
        parameters, gate, margin = self._parameters, self._gate, self._settings.margin
        embedding = np.asarray(batch.features @ parameters.U)
        draw = draw_geometric if self._scores_all(batch) else draw_in_rounds
        draws = draw(batch, embedding, parameters, gate, margin, rng)
        if not len(draws.pair):
            return draws, 0.0
        gradient = warp_gradient(batch, embedding, parameters, gate, margin, draws, self._losses)
        if not math.isfinite(gradient.loss):
            raise FloatingPointError("the loss is not finite")
        self._move(gradient)
        return draws, gradient.loss

    def _scores_all(self, batch: Minibatch) -> bool:
        if self._settings.sampler == "auto":
            return all_scores_are_cheaper(batch, self._gate, self._labels)
        return self._settings.sampler == "geometric"

    def _move(self, gradient: Gradient) -> None:
        for name, parameter, part in (
            ("U", self._parameters.U, gradient.U),
            ("V", self._parameters.V, gradient.V),
        ):
            self._optimiser.update(name, parameter, part.rows, part.values)
            project(parameter, part.rows, self._settings.C)
        if self._settings.offset == "learnt" and self._gate is not None:
            change = np.array([gradient.offset], dtype=np.float32)
            self._optimiser.update("offset", self._parameters.offset, None, change)

    def _diverged(self, epoch: int, step: int, reason: object) -> FloatingPointError:
        return FloatingPointError(
            f"training diverged at epoch {epoch}, step {step} with learning rate {self._rate:g}: {reason}; "
            "lower train.learning_rate"
        )

    def _check_model(self, epoch: int, step: int) -> None:
        """The scores of a step show the parameters before it: the last step of an epoch is looked at here."""
        for values in (self._parameters.U, self._parameters.V, self._parameters.offset):
            if not np.isfinite(values).all():
                raise self._diverged(epoch, step, "a parameter is not finite")

    def _report(self, epoch: int, rows: int, total: int) -> None:
        if self._on_progress is not None:
            seconds = time.monotonic() - self._began
            self._on_progress(Progress(epoch, self._settings.epochs, rows, total, seconds))


class _Tally:
    """What an epoch counted; losses are summed exactly, in any order."""

    def __init__(self) -> None:
        self.uncovered = 0
        self._pairs = 0
        self._updates = 0
        self._no_negatives = 0
        self._losses: list[float] = []

    def add(self, batch: Minibatch, draws: Draws, loss: float) -> None:
        self._pairs += len(batch.pair_row)
        self._updates += len(draws.pair)
        self._no_negatives += int(np.count_nonzero(draws.negatives == 0))
        self._losses.append(loss)

    def record(self, epoch: int, offset: float, seconds: float) -> EpochRecord:
        trained = self._pairs - self._no_negatives
        return EpochRecord(
            epoch=epoch,
            loss=math.fsum(self._losses) / trained if trained else 0.0,
            pairs=self._pairs + self.uncovered,
            updates=self._updates,
            skipped=trained - self._updates,
            no_negatives=self._no_negatives,
            uncovered=self.uncovered,
            p_at_1=None,
            offset=offset,
            seconds=seconds,
        )
