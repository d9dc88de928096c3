"""What the trainer is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.config import Config
from pipelines.train import train_settings

FACTS = {"labels": 5, "history": False}


def config(**train: Any) -> Config:
    return Config.model_validate({"data": {"format": "digits"}, "train": train})


@pytest.mark.parametrize("given", [{"warm_rate": 0.5}, {"warm_start": False}])
def test_wsabie_does_not_depend_on_the_warm_start_of_the_iterations_after_it(given: dict[str, Any]) -> None:
    assert train_settings(config(**given), 0, FACTS, None) == train_settings(config(), 0, FACTS, None)
    assert train_settings(config(**given), 1, FACTS, None) != train_settings(config(), 1, FACTS, None)


def test_a_run_that_begins_with_another_model_goes_on_from_it_at_the_full_rate() -> None:
    settings = train_settings(config(init_from="elsewhere", warm_start=False, warm_rate=0.1), 0, FACTS, None)
    assert settings.warm_start
    assert settings.warm_rate == 1.0
