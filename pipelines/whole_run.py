"""The run that a command line names: opened, and one stage of it run, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import affinity, annotate, embed, evaluate, ingest, log, results_table, train
from pipelines.config import Config, load_config, parse_overrides, refuse_missing_kernel
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import pipeline_options
from pipelines.questions.existing_run import ExistingRun
from pipelines.report import over_seeds, page
from pipelines.run_directory import Lane, RunDirectory
from pipelines.stage import Context

OF_AN_ITERATION: dict[str, Callable[[Context, Lane, int], None]] = {
    "embed": embed.main,
    "affinity": affinity.main,
    "train": train.main,
    "annotate": annotate.main,
    "evaluate": evaluate.main,
}
"""The stages that every iteration has, or all but the first."""


def beams_options(runner: str, flags: Sequence[str]) -> PipelineOptions:
    """Beam's options for a runner, its filesystems told of them. Raises ConfigError."""
    options = pipeline_options(runner, flags)
    FileSystems.set_options(options)
    return options


def keys_among(flags: Sequence[str]) -> list[str]:
    """Those of the configuration, `--section.key=value`; the others are Beam's."""
    return [flag for flag in flags if flag.startswith("--") and "." in flag.partition("=")[0]]


def opened(config_path: str | None, run_root: str, runner: str, flags: Sequence[str]) -> Context:
    """Check configuration, command line and run directory before any work. Raises ConfigError."""
    keys = keys_among(flags)
    options = beams_options(runner, [flag for flag in flags if flag not in keys])
    fs = BeamFileSystem()
    config = load_config(fs, config_path, parse_overrides(keys))
    refuse_missing_kernel(config)
    return Context(config, RunDirectory.at(run_root), fs, options)


def run_ingest(context: Context) -> None:
    """Raw files → examples."""
    ingest.main(context)
    context.write_configuration()


def run_stage(name: str, context: Context, iteration: int) -> None:
    """One stage of an iteration, in every lane. Raises ConfigError where the affinity has no such stage."""
    joint = context.config.affinity.joint
    if name == "affinity" and joint is not None:
        raise ConfigError(
            f'affinity.kind = "{joint.kind}" is learnt with U and V, so there is nothing to compute before; go on '
            f"with 'awe train --iteration={iteration}'"
        )
    for lane in context.lanes():
        OF_AN_ITERATION[name](context, lane, iteration)
    context.write_configuration()


def train_iteration(context: Context, lane: Lane, iteration: int) -> None:
    """Model-T of a lane, and before it what its kind of affinity is made of."""
    settings = context.config.affinity
    if iteration and settings.stored:
        if settings.embedded:
            embed.main(context, lane, settings.source(iteration))
        affinity.main(context, lane, iteration)
    train.main(context, lane, iteration)


def run_all(context: Context) -> None:
    """All stages of a run in their order, lane after lane: the final one takes its epochs from the selection."""
    run_ingest(context)
    config: Config = context.config
    for lane in context.lanes():
        for iteration in range(config.run.iterations + 1):
            train_iteration(context, lane, iteration)
            annotate.main(context, lane, iteration)
            evaluate.main(context, lane, iteration)
    evaluate.keep_only(context, expected_rows(context))
    page.main(ExistingRun(context, config.run.iterations))


def run_seeds(context: Context, seeds: Sequence[int], as_json: bool) -> str:
    """`run_all` for each seed, and the report of all; the table of their means and spreads."""
    for seed in seeds:
        config = context.config.model_copy(update={"run": context.config.run.model_copy(update={"seed": seed})})
        log.info(f"seed {seed}")
        run_all(Context(config, context.run.of_seed(seed), context.fs, context.options))
    found = results_table.of_seeds(context.fs, context.run, seeds, as_json)
    over_seeds.main(over_seeds.Seeds(context.fs, context.run, tuple(seeds)))
    return found


def expected_rows(context: Context) -> set[results_table.RowKey]:
    """The rows of the results that this configuration makes."""
    config, facts = context.config, context.examples("train").facts
    return {
        (split, iteration, method)
        for lane in context.lanes()
        for iteration in range(config.run.iterations + 1)
        for method in config.methods(iteration, facts)
        for split in lane.ranked
    }
