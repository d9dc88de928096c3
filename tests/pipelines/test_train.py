"""What the trainer is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from awe_core.training.history import Progress
from pipelines import log
from pipelines.config import Config
from pipelines.train import _progress, train_settings

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


def test_an_epoch_is_said_once_and_again_where_training_begins_again(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    with _progress("model-1", 9) as report:
        for epoch, rows in [(1, 4), (1, 8), (1, 8), (2, 8), (1, 4), (1, 8), (1, 4), (1, 8), (2, 8)]:
            report(Progress(epoch, 9, rows, 8, seconds=1.0))
    said = [line.partition("model-1: ")[2].partition(" of")[0] for line in capsys.readouterr().err.splitlines()]
    again = "no epoch was above the start: once more, with smaller steps"
    assert said == ["epoch 1", "epoch 2", again, "epoch 1", again, "epoch 1", "epoch 2"]
