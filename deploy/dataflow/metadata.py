"""The metadata of the stages' Flex Templates, made from the options of `awe`: parameters and what they may be.

    python -m deploy.dataflow.metadata        writes deploy/dataflow/metadata/STAGE.json

Keys of the configuration are no parameters: they stand in the TOML that `config` names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pipelines.command_line.cli import cli
from pipelines.command_line.option_types import Bytes

STAGES = ("ingest", "embed", "affinity", "annotate", "evaluate", "knn")
"""The commands that are one Beam job each."""

FOLDER = Path(__file__).with_name("metadata")
_PATH = r"^gs://[a-z0-9][a-z0-9._-]+/.+$"
_LAUNCHERS = {"--runner", "--quiet", "--json"}
"""Options that the launcher gives itself, and flags about what is said here: a parameter has a value."""


def metadata(stage: str) -> dict[str, Any]:
    """What `gcloud dataflow flex-template build` is told of a stage."""
    command = cli.commands[stage]
    described = " ".join((command.help or stage).split("\n\n")[0].split())
    options = [one for one in command.params if isinstance(one, click.Option) and not _LAUNCHERS & {*one.opts}]
    return {"name": f"awe {stage}", "description": described, "parameters": [_parameter(one) for one in options]}


def _parameter(option: click.Option) -> dict[str, Any]:
    name = option.opts[0].removeprefix("--")
    help_text = (option.help or name).partition("  [")[0]
    described = {"name": name, "label": name.capitalize(), "helpText": help_text, "isOptional": not option.required}
    return {**described, "regexes": [_pattern(option)]}


def _pattern(option: click.Option) -> str:
    """What the values look like; click checks the bounds once more."""
    if isinstance(option.type, click.Choice):
        return f"^({'|'.join(option.type.choices)})$"
    if isinstance(option.type, click.types.IntParamType):
        return r"^[0-9]+$"
    if isinstance(option.type, Bytes):
        return r"^[0-9.]+ ?(k|M|G|KiB|MiB|GiB)?B?$"
    if isinstance(option.type, click.types.FloatParamType):
        return r"^[0-9]*\.?[0-9]+$"
    return _PATH


def main() -> None:
    """Write the metadata of every stage."""
    FOLDER.mkdir(exist_ok=True)
    for stage in STAGES:
        (FOLDER / f"{stage}.json").write_text(json.dumps(metadata(stage), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
