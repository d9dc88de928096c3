"""The commands that are no stage: they look at this machine, at data, or at a run.

As in `pipelines.command_line.cli`, what a command does is imported when it is run.
"""

from __future__ import annotations

from typing import Literal, get_args

import click

from pipelines.command_line.commented_toml import SECTIONS, commented
from pipelines.command_line.manual import EXIT
from pipelines.command_line.option_types import Location
from pipelines.errors import ConfigError
from pipelines.formats.registry import FORMATS
from pipelines.jobs.runners import RUNNERS
from schemas.tables import EXAMPLES
from schemas.vector_formats import Format


@click.command("doctor", epilog=EXIT)
@click.option("--run", default="runs", show_default=True, metavar="DIR", help="Run directory that will be written.")
@click.option(
    "--runner",
    type=click.Choice(list(RUNNERS)),
    default="in-process",
    show_default=True,
    help="Runner that has to work.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor_command(run: str, runner: str, as_json: bool) -> None:
    """What this machine has, what each runner needs of it, and whether it is there.

    ok: it is there. absent: it is not, and only some need it. wrong: no run can do without it. → is the mend. Ends
    with status 0 if a run on that runner could start, else with 1.
    """
    from pipelines.command_line import doctor

    doctor.main(run, runner, as_json, click.echo)


@click.command("init", epilog=EXIT)
@click.argument("train", nargs=-1, required=True, metavar="DATA…", type=Location())
@click.option(
    "--validation", type=Location(), multiple=True, metavar="PATH", help="Files of it.  [default: a tenth of train]"
)
@click.option("--test", type=Location(), multiple=True, metavar="PATH", help="Files of it.  [default: a fifth of DATA]")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Of all files.  [default: found by their first lines]"
)
@click.option(
    "--output", type=Location(), metavar="FILE", help="The TOML.  [default: named after DATA, in this folder]"
)
def init_command(
    train: tuple[str, ...], validation: tuple[str, ...], test: tuple[str, ...], format_: str | None, output: str | None
) -> None:
    """Write a commented TOML for DATA: paths, format, what was seen in the files, every key with its default.

    Files are told apart as `awe ingest` does it. A file that stands there is not overwritten; ends in the file written
    and the command to run next.

    \b
    Example:
      awe init /data/train.svm --test=/data/test.svm --output=mine.toml
    """
    from pipelines.command_line import initial_config

    click.echo(initial_config.main(initial_config.Request(train, validation, test, format_, output)))


@click.command("keys", epilog=EXIT)
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)), metavar="[SECTION]…")
def keys_command(sections: tuple[str, ...]) -> None:
    """The keys of the configuration, of all sections or of some: meaning, unit, values and default.

    What is printed is a TOML, all of it comments.
    """
    click.echo(commented(sections or list(SECTIONS), {}), nl=False)


_ITERATION = click.option(
    "--iteration", type=click.IntRange(min=0), metavar="T", help="0 is Wsabie, 1 the first AWE.  [default: the last]"
)


@click.command("report", epilog=EXIT)
@click.option("--run", required=True, metavar="DIR", type=Location(), help="The run, of one seed or several.")
def report_command(run: str) -> None:
    """RUN/report.html: one file that opens offline; `awe run` ends with it.

    Results beside published ones, training, time and memory by stage, G, a map of the labels, nearest labels, example
    annotations. Of several seeds: means and spreads, and links to the reports of each.
    """
    from pipelines.filesystems.filesystem import BeamFileSystem
    from pipelines.questions.existing_run import ExistingRun
    from pipelines.report import over_seeds, page
    from pipelines.run_directory import RunDirectory

    fs, directory = BeamFileSystem(), RunDirectory.at(run)
    if directory.holds_seeds(fs):
        click.echo(over_seeds.main(over_seeds.Seeds.standing_at(fs, directory)))
    else:
        click.echo(page.main(ExistingRun.open(run)))


@click.command("export", epilog=EXIT)
@click.argument("run", metavar="RUN")
@_ITERATION
@click.option(
    "--format", "format_", type=click.Choice(get_args(Format)), required=True, help="Of the files; see above."
)
@click.option("--of", type=click.Choice(["labels", "examples"]), default="labels", show_default=True, help="V or Ux.")
@click.option("--split", type=click.Choice(EXAMPLES), help="Of the examples.  [default: what the run was fitted on]")
@click.option("--output", type=Location(), required=True, metavar="DIR", help="Folder of the files.")
def export_command(
    run: str, iteration: int | None, format_: Format, of: Literal["labels", "examples"], split: str | None, output: str
) -> None:
    """Label or example vectors of a run for other programs; ends in the files written.

    word2vec: text. faiss: an index with its names in a TSV, needs the extra `faiss`. tsv: for TensorBoard's projector.
    parquet: id, name, vector.

    \b
    Example:
      awe export runs/mine --of=labels --format=word2vec --output=vectors
    """
    from pipelines.questions import export

    for path in export.main(export.Request(run, iteration, of, split, format_, output)):
        click.echo(path)


@click.command("neighbours", epilog=EXIT)
@click.option("--run", required=True, metavar="DIR", help="The run, of one seed.")
@click.option("--label", metavar="NAME", help="Its nearest labels, by the cosine of V. This or --example is required.")
@click.option(
    "--example",
    metavar="ID",
    help="The training rows nearest to it, by squared distance of Ux. This or --label is required.",
)
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@_ITERATION
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def neighbours_command(
    run: str, label: str | None, example: str | None, k: int, iteration: int | None, as_json: bool
) -> None:
    """What a run's embedding puts beside a label, with its siblings marked, or beside an example.

    \b
    Example:
      awe neighbours --run=runs/mine --label=dolphin --k=5
    """
    from pipelines.questions import nearest

    if (label is None) == (example is None):
        raise ConfigError("give either --label=NAME or --example=ID")
    click.echo(nearest.main(nearest.Request(run, iteration, label, example, k, as_json)))


@click.group("model")
def model_command() -> None:
    """What is in a model's folder: `awe model show RUN/model-1`."""


@model_command.command("show", epilog=EXIT)
@click.argument("directory", metavar="DIR", type=Location())
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_command(directory: str, as_json: bool) -> None:
    """Shapes, norms, facts, settings, what it was made from, and its training history; checks all of its tensors."""
    from pipelines.questions import model_report

    click.echo(model_report.main(directory, as_json))


COMMANDS = (
    doctor_command,
    init_command,
    keys_command,
    report_command,
    export_command,
    neighbours_command,
    model_command,
)
