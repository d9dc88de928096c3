"""The commands that ask something of a run: export, neighbours, model show."""

from __future__ import annotations

from typing import Literal, get_args

import click

from pipelines import export, model_report, nearest
from pipelines.errors import ConfigError
from schemas.tables import SPLITS
from schemas.vector_formats import Format

_ITERATION = click.option("--iteration", type=click.IntRange(min=0), metavar="T", help="[default: the last]")


@click.command("export")
@click.argument("run", metavar="RUN")
@_ITERATION
@click.option("--format", "format_", type=click.Choice(get_args(Format)), required=True)
@click.option("--of", type=click.Choice(["labels", "examples"]), default="labels", show_default=True, help="V or Ux.")
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Of the examples.")
@click.option("--output", required=True, metavar="DIR", help="Folder of the files.")
def export_command(
    run: str, iteration: int | None, format_: Format, of: Literal["labels", "examples"], split: str, output: str
) -> None:
    """Label or example vectors of a run for other programs; ends in the files written.

    word2vec: text. faiss: an index with its names in a TSV, needs the extra `faiss`. tsv: for TensorBoard's projector.
    parquet: id, name, vector.
    """
    for path in export.main(export.Request(run, iteration, of, split, format_, output)):
        click.echo(path)


@click.command("neighbours")
@click.option("--run", required=True, metavar="DIR", help="The run, of one seed.")
@click.option("--label", metavar="NAME", help="The labels nearest to this one, by the cosine of V.")
@click.option("--example", metavar="ID", help="The rows of the base nearest to this one, by distance of Ux.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@_ITERATION
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def neighbours_command(
    run: str, label: str | None, example: str | None, k: int, iteration: int | None, as_json: bool
) -> None:
    """What a run's embedding puts beside a label, with its siblings marked, or beside an example."""
    if (label is None) == (example is None):
        raise ConfigError("give either --label=NAME or --example=ID")
    click.echo(nearest.main(nearest.Request(run, iteration, label, example, k, as_json)))


@click.group("model")
def model_command() -> None:
    """A model's folder."""


@model_command.command("show")
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_command(directory: str, as_json: bool) -> None:
    """Shapes, norms, facts, settings, what it was made from, and its training history; checks all of its tensors."""
    click.echo(model_report.main(directory, as_json))


COMMANDS = (export_command, neighbours_command, model_command)
