"""The space that `awe tune` searches: what comes with it, and what a configuration lays over it."""

from __future__ import annotations

import math

import pytest

from pipelines.config import Config, load_config, parse_overrides
from pipelines.errors import ConfigError
from pipelines.tuning.search_space import AWE, WSABIE, Range, ends, flat, holds
from schemas.filesystem import LocalFileSystem

DIGITS = {"data": {"format": "digits"}}


@pytest.mark.parametrize("space", [WSABIE, AWE], ids=["wsabie", "awe"])
def test_every_value_that_comes_with_it_is_one_of_the_configuration(space: object) -> None:
    assert Config.model_validate({**DIGITS, "tune": {"wsabie": space}})


def test_own_values_are_laid_over_it_key_by_key() -> None:
    found = flat(WSABIE, {"train": {"D": [8], "margin": [], "patience": [3, 9]}})
    assert found["train.D"] == [8]
    assert found["train.patience"] == [3, 9]
    assert found["train.learning_rate"] == WSABIE["train"]["learning_rate"]
    assert "train.margin" not in found


def test_a_value_is_held_by_a_list_or_between_the_ends_of_a_range() -> None:
    assert holds([1.0, math.inf], math.inf)
    assert not holds([1.0], 2.0)
    assert holds(Range(low=1, high=4), 4)
    assert not holds(Range(low=1, high=4), 5)
    assert not holds(Range(low=0.0, high=4.0), "learnt")
    assert ends(Range(low=1, high=4)) == [1, 4]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--tune.wsabie={train={depth=[3]}}", "unknown key train.depth"),
        ("--tune.wsabie={train={D=[64, 0]}}", r"train\.D: .*greater than 0"),
        ("--tune.awe={affinity={n={low=0, high=5}}}", r"affinity\.n: .*greater than 0"),
        ("--tune.awe={data={scale=['unit']}}", "data. is not searched"),
        ("--tune.wsabie={train={margin={low=2.0, high=1.0}}}", "low < high"),
        ("--tune.wsabie={train={margin={low=0.0, high=1.0, log=true}}}", "low > 0"),
        ("--tune.starts=0", "tune.starts"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(flag: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(LocalFileSystem(), None, parse_overrides(["--data.format=digits", flag]))


def test_the_space_is_no_part_of_what_a_run_is_made_from() -> None:
    config = Config.model_validate({**DIGITS, "tune": {"wsabie": {"train": {"D": [8]}}}})
    assert config.to_toml() == Config.model_validate(DIGITS).to_toml()
