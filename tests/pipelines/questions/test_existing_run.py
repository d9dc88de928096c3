"""A run that stands is asked on machines other than the one that trained it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from pipelines import whole_run
from pipelines.errors import ConfigError
from pipelines.questions.existing_run import ExistingRun


def test_a_run_that_numba_trained_is_asked_where_there_is_none_but_not_trained_there(
    hostile_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(hostile_run, run)
    kept = (run / "run.toml").read_text()
    assert 'kernel = "' in kept
    (run / "run.toml").write_text(kept.replace('kernel = "numpy"', 'kernel = "numba"'))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "numba" else found(name, *rest)
    )
    asked = ExistingRun.open(str(run))
    assert asked.config.train.kernel == "numba"
    assert len(asked.label_vectors())
    with pytest.raises(ConfigError, match='train.kernel = "numba": it is not installed; pip install'):
        whole_run.opened(str(run / "run.toml"), str(run), "in-process", [])
