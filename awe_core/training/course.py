"""A training under way: the parameters, the optimiser, and the steps of an epoch on them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import epoch_order, generator
from awe_core.examples import Block, BlockSource
from awe_core.gate import Gate
from awe_core.kernels.choice import kernel_named
from awe_core.kernels.feature_rows import RowGradient
from awe_core.kernels.sorted_rows import SortedRows
from awe_core.model import Model
from awe_core.threads import Workers
from awe_core.training.checkpoint import SUMS, Arrays, Checkpoint, Checkpoints, arrays_of, model_of, own_tensors
from awe_core.training.history import EpochRecord, Progress, Tally
from awe_core.training.optimisers import Optimiser, move_rows, optimiser_named, project
from awe_core.training.read_ahead import read_ahead
from awe_core.training.schedule import scheduled
from awe_core.training.settings import TrainSettings
from awe_core.warp.candidates import Candidates, candidate_gradient
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.drawn import drawn_gradient
from awe_core.warp.minibatch import Visit, cut_pairs, sub_block_pairs
from awe_core.warp.pooled import Pools, pool_pairs, pooled_gradient
from awe_core.warp.rank_weights import losses_named
from awe_core.warp.samplers import FIRST_DRAWS, Sampler, choose_sampler
from awe_core.warp.scores import Gradient, Parameters, candidates_only

# Parameters looked at together when an epoch's end is checked for divergence.
_CHECKED_ROWS = 1 << 16


@dataclass(frozen=True)
class _Outcome:
    """What a sub-block adds to the step."""

    gradient: Gradient | None
    pairs: int
    updates: int
    no_negatives: int
    draws: float


@dataclass
class _Place:
    """Where a training stands: everything before this step is done.

    Attributes
    ----------
    epoch : from 1.
    block : blocks of the epoch that are finished.
    step : steps of the block after them that are done.
    steps, sub_blocks, rows : done in the epoch.
    """

    epoch: int = 1
    block: int = 0
    step: int = 0
    steps: int = 0
    sub_blocks: int = 0
    rows: int = 0


class Course:
    """A training under way.

    Parameters
    ----------
    arrays : U, V, offset, an affinity's own tensors and accumulators, changed in place.
    rate : η of the first epoch.
    keeper : asked after every step whether to save.

    The others are those of `awe_core.training.trainer.train`.
    """

    def __init__(
        self,
        source: BlockSource,
        labels: int,
        settings: TrainSettings,
        seed: int,
        iteration: int,
        gate: Gate | None,
        rate: float,
        arrays: Arrays,
        workers: Workers,
        on_progress: Callable[[Progress], None] | None,
        keeper: Checkpoints,
    ) -> None:
        self._source, self._labels, self._settings = source, labels, settings
        self._seed, self._iteration, self._gate = seed, iteration, gate
        self._rate, self._workers, self._on_progress, self._keeper = rate, workers, on_progress, keeper
        self._losses = losses_named(settings.alpha, labels, settings.top_k)
        self._parameters = Parameters(
            arrays["U"], arrays["V"], arrays["offset"], settings.similarity, settings.affinity, own_tensors(arrays)
        )
        self._kernel = kernel_named(settings.kernel_used)
        sums = model_of(arrays, settings.similarity).accumulators
        self._optimiser: Optimiser = optimiser_named(settings.optimiser, rate, sums, self._kernel)
        self._place = _Place()
        self._tally = Tally()
        self._sampler: Sampler | None = None
        self._candidates: Candidates | None = None
        self._draws = FIRST_DRAWS
        self._began = time.monotonic()
        self._first_epoch = 1
        self.progress: Callable[[], dict[str, object]] = dict
        """What whoever runs the epochs adds to a checkpoint."""

    @property
    def offset(self) -> float:
        return float(self._parameters.offset[0])

    def model(self) -> Model:
        """The model as it stands; it shares its arrays with the training."""
        at, sums = self._parameters, dict(self._optimiser.accumulators)
        kernel = self._settings.kernel_used
        return Model(at.U, at.V, self.offset, sums, at.similarity, at.joint, dict(at.own), kernel)

    def checkpoint(self) -> Checkpoint:
        """The training between two steps."""
        place = {
            "place": vars(self._place),
            "tally": self._tally.as_json(),
            "sampler": self._sampler,
            "draws": self._draws,
            "rate": self._rate,
        }
        return Checkpoint(arrays_of(self.model()), {**self.progress(), "course": place})

    def go_on(self, saved: dict[str, Any]) -> None:
        """Take the place of a checkpoint's `course`; its arrays were given at the start."""
        self._place, self._tally = _Place(**saved["place"]), Tally(**saved["tally"])
        self._sampler, self._draws, self._rate = saved["sampler"], saved["draws"], saved["rate"]
        self._first_epoch = self._place.epoch

    def begin_again(self, arrays: Arrays, slower: float) -> None:
        """Stand at the beginning of the first epoch once more, at `slower` times the rate."""
        at = self._parameters
        for name, values in {"U": at.U, "V": at.V, "offset": at.offset, **at.own}.items():
            np.copyto(values, arrays[name])
        project(at.U, None, self._settings.C, self._settings.free)
        project(at.V, None, self._settings.C, self._settings.free)
        for name, sums in self._optimiser.accumulators.items():
            np.copyto(sums, arrays.get(SUMS + name, np.float32(0)))
        self._rate *= slower
        self._place, self._tally, self._sampler, self._draws = _Place(), Tally(), None, FIRST_DRAWS
        self._began, self._first_epoch = time.monotonic(), 1

    def next_epoch(self) -> None:
        """Stand at the beginning of the epoch after this one."""
        trained = self._tally.pairs - self._tally.no_negatives
        self._draws = self._tally.draws / trained if trained else self._draws
        self._place, self._tally, self._sampler = _Place(self._place.epoch + 1), Tally(), None

    def run_epoch(self) -> EpochRecord:
        """Visit every pair once, or those that are left of the epoch."""
        settings, place = self._settings, self._place
        horizon = settings.horizon or settings.epochs
        rate = scheduled(settings.schedule, self._rate, place.epoch, horizon)
        self._optimiser.learning_rate = np.float32(rate)
        rows_of_block = list(self._source.rows_of_block)
        order = list(epoch_order(rows_of_block, self._seed, place.epoch))[place.block :]
        pools = Pools(self._labels, self._seed, self._iteration, place.epoch)
        self._clock = time.monotonic()
        for index, rows, block in read_ahead(self._source, order):
            self._run_block(index, rows, block, pools, sum(rows_of_block))
        self._check_model()
        self._count_seconds()
        record = self._tally.record(place.epoch, self.offset, self._sampler or "geometric", rate)
        if record.pairs == record.uncovered:
            none = "no training example has a label" if not record.pairs else "no true label is a candidate"
            raise ValueError(f"{none}: there is no pair to train on")
        return record

    def _run_block(self, index: int, rows: NDArray[np.intp], block: Block, pools: Pools, total: int) -> None:
        place = self._place
        visit = self._visit(index, rows, block)
        steps = visit.steps(self._settings.batch)
        # The paper's loop draws one label at a time; where it is asked for, candidates are drawn from like that too.
        self._candidates = None
        if self._gate is not None and candidates_only(self._gate) and self._sampler != "rounds":
            self._candidates = Candidates.of(visit, self._gate)
        if not place.step:
            self._tally.uncovered += visit.pairs.uncovered
        for run in steps[place.step :]:
            gradients = self._evaluate(visit, run, pools, index)
            self._move(gradients)
            place.step += 1
            self._report(place.rows + len(block) * run.stop // len(visit.pairs), total)
            if place.step < len(steps):
                self._save_if_due()
        place.block, place.step, place.rows = place.block + 1, 0, place.rows + len(block)
        self._save_if_due()

    def save_while_examined(self) -> None:
        """If it is due, before the first epoch or after one: who goes on from there examines the model once more."""
        self._clock = time.monotonic()  # an examination is no time of the epoch's
        self._save_if_due()

    def _save_if_due(self) -> None:
        if self._keeper.due():
            self._count_seconds()
            self._keeper.save(self.checkpoint(), best=False)
            self._clock = time.monotonic()

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self._tally.seconds += now - self._clock
        self._clock = now

    def _visit(self, index: int, rows: NDArray[np.intp], block: Block) -> Visit:
        settings, place, gate = self._settings, self._place, self._gate
        if gate is None:
            block = replace(block, affinity=None)
        elif block.affinity is None:
            raise ValueError(f"block {index} has no affinity: training with one needs the reweighted set")
        if settings.label_bias and not np.allclose(np.asarray(block.features.sum(axis=1)), 1):
            raise ValueError(
                "train.label_bias needs an x whose features add up to 1, as a one-hot user's do; leave it out here"
            )
        restricted = candidates_only(gate)
        visit = Visit(block, rows, restricted, settings.leave_one_out)
        if self._sampler is None and len(visit.pairs):
            self._sampler = self._choose(visit, restricted)
        # An embedding made by one feature moves with every step on it, so the pairs of a user are better apart; where
        # many features are added up for it, it is worth more to do so once for all pairs of an example.
        if self._sampler in ("rounds", "pooled") and visit.one_feature_a_row and not restricted:
            visit.scatter(generator(self._seed, "pairs", self._iteration, place.epoch, index))
        return visit

    def _choose(self, visit: Visit, restricted: bool) -> Sampler:
        if self._settings.sampler != "auto":
            return self._settings.sampler
        pairs_of_row = 1.0 if self._settings.leave_one_out else len(visit.pairs) / len(np.unique(visit.pairs.row))
        return choose_sampler(self._labels, pairs_of_row, self._draws, restricted)

    # --- The step ---

    def _evaluate(self, visit: Visit, run: slice, pools: Pools, index: int) -> list[Gradient]:
        """Gradients of the step's sub-blocks, in their order."""
        place, pooled = self._place, self._sampler == "pooled" and not candidates_only(self._gate)
        most = pool_pairs(self._settings.affinity, self._kernel) if pooled else sub_block_pairs(self._settings.batch)
        pieces = cut_pairs(visit.pairs, run, most)
        key = (self._iteration, place.epoch, index, place.step)
        drawn_from = [pools[place.sub_blocks + number] for number in range(len(pieces))] if pooled else []

        def task(number: int) -> _Outcome:
            if pooled:
                return self._against_pool(visit, pieces[number], drawn_from[number])
            return self._by_draws(visit, pieces[number], DrawNumbers.of(self._seed, *key, number))

        place.steps += 1
        try:
            outcomes = self._workers.map(task, len(pieces))
        except FloatingPointError as error:
            raise self._diverged(error) from error
        place.sub_blocks += len(pieces)
        return list(self._counted(outcomes))

    def _counted(self, outcomes: list[_Outcome]) -> Iterator[Gradient]:
        tally = self._tally
        for outcome in outcomes:
            tally.pairs += outcome.pairs
            tally.updates += outcome.updates
            tally.no_negatives += outcome.no_negatives
            tally.draws += outcome.draws
            if outcome.gradient is not None:
                if not math.isfinite(outcome.gradient.loss):
                    raise self._diverged("the loss is not finite")
                tally.loss += outcome.gradient.loss
                yield outcome.gradient

    def _against_pool(self, visit: Visit, piece: slice, pool: NDArray[np.intp]) -> _Outcome:
        found = pooled_gradient(
            visit,
            piece,
            pool,
            self._parameters,
            self._gate,
            self._settings.margin,
            self._losses,
            self._kernel,
        )
        none = int(np.count_nonzero(found.negatives == 0))
        return _Outcome(
            found.gradient if found.updates else None, len(found.negatives), found.updates, none, found.draws
        )

    def _by_draws(self, visit: Visit, piece: slice, numbers: DrawNumbers) -> _Outcome:
        parameters, margin, losses, kernel = self._parameters, self._settings.margin, self._losses, self._kernel
        if self._candidates is not None:
            found = candidate_gradient(visit, piece, self._candidates, parameters, margin, losses, numbers, kernel)
        else:
            sampler: Literal["geometric", "rounds"] = "rounds" if self._sampler == "rounds" else "geometric"
            found = drawn_gradient(visit, piece, sampler, parameters, self._gate, margin, losses, numbers, kernel)
        none = int(np.count_nonzero(found.negatives == 0))
        return _Outcome(found.gradient, len(found.negatives), len(found.pair), none, found.draws)

    def _move(self, gradients: list[Gradient]) -> None:
        if not gradients:
            return
        if self._settings.label_bias:
            for gradient in gradients:  # the coordinate of U that labels' biases are multiplied by stays 1
                gradient.U.values[:, -1] = 0
        C = self._settings.C
        self._move_parameter("V", self._parameters.V, [part for gradient in gradients for part in gradient.V], C)
        self._move_parameter("U", self._parameters.U, [gradient.U for gradient in gradients], C)
        for name in gradients[0].own:
            parts = [part for gradient in gradients for part in gradient.own[name]]
            self._move_parameter(name, self._parameters.own[name], parts, math.inf)
        if self._settings.offset == "learnt" and self._gate is not None:
            change = np.array([math.fsum(gradient.offset for gradient in gradients)], dtype=np.float32)
            self._optimiser.update("offset", self._parameters.offset, change)

    def _move_parameter(self, name: str, parameter: NDArray[np.float32], parts: list[RowGradient], C: float) -> None:
        whole = [part.values for part in parts if part.rows is None]
        if whole:  # dense features touch every row of U
            total = whole[0]
            for values in whole[1:]:
                total = total + values
            self._optimiser.update(name, parameter, total)
            project(parameter, None, C, self._settings.free)
            return
        rows = [part.rows for part in parts if part.rows is not None]
        gradient = SortedRows.of(rows, [part.values for part in parts], len(parameter))
        move_rows(self._optimiser, name, parameter, gradient, C, self._workers, self._settings.free)

    # --- What is said of it ---

    def _diverged(self, reason: object) -> FloatingPointError:
        rate = float(self._optimiser.learning_rate)
        return FloatingPointError(
            f"training diverged at epoch {self._place.epoch}, step {self._place.steps} with learning rate {rate:g}: "
            f"{reason}; lower train.learning_rate"
        )

    def _check_model(self) -> None:
        """The scores of a step show the parameters before it: the last step of an epoch is looked at here."""
        parameters = self._parameters
        looked_at = [(values, "a parameter") for values in (parameters.U, parameters.V, parameters.offset)]
        looked_at += [(values, "a parameter") for values in parameters.own.values()]
        # A sum that has overflowed is a step of 0: nothing would be learnt any more, and nobody told.
        overflowed = "with x or weights so large that they should be scaled, a sum of squared gradients"
        looked_at += [(sums, overflowed) for sums in self._optimiser.accumulators.values()]
        for values, what in looked_at:
            for start in range(0, len(values), _CHECKED_ROWS):
                if not np.isfinite(values[start : start + _CHECKED_ROWS]).all():
                    raise self._diverged(f"{what} is not finite")

    def _report(self, rows: int, total: int) -> None:
        if self._on_progress is not None:
            seconds = time.monotonic() - self._began
            epochs = self._settings.epochs
            self._on_progress(
                Progress(self._place.epoch, epochs, rows, total, seconds, self._sampler, self._first_epoch)
            )
