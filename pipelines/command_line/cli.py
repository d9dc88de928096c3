"""The program `awe`: one command a stage, `awe run` for all of them.

Every command of a stage takes --config, --run, configuration keys as --section.key=value, and Beam's own options as
they are. `pipelines.command_line.manual` has what the help says of the program, and the exit status.

Here is what a command line may say. What a command does is imported when it is run: the help and a shell's completion
do without Beam, which alone takes more than a second, and Beam finds the log set up when it warns of what it lacks.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, get_args

import click
from threadpoolctl import threadpool_limits

from awe_core.affinities.settings import KINDS
from awe_core.knn.metric import Metric
from pipelines import log
from pipelines.command_line.commands import COMMANDS
from pipelines.command_line.manual import EXIT, PROGRAM, SETTINGS, Manual
from pipelines.command_line.option_types import Bytes, Finite, Location
from pipelines.errors import ConfigError, DataError, JobError, TemplateWritten
from pipelines.formats.registry import FORMATS
from pipelines.jobs.runners import RUNNERS


def _be_quiet(context: click.Context, parameter: click.Parameter, quiet: bool) -> None:
    if quiet:
        log.be_quiet()


QUIET = click.option(
    "--quiet", is_flag=True, is_eager=True, expose_value=False, callback=_be_quiet, help="No progress, only errors."
)
RUNNER = click.option(
    "--runner",
    type=Location(),
    default="in-process",
    show_default=True,
    metavar="NAME",
    help=f"Beam runner: {', '.join(RUNNERS)}, or one of Beam's own names.",
)
_OPTIONS = [
    click.option(
        "--config",
        "config_path",
        type=Location(),
        metavar="FILE",
        help="TOML of the experiment, a path or a URI.  [default: every key's own default]",
    ),
    click.option("--run", "run_root", metavar="DIR", required=True, help="Run directory: a path or a URI."),
    RUNNER,
    QUIET,
    click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[--section.key=VALUE]…"),
]
_RESULTS_AS_JSON = click.option(
    "--json", "as_json", is_flag=True, help="The results as JSON: fractions; nothing else is on standard output."
)
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": True}


def _command(name: str, summary: str) -> Callable[[Callable[..., None]], click.Command]:
    def decorate(function: Callable[..., None]) -> click.Command:
        for option in reversed(_OPTIONS):
            function = option(function)
        made = cli.command(name, help=summary, epilog=f"{SETTINGS}\n\n{EXIT}", context_settings=_PASS_ON)
        return made(function)

    return decorate


@click.group(cls=Manual, help=PROGRAM, epilog=EXIT, context_settings={"max_content_width": 100})
@click.version_option(package_name="affinity-weighted-embedding", prog_name="awe")
def cli() -> None:
    """All commands."""


@_command(
    "ingest",
    """Raw files → examples, labels, rejects.

    Reads the files of data.train, data.validation and data.test (a fraction is held out of train by hash), and writes
    RUN/examples/{train,validation,test}, RUN/labels, RUN/rejects (rows that cannot be examples: file, line, reason) and
    RUN/scaling.
    """,
)
def _ingest(config_path: str | None, run_root: str, runner: str, flags: Sequence[str]) -> None:
    from pipelines import whole_run

    whole_run.run_ingest(whole_run.opened(config_path, run_root, runner, flags))


def _add_stage(name: str, first: int, summary: str) -> None:
    """A stage of every iteration from `first` on; `annotate` has a command of its own below."""

    def command(
        iteration: int,
        config_path: str | None,
        run_root: str,
        runner: str,
        flags: Sequence[str],
        init_from: str | None = None,
        as_json: bool = False,
    ) -> None:
        from pipelines import results_table, whole_run

        if init_from is not None:
            flags = (*flags, f"--train.init_from={json.dumps(init_from)}")
        context = whole_run.opened(config_path, run_root, runner, flags)
        if iteration < first:
            raise ConfigError(f"--iteration={iteration}: the first iteration that has '{name}' is {first}")
        whole_run.run_stage(name, context, iteration)
        if name == "evaluate":
            click.echo(results_table.of_run(context.fs, context.run, as_json))

    option = click.option(
        "--iteration", default=first, show_default=True, metavar="T", help="0 is Wsabie, 1 the first AWE."
    )
    function = option(command)
    if name == "evaluate":
        function = _RESULTS_AS_JSON(function)
    if name == "train":
        function = click.option(
            "--init-from",
            type=Location(),
            metavar="MODEL",
            help="As --train.init_from: begin with this model, and grow what it lacks.  [default: from scratch]",
        )(function)
    _command(name, summary)(function)


_add_stage(
    "train",
    0,
    """Examples, or reweighted examples, → model-T, by WARP on this machine.

    Iteration 0 is Wsabie. A checkpoint is left after every epoch and when it is stopped; the same command goes on.
    """,
)
_add_stage("embed", 0, """Examples, model-T → embeddings-T: Ux of every example.""")
_add_stage(
    "affinity",
    1,
    """Embeddings of the iteration before → neighbours → G → reweighted-T.

    The plan of the join (shards, tasks, memory, seconds) is said before it runs.
    """,
)
_add_stage("evaluate", 0, """Predictions of an iteration → results.json; ends in the table of all results on test.""")


@_command(
    "annotate",
    """Examples, models → the k best labels by every method of iteration T; or, with --input, of new rows.

    New rows are ranked by the run's last iteration, and OUTPUT says why: beside each label stand the nearest training
    rows that have it, and their weights. With --input all settings are the run's; ends in the directory written.

    \b
    Examples:
      awe annotate --config=mine.toml --run=runs/mine --iteration=1
      awe annotate --run=runs/mine --input=/data/new.svm --output=/data/annotated
    """,
)
@click.option(
    "--iteration", type=click.IntRange(min=0), metavar="T", help="0 is Wsabie.  [default: 0; with --input, the last]"
)
@click.option(
    "--input",
    "inputs",
    type=Location(),
    multiple=True,
    metavar="PATH",
    help="New rows: a file or pattern; may be repeated.  [default: the run's validation and test]",
)
@click.option("--output", type=Location(), metavar="DIR", help="Where the annotations go; required with --input.")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Of new rows.  [default: found by their first lines]"
)
@click.option("--k", type=click.IntRange(min=1), help="Labels a new row.  [default: the run's evaluate.k]")
def _annotate(
    iteration: int | None,
    inputs: tuple[str, ...],
    output: str | None,
    format_: str | None,
    k: int | None,
    config_path: str | None,
    run_root: str,
    runner: str,
    flags: Sequence[str],
) -> None:
    from pipelines import annotate_input, whole_run

    if not inputs:
        if output or format_ or k:
            raise ConfigError("--output, --format and --k go with --input=PATH")
        whole_run.run_stage("annotate", whole_run.opened(config_path, run_root, runner, flags), iteration or 0)
        return
    if not output:
        raise ConfigError("--input needs --output=DIR, where the annotations go")
    if config_path or whole_run.keys_among(flags):
        raise ConfigError("--input takes all settings from the run; leave out --config and --section.key")
    request = annotate_input.Request(run_root, iteration, inputs, format_, output, k)
    click.echo(annotate_input.main(whole_run.beams_options(runner, flags), request))


@_command(
    "run",
    """All stages of all iterations, skipping what is up to date; ends in report.html and the table of results on test.

    \b
    Examples:
      awe run --config=configs/digits.toml --run=runs/digits
      awe run --config=configs/digits.toml --run=runs/digits-3 --seeds=0,1,2 --train.D=16
    """,
)
@click.option(
    "--seeds",
    metavar="S,S,…",
    help="Several seeds: RUN/seed-S each, and of all RUN/summary.json and report.html.  [default: run.seed alone]",
)
@_RESULTS_AS_JSON
def _run(
    config_path: str | None, run_root: str, runner: str, flags: Sequence[str], seeds: str | None, as_json: bool
) -> None:
    from pipelines import results_table, whole_run

    context = whole_run.opened(config_path, run_root, runner, flags)
    if seeds is None:
        whole_run.run_all(context)
        click.echo(results_table.of_run(context.fs, context.run, as_json))
    else:
        click.echo(whole_run.run_seeds(context, _parse_seeds(seeds), as_json))


@_command(
    "tune",
    """Choose settings by validation alone: best.toml, for `awe run --config`, and trials.json.

    Test is never built; a run directory where it stands is refused. The same command goes on with a search. Give
    --budget, --trials or both; ends in the path of best.toml.
    """,
)
@click.option("--budget", type=Finite(), metavar="MINUTES", help="Of all trials together.  [default: no bound]")
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="Of each of the two searches.  [default: no bound]"
)
@click.option("--seeds", metavar="S,S,…", help="Runs that a trial is measured by.  [default: run.seed alone]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the search itself.")
def _tune(
    config_path: str | None,
    run_root: str,
    runner: str,
    flags: Sequence[str],
    budget: float | None,
    trials: int | None,
    seeds: str | None,
    seed: int,
) -> None:
    if budget is None and trials is None:
        raise ConfigError("give --budget=MINUTES, --trials=N or both: a search has no end of its own")
    try:
        from pipelines import tune
    except ModuleNotFoundError as error:
        raise ConfigError(f'{error.name} is missing; pip install "affinity-weighted-embedding[tune]"') from None
    from pipelines import whole_run

    context = whole_run.opened(config_path, run_root, runner, flags)
    measured_by = (context.config.run.seed,) if seeds is None else tuple(_parse_seeds(seeds))
    click.echo(tune.main(context, tune.Request(budget, trials, measured_by, seed)))


@cli.command("knn", epilog=EXIT, context_settings=_PASS_ON)
@click.option(
    "--base",
    type=Location(),
    multiple=True,
    required=True,
    metavar="DIR",
    help="Dataset of vectors, as RUN/embeddings-0/train; may be repeated.",
)
@click.option(
    "--queries",
    type=Location(),
    multiple=True,
    metavar="DIR",
    help="Datasets asked for; may be repeated.  [default: the base itself]",
)
@click.option(
    "--output", type=Location(), required=True, metavar="DIR", help="The neighbours of …/NAME go to DIR/NAME."
)
@click.option("--n", type=click.IntRange(min=1), default=20, show_default=True, help="Neighbours a row.")
@click.option(
    "--metric",
    type=click.Choice(get_args(Metric)),
    default="euclidean",
    show_default=True,
    help="Squared Euclidean distance, 1 − cosine, or the inner product.",
)
@click.option(
    "--recall",
    type=Finite(1),
    default=1.0,
    show_default=True,
    help="Share of the neighbours of the base in itself to be found, by inverted lists; 1 finds all.",
)
@click.option(
    "--known",
    type=Location(),
    metavar="DIR",
    help="Output of the base as it was: only what is new is joined.  [default: all is joined]",
)
@click.option("--shards", type=click.IntRange(min=1), help="Shards of the base.  [default: the plan's]")
@click.option("--memory", type=Bytes(), default="4GiB", show_default=True, help="Of a worker: bytes, or 16GiB, say.")
@RUNNER
@QUIET
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[--beams_option=VALUE]…")
def _knn(
    base: tuple[str, ...],
    queries: tuple[str, ...],
    output: str,
    n: int,
    metric: Metric,
    recall: float,
    known: str | None,
    shards: int | None,
    memory: int,
    runner: str,
    flags: tuple[str, ...],
) -> None:
    """The n nearest rows of the base for every row that is asked for; ends in the directories written.

    The plan (shards, tasks, memory, seconds) is said before it runs. Beam's own options are passed on.

    \b
    Example:
      awe knn --base=RUN/embeddings-0/train --queries=RUN/embeddings-0/test --output=RUN/near --n=20
    """
    from pipelines import knn, whole_run
    from pipelines.filesystems.filesystem import BeamFileSystem

    request = knn.Request(base, queries, output, n, metric, known, shards, memory, recall)
    for directory in knn.main(BeamFileSystem(), whole_run.beams_options(runner, flags), request):
        click.echo(directory)


_COUNT, _POSITIVE = click.IntRange(min=0), click.IntRange(min=1)


@cli.command("plan", epilog=EXIT)
@click.option(
    "--run",
    "root",
    metavar="DIR",
    help="A run: its counts, settings and logs; options go before them.  [default: none, the counts below]",
)
@click.option(
    "--config",
    type=Location(),
    metavar="FILE",
    help="Settings of an experiment that has not run; options go before them.  [default: the run's, or the options]",
)
@click.option("--rows", "train", type=_POSITIVE, help="Rows of train.  [default: 100000]")
@click.option("--validation-rows", "validation", type=_COUNT, help="Rows.  [default: a tenth of train's]")
@click.option("--test-rows", "test", type=_COUNT, help="Rows.  [default: a fifth of train's]")
@click.option("--features", "dimension", type=_POSITIVE, help="Width of x, d.  [default: 128]")
@click.option("--nonzeros", type=_POSITIVE, help="Features of a row that are not 0, if x is sparse.  [default: dense]")
@click.option("--embedding", "D", type=_POSITIVE, help="Dimension of the embedding, D.  [default: 64]")
@click.option("--labels", type=_POSITIVE, help="Different labels, Y.  [default: 100]")
@click.option("--labels-a-row", type=Finite(), help="Mean number of them.  [default: 1]")
@click.option("--n", type=_POSITIVE, help="Neighbours of a row.  [default: 50]")
@click.option("--k", type=_POSITIVE, help="Length of the predicted lists.  [default: 10]")
@click.option("--iterations", type=_COUNT, help="T of the last iteration.  [default: 1]")
@click.option("--epochs", type=_POSITIVE, help="Of every training, at the most.  [default: 50]")
@click.option("--kind", type=click.Choice(KINDS), help="Of the affinity.  [default: knn]")
@click.option("--folds", type=_COUNT, help="Of the training rows, for G out of fold.  [default: 0, none]")
@click.option("--recall", type=Finite(1), help="Of the join, a fraction.  [default: 1, all]")
@click.option("--files", type=_POSITIVE, help="Of raw data: one task reads one.  [default: as many as tasks]")
@click.option("--workers", type=_POSITIVE, default=1, show_default=True, help="Machines or containers.")
@click.option("--cores", type=_POSITIVE, default=2, show_default=True, help="Of a worker: tasks at once.")
@click.option("--memory", type=Bytes(), default="8GiB", show_default=True, help="Of a worker: bytes, or 16GiB, say.")
@click.option(
    "--runner", type=click.Choice(list(RUNNERS)), default="in-process", show_default=True, help="Where it would run."
)
@click.option("--probe", is_flag=True, help="Measure this machine's speeds first, for some ten seconds.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: bytes, FLOPs and seconds.")
def _plan(
    root: str | None,
    config: str | None,
    workers: int,
    cores: int,
    memory: int,
    runner: str,
    probe: bool,
    as_json: bool,
    **counts: Any,
) -> None:
    """What every stage will do, move, hold and take, and the runner's flags. Nothing is run.

    Counts are options, or those of a run that stands there; settings are those of a configuration too. What does not
    fit is refused, with what would.

    \b
    Example:
      awe plan --config=mine.toml --rows=10000000 --labels=21000 --features=474 --runner=dataflow --workers=20
    """
    from pipelines import plan
    from pipelines.planning.run_plan import Cluster

    cluster = Cluster(workers, cores, memory, in_process=runner == "in-process")
    given = {name: value for name, value in counts.items() if value is not None}
    click.echo(plan.main(plan.Request(root, config, given, cluster, runner, probe, as_json)))


def _parse_seeds(text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds={text}: give whole numbers with commas between, as in --seeds=0,1,2") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ConfigError(f"--seeds={text}: every seed once, each from 0 to 4294967295")
    return seeds


for _asked in COMMANDS:
    cli.add_command(_asked)


def _stop(number: int, frame: FrameType | None) -> None:
    log.notice(f"stopped by {signal.Signals(number).name}; what was finished stands, run the same command to go on")
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    log.configure()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        with threadpool_limits(1):  # the same bits whatever the machine has; workers and threads are the parallelism
            cli.main(arguments, prog_name="awe", standalone_mode=False)
    except TemplateWritten as written:
        log.info(f"{written}; when its job has ended, the same command without it keeps what is left to do here")
    except ConfigError as error:
        _fail(str(error), 2)
    except click.UsageError as error:
        asked = f"; see '{error.ctx.command_path} --help'" if error.ctx else ""
        _fail(f"{error.format_message().rstrip('.')}{asked}", 2)
    except (DataError, JobError) as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error.filename or 'disk'}: {error.strerror or error}; see that the path can be read and written", 1)
    except MemoryError as error:
        _fail(f"not enough memory: {error or 'an array does not fit'}; lower train.D or train.batch", 1)


def _fail(message: str, status: int) -> None:
    click.echo(f"awe: {' '.join(message.split())}", err=True)
    sys.exit(status)
