"""The metadata of the Flex Templates is that of the commands as they are."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from deploy.dataflow.metadata import FOLDER, STAGES, metadata
from pipelines.command_line.cli import cli


def kept(stage: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{stage}.json").read_text()))


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_kept_is_what_the_command_has_now(stage: str) -> None:
    assert kept(stage) == metadata(stage), "run `python -m deploy.dataflow.metadata`"


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_is_an_option_whose_default_fits_its_pattern(stage: str) -> None:
    options = {option.opts[0].removeprefix("--"): option for option in cli.commands[stage].params}
    for parameter in kept(stage)["parameters"]:
        option = options[parameter["name"]]
        assert parameter["isOptional"] is not option.required
        default = option.default
        if isinstance(default, int | float | str):
            assert all(re.fullmatch(pattern, str(default)) for pattern in parameter["regexes"])


@pytest.mark.parametrize(
    ("stage", "name", "good", "bad"),
    [
        ("embed", "run", "gs://bucket/run", "runs/mine"),
        ("embed", "iteration", "1", "-1"),
        ("knn", "metric", "cosine", "manhattan"),
        ("knn", "recall", "0.95", "all"),
    ],
)
def test_patterns_take_what_is_right_and_nothing_else(stage: str, name: str, good: str, bad: str) -> None:
    (parameter,) = [one for one in kept(stage)["parameters"] if one["name"] == name]
    (pattern,) = parameter["regexes"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)
