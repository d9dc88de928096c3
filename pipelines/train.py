"""Train: the single-node WARP trainer between the Beam jobs.

    examples/train (T = 0) or reweighted-T/train (T ≥ 1), the same of validation  →  model-T

With an affinity that is learnt jointly with U and V the examples themselves are trained on at T ≥ 1 too.

Examples are read block by block, the next one while one is worked on. `train.memory` bounds what the process holds:
what the interpreter, U, V, AdaGrad's state of the same size and a sub-block a thread leave of it is for blocks that
stay decoded between epochs. After every epoch, every `train.checkpoint_minutes`, and when the process is asked to
stop, a checkpoint goes to the model's directory, where the best epoch's model is kept as well: there is no second copy
of it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from tqdm import tqdm

from awe_core.baselines.linear import Linear
from awe_core.gate import Gate, affinity_scale
from awe_core.kernels.kernel import KernelName
from awe_core.model import Model, automatic_dimension
from awe_core.training.trainer import Progress, Trained, TrainSettings, train
from pipelines import log
from pipelines.config import LINEAR, Config
from pipelines.datasets.example_blocks import DatasetBlocks
from pipelines.datasets.models import is_trained, load_model, model_facts, model_file, model_tensors
from pipelines.errors import ConfigError
from pipelines.folds.training import train_folds
from pipelines.jobs.memory import Memory, held_beside_examples
from pipelines.jobs.progress import shown
from pipelines.run_directory import Lane
from pipelines.stage import Context, spent, timed
from pipelines.training.baselines import fit_baseline
from pipelines.training.checkpoints import DiskCheckpoints
from pipelines.training.interruption import deferred_signals
from pipelines.training.origin import Origin, begin_with, find_origin
from pipelines.training.pair_matrix import find_pairs
from schemas.errors import DataError
from schemas.manifest import Manifest, read_manifest, recipe_of
from schemas.model_file import ModelFile, find_model, write_model

VERSION = 3

_AFFINITY_FACTS = (
    *("kind", "n", "lambda_x", "input_weight", "median", "mode"),
    *("lambda_y", "near_labels", "median_y", "leaf_rows", "leaf_labels", "fold_medians"),
)
"""Of the reweighted examples, those of a model that is trained on them; a kind has some."""


def train_settings(
    config: Config, iteration: int, facts: Mapping[str, Any], selected: Mapping[str, Any] | None
) -> TrainSettings:
    """The trainer's settings; `facts` are those of the examples, `selected` of the selection lane's model: its epochs
    and its warm start's rate are taken over.

    A training that begins with another model at iteration 0 is a warm start at the full rate: what is new in it has no
    accumulators yet. No other key of a warm start is of iteration 0, whose model stands when one is changed.
    """
    section = config.train
    warm_rate = section.warm_rate if iteration else 1.0
    if selected is not None and selected["warm_rate"] is not None:
        warm_rate = selected["warm_rate"]
    return TrainSettings(
        D=automatic_dimension(int(facts["labels"])) if section.D == "auto" else section.D,
        C=section.C,
        margin=section.margin,
        optimiser=section.optimiser,
        learning_rate=section.learning_rate,
        batch=section.batch,
        epochs=section.epochs if selected is None else int(selected["best_epoch"]),
        patience=section.patience,
        metric=section.metric,
        validation_sample=section.validation_sample,
        warm_start=section.warm_start if iteration else section.init_from is not None,
        warm_rate=warm_rate,
        offset=config.affinity.offset if iteration and config.affinity.joint is None else 0.0,
        leave_one_out=bool(facts["history"]),
        sampler=section.sampler,
        affinity=config.affinity.joint if iteration else None,
        min_epochs=section.min_epochs,
        schedule=section.schedule,
        horizon=section.epochs,
        alpha=section.alpha,
        top_k=section.top_k,
        similarity=section.similarity,
        label_bias=section.label_bias,
        kernel=section.kernel,
        threads=section.threads,
    )


def _datasets(context: Context, lane: Lane, iteration: int) -> dict[str, tuple[str, Manifest]]:
    """Where the lane's examples of this iteration lie, by split."""
    found = {}
    for split in dict.fromkeys([*lane.fit, *([lane.held_out] if lane.held_out else [])]):
        stored = iteration and context.config.affinity.joint is None
        directory = lane.reweighted(iteration, split) if stored else context.run.examples(split)
        made_by = f"affinity --iteration={iteration}" if stored else "ingest"
        found[split] = directory, context.fresh(directory, read_manifest(context.fs, directory, made_by))
    return found


def _selected(context: Context, lane: Lane, iteration: int) -> ModelFile | None:
    """The selection lane's model, whose epochs and penalty the final lane takes over."""
    if lane.held_out:
        return None
    selection = context.lanes()[0]
    return model_file(context.fs, selection.model(iteration), iteration)


def _inputs(
    context: Context,
    lane: Lane,
    iteration: int,
    datasets: Mapping[str, tuple[str, Manifest]],
    start: ModelFile | None,
    selected: ModelFile | None,
) -> dict[str, str]:
    """Fingerprints of all that the model is made from, by their path in the run directory."""
    inputs = {context.short(directory): manifest.fingerprint for directory, manifest in datasets.values()}
    if start is not None:
        inputs[context.short(lane.model(iteration - 1))] = start.fingerprint
    if selected is not None:
        selection = context.lanes()[0]
        inputs[context.short(selection.model(iteration))] = selected.fingerprint
    return inputs


def _recipe(
    context: Context,
    iteration: int,
    settings: TrainSettings,
    inputs: Mapping[str, str],
    baselines: Sequence[str],
    origin: Origin | None,
) -> str:
    """A fingerprint of all that the model depends on; neither memory nor threads nor the bar are among it.

    A baseline is named with the metric that it was chosen by, where that is not P@1; of a history with what x lacks.
    """
    chosen: bool | str = True if settings.metric == "p@1" else settings.metric
    if settings.leave_one_out:
        chosen = f"{settings.metric}, own label left out"
    reads = {
        **settings.what_decides(),
        "bias": context.config.affinity.bias if iteration and settings.affinity is None else 0.0,
        "seed": context.config.run.seed,
        "iteration": iteration,
        "ridge": False,
        **dict.fromkeys(baselines, chosen),
        "init_from": origin.fingerprint if origin else None,
    }
    return recipe_of("train", VERSION, reads, inputs)


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Train model-T of a lane, unless it stands there; after Wsabie also the models of `affinity.folds`."""
    _train_model(context, lane, iteration)
    if iteration == 0 and context.config.folds:
        datasets = _datasets(context, lane, 0)
        facts = datasets[lane.fit[0]][1].facts
        settings = train_settings(context.config, 0, facts, None)
        train_folds(context, lane, [datasets[split] for split in lane.fit], settings)


def _train_model(context: Context, lane: Lane, iteration: int) -> None:
    """Model-T alone."""
    config, fs = context.config, context.fs
    datasets = _datasets(context, lane, iteration)
    facts = datasets[lane.fit[0]][1].facts
    selected = _selected(context, lane, iteration)
    settings = train_settings(config, iteration, facts, selected.facts if selected else None)
    pairs = find_pairs(context, lane, iteration)
    if pairs is not None:
        settings = replace(settings, affinity=pairs.named)
    origin = find_origin(fs, config.train.init_from) if iteration == 0 and config.train.init_from else None
    warm = model_file(fs, lane.model(iteration - 1), iteration - 1) if iteration and settings.warm_start else None
    baselines = [method for method in config.methods(iteration, facts) if method in LINEAR]
    directory = lane.model(iteration)
    inputs = _inputs(context, lane, iteration, datasets, warm, selected) | (pairs.inputs if pairs else {})

    def recipe_for(kernel: KernelName) -> str:
        return _recipe(context, iteration, replace(settings, kernel=kernel), inputs, baselines, origin)

    recipe = recipe_for(settings.kernel_used)
    if is_trained(fs, directory, recipe):
        log.info(f"{context.short(directory)} is up to date, skipped")
        return
    found = find_model(fs, directory)
    if found is not None and "init_from" in found.facts and config.train.init_from is None:
        raise ConfigError(
            f"{context.short(directory)} began with another run's model, and train.init_from is not given: give the "
            f"same --train.init_from=MODEL to keep it, or remove {directory}/model.json to train from scratch"
        )

    if pairs is not None:
        settings = replace(settings, affinity=pairs.listed(int(facts["dimension"]), int(facts["labels"])))
    started = warm is not None or origin is not None
    held = held_beside_examples(int(facts["dimension"]), int(facts["labels"]), settings, started)
    memory = Memory(config.train.memory, held)
    near = fs.near(lane.root)
    held_out = DatasetBlocks(near, [datasets[lane.held_out]], memory) if lane.held_out else None
    fit = DatasetBlocks(near, [datasets[split] for split in lane.fit], memory)
    start = load_model(fs, lane.model(iteration - 1), warm, warm=True) if warm else None
    if origin is not None:
        start = begin_with(fs, origin, context.run.labels, facts, settings, config.run.seed)
    with timed(context.short(directory)), spent(context, lane, f"train-{iteration}"):
        try:
            stored = iteration and settings.affinity is None
            gate = Gate(affinity_scale(fit), config.affinity.bias) if stored else None
            with deferred_signals() as stop:
                minutes = config.train.checkpoint_minutes
                kept = DiskCheckpoints(fs, directory, recipe_for, settings.kernel_used, minutes, stop)
                trained = _train(fit, held_out, facts, settings, config.run.seed, iteration, gate, start, kept)
            fitted: dict[str, Linear] = {}
            extra: dict[str, Any] = {}
            for method in baselines:
                with shown(f"{context.short(directory)}, {method}", None):
                    fitted[method], chosen = fit_baseline(
                        method, fit, held_out, facts, selected, config.run.seed, settings.metric, settings.threads_used
                    )
                extra |= chosen
        except (ValueError, FloatingPointError) as error:
            raise DataError(f"{directory}: {error}") from error
        if facts.get("intercept"):
            extra["intercept"] = facts["intercept"]
        if "mapped_from" in facts:
            extra["landmarks"] = read_manifest(fs, context.run.landmarks, "ingest").fingerprint
        if origin is not None:
            extra["init_from"] = origin.fingerprint
        examples = datasets[lane.fit[0]][1]
        _write(context, directory, recipe, trained, settings, gate, examples, iteration, fitted, extra, inputs)


def _train(
    fit: DatasetBlocks,
    held_out: DatasetBlocks | None,
    facts: Mapping[str, Any],
    settings: TrainSettings,
    seed: int,
    iteration: int,
    gate: Gate | None,
    start: Model | None,
    checkpoints: DiskCheckpoints,
) -> Trained:
    with _progress(f"model-{iteration}", settings.epochs) as report:
        return train(
            fit,
            held_out,
            labels=int(facts["labels"]),
            dimension=int(facts["dimension"]),
            settings=settings,
            seed=seed,
            iteration=iteration,
            gate=gate,
            start=start,
            on_progress=report,
            checkpoints=checkpoints,
        )


def _write(
    context: Context,
    directory: str,
    recipe: str,
    trained: Trained,
    settings: TrainSettings,
    gate: Gate | None,
    examples: Manifest,
    iteration: int,
    baselines: Mapping[str, Linear],
    extra: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> None:
    tensors = model_tensors(trained.model)
    facts = model_facts(trained, settings, context.config.run.seed, iteration, inputs)
    if gate is not None:
        facts |= {"scale": gate.scale, "bias": gate.bias}
        facts |= {name: examples.facts[name] for name in _AFFINITY_FACTS if name in examples.facts}
    facts |= extra
    for method, baseline in baselines.items():
        tensors[method] = {"weights": baseline.weights, "intercept": baseline.intercept}
    history = [asdict(record) for record in trained.history]
    write_model(context.fs, directory, recipe, tensors, facts, history)
    if trained.warm_rate not in (None, settings.warm_rate):
        log.info(f"{context.short(directory)}: larger steps lost against the start: warm_rate = {trained.warm_rate:g}")
    p_at_1 = facts["validation_p@1"]
    score = "" if p_at_1 is None else f", validation P@1 {100 * p_at_1:.2f} %"
    if p_at_1 is not None and settings.metric != "p@1":
        score += f", {settings.metric} {100 * facts[f'validation_{settings.metric}']:.2f} %"
    log.info(f"{context.short(directory)}: epoch {trained.best_epoch} kept{score}")


@contextmanager
def _progress(name: str, epochs: int) -> Iterator[Any]:
    """A bar on a terminal, a line an epoch elsewhere, both with the time left if all epochs are run."""
    with tqdm(total=epochs, desc=name, unit="epoch", disable=log.no_bar(), leave=False) as bar:
        logged, sampler, reached = 0, None, (0, 0)

        def report(progress: Progress) -> None:
            nonlocal logged, sampler, reached
            before, reached = reached, (progress.epoch, progress.rows)
            if reached < before:
                logged = 0
                log.info(f"{name}: no epoch was above the start: once more, with smaller steps")
            if progress.sampler != sampler:
                sampler = progress.sampler
                log.info(f"{name}: from epoch {progress.epoch} on negatives are drawn by: {sampler}")
            bar.update(progress.epoch - 1 + progress.rows / max(1, progress.rows_of_epoch) - bar.n)
            if bar.disable and progress.rows == progress.rows_of_epoch and progress.epoch > logged:
                logged = progress.epoch
                log.info(
                    f"{name}: epoch {progress.epoch} of at most {progress.epochs}, {progress.seconds:.1f} s, "
                    f"at most {progress.seconds_left:.0f} s left"
                )

        yield report
