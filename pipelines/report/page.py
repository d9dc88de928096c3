"""RUN/report.html: sections rendered by Jinja into one file, which may run no script but its own and load nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines import log
from pipelines.questions.existing_run import ExistingRun
from pipelines.report import (
    affinity_weights,
    example_annotations,
    formatting,
    label_map,
    look,
    nearest_labels,
    overview,
    query_cost,
    results,
    stages,
    training,
)
from pipelines.run_directory import RunDirectory
from schemas.filesystem import FileSystem, read_bytes


class Section(NamedTuple):
    """A section: the name of its template and anchor, its title, and what reads for it whatever the report is of."""

    name: str
    title: str
    content: Callable[[Any], dict[str, Any] | None]


SECTIONS = (
    Section("overview", "Overview", overview.content),
    Section("results", "Results", results.content),
    Section("query_cost", "Cost of a query", query_cost.content),
    Section("training", "Training", training.content),
    Section("stages", "Time and memory", stages.content),
    Section("affinity_weights", "Affinity G", affinity_weights.content),
    Section("label_map", "Map", label_map.content),
    Section("nearest_labels", "Nearest labels", nearest_labels.content),
    Section("example_annotations", "Examples", example_annotations.content),
)


def main(run: ExistingRun) -> str:
    """Write the report of a run that is complete; its path. Raises DataError where something of it is not there."""
    return put(run.context.fs, run.context.run, page(run))


def put(fs: FileSystem, run: RunDirectory, page: str) -> str:
    """Write a report unless it stands there already; its path."""
    path, content = run.path("report.html"), page.encode()
    if fs.exists(path) and read_bytes(fs, path) == content:
        log.info("report.html is up to date, skipped")
    else:
        fs.put(path, content)
        log.info(f"report.html: open {path}")
    return path


def page(run: ExistingRun) -> str:
    """The whole file. The same run gives the same bytes: nothing in it says when or where it was made."""
    return rendered(run.context.run, SECTIONS, run)


def rendered(run: RunDirectory, sections: Sequence[Section], of: Any) -> str:
    """The sections of a report that have something to say of what it is of, as one file."""
    made = [(section, section.content(of)) for section in sections]
    script = _text("script.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            run=run.root.rstrip("/").rpartition("/")[2],
            sections=[(section, content) for section, content in made if content is not None],
            style=Markup(_text("style.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": formatting.percent,
        "count": formatting.count,
        "number": formatting.number,
        "duration": formatting.duration,
        "size": formatting.size,
        "readable": formatting.readable,
        "short": formatting.short,
        "cosine": formatting.cosine,
    }
    environment.globals["look_of_method"] = look.of_method
    environment.globals["look_of_iteration"] = look.of_iteration
    return environment


def _text(name: str) -> str:
    """A file of the templates' folder."""
    return files("pipelines.report").joinpath("templates", name).read_text(encoding="utf-8")
