"""Wsabie once more for every fold of the training examples, without that fold (`awe_core.folds`).

    examples of the lane's fit, model-0  →  folds/K/model-0

Settings, seed and epochs are those of model-0: it says which epoch was its best. The trainings are independent and run
side by side, as many at once as there are threads and as `train.memory` has room for models; each on its share of the
threads, all from the same decoded blocks. No byte depends on how many they are. Each has checkpoints of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from awe_core.folds import OtherFolds, without_each
from awe_core.kernels.kernel import KernelName
from awe_core.threads import Workers
from awe_core.training.trainer import Progress, Trained, TrainSettings, train
from pipelines import log
from pipelines.datasets.example_blocks import DatasetBlocks
from pipelines.datasets.models import is_trained, model_facts, model_file, model_tensors
from pipelines.jobs.memory import Memory, held_beside_examples
from pipelines.run_directory import Lane
from pipelines.stage import Context, spent, timed
from pipelines.training.checkpoints import DiskCheckpoints
from pipelines.training.interruption import Stop, deferred_signals
from schemas.errors import DataError
from schemas.manifest import Manifest, recipe_of
from schemas.model_file import write_model

VERSION = 1


def train_folds(
    context: Context, lane: Lane, datasets: Sequence[tuple[str, Manifest]], settings: TrainSettings
) -> None:
    """Train the models of a lane's folds that do not stand there.

    Parameters
    ----------
    datasets : the examples that model-0 was fitted on.
    settings : of model-0.

    Raises
    ------
    ConfigError : not even one of them keeps to `train.memory`.
    DataError : a training diverged, or a fold leaves no pair to train on.
    """
    whole = context.fresh(lane.model(0), model_file(context.fs, lane.model(0), 0))
    inputs = {context.short(directory): manifest.fingerprint for directory, manifest in datasets}
    inputs[context.short(lane.model(0))] = whole.fingerprint
    settings = replace(settings, epochs=int(whole.facts["best_epoch"]))
    training = _FoldTraining(context, lane, settings, inputs, datasets[0][1].facts)
    todo = [fold for fold in range(context.config.folds) if not training.stands(fold)]
    if todo:
        with timed(context.short(f"{lane.root}/folds")), spent(context, lane, "train-folds"):
            training.run(datasets, todo)
    else:
        log.info(f"{context.short(f'{lane.root}/folds')} are up to date, skipped")


class _FoldTraining:
    """The trainings of a lane's folds."""

    def __init__(
        self, context: Context, lane: Lane, settings: TrainSettings, inputs: dict[str, str], facts: Any
    ) -> None:
        self._context, self._lane, self._settings, self._inputs = context, lane, settings, inputs
        self._labels, self._dimension = int(facts["labels"]), int(facts["dimension"])
        self._folds, self._seed = context.config.folds, context.config.run.seed

    def _recipe(self, fold: int, kernel: KernelName) -> str:
        reads = replace(self._settings, kernel=kernel).what_decides()
        return recipe_of("fold", VERSION, {**reads, "seed": self._seed, "fold": [fold, self._folds]}, self._inputs)

    def stands(self, fold: int) -> bool:
        """Whether the model of a fold is there as it would be trained."""
        recipe = self._recipe(fold, self._settings.kernel_used)
        return is_trained(self._context.fs, self._lane.fold_model(fold), recipe)

    def run(self, datasets: Sequence[tuple[str, Manifest]], todo: Sequence[int]) -> None:
        """Train some folds, side by side."""
        at_once, memory = self._room(min(len(todo), self._settings.threads_used))
        fit = DatasetBlocks(self._context.fs.near(self._lane.root), datasets, memory)
        others = without_each(fit, self._seed, self._folds)
        share = replace(self._settings, threads=max(1, self._settings.threads_used // at_once))
        with (
            threadpool_limits(1, user_api="blas"),  # once for all: each training would lift it for the others
            deferred_signals() as stop,
            _progress(share.epochs * len(todo)) as report,
            Workers(at_once) as workers,
        ):
            workers.each(lambda fold: self._train(fold, others[fold], share, stop, report), todo)

    def _room(self, trainings: int) -> tuple[int, Memory]:
        """How many models `train.memory` has room for at once, blocks of examples aside; one at the least."""
        bound = self._context.config.train.memory
        while True:
            held = held_beside_examples(self._dimension, self._labels, self._settings, False, trainings)
            if trainings == 1 or held <= bound:
                return trainings, Memory(bound, held, trainings)
            trainings -= 1

    def _train(
        self, fold: int, others: OtherFolds, settings: TrainSettings, stop: Stop, report: Callable[[Progress], None]
    ) -> None:
        fs, directory, kernel = self._context.fs, self._lane.fold_model(fold), settings.kernel_used
        minutes = self._context.config.train.checkpoint_minutes
        kept = DiskCheckpoints(fs, directory, partial(self._recipe, fold), kernel, minutes, stop)
        try:
            trained = train(
                others,
                None,
                self._labels,
                self._dimension,
                settings,
                self._seed,
                on_progress=report,
                checkpoints=kept,
            )
        except (ValueError, FloatingPointError) as error:
            raise DataError(f"{directory}: {error}") from error
        self._write(fold, directory, trained)
        log.info(f"{self._context.short(directory)}: {settings.epochs} epochs on the other folds")

    def _write(self, fold: int, directory: str, trained: Trained) -> None:
        facts = model_facts(trained, self._settings, self._seed, 0, self._inputs)
        recipe = self._recipe(fold, self._settings.kernel_used)
        history = [asdict(record) for record in trained.history]
        fold_of = {"fold": fold, "folds": self._folds}
        write_model(self._context.fs, directory, recipe, model_tensors(trained.model), {**facts, **fold_of}, history)


@contextmanager
def _progress(epochs: int) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, over the epochs of all folds."""
    with tqdm(total=epochs, desc="folds", unit="epoch", disable=log.no_bar(), leave=False) as bar:

        def report(progress: Progress) -> None:
            if progress.rows == progress.rows_of_epoch:
                bar.update(1)

        yield report
