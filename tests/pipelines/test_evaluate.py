"""Results are of all rows, or there are none; nothing is measured twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import annotate, evaluate, train
from pipelines.stage import Context
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from tests.pipelines import ingested

Gathered = tuple[int, Iterable[tuple[int, dict[str, float]]]]


def annotated(folder: Path, **test: np.ndarray) -> Context:
    """A run up to the predictions of the method popularity; test is held out where none is given."""
    rng = np.random.default_rng(0)
    data = {"train": ingested.write_npz(folder / "rows.npz", X=rng.normal(size=(60, 4)), y=rng.integers(0, 5, 60))}
    if test:
        data["test"] = ingested.write_npz(folder / "test.npz", **test)
    ingested.run(folder / "run", **data)
    context = ingested.context(
        folder / "run", data=data, train={"D": 4, "epochs": 1}, evaluate={"methods": ["popularity"]}
    )
    for stage in (train, annotate):
        stage.main(context, context.lanes()[0], 0)
    return context


def measured(context: Context) -> list[str]:
    """The splits of results.json."""
    evaluate.main(context, context.lanes()[0], 0)
    return [row["split"] for row in json.loads(Path(context.run.path("results.json")).read_text())]


def less_a_row(gathered: Gathered) -> dict[int, Any]:
    return {position: {**found, "rows": found["rows"] - 1} for position, found in gathered[1]}


def less_a_split(gathered: Gathered) -> dict[int, Any]:
    return {position: found for position, found in gathered[1] if position}


@pytest.mark.parametrize("lossy", [less_a_row, less_a_split])
def test_sums_from_which_rows_are_missing_are_not_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lossy: Any
) -> None:
    context = annotated(tmp_path)

    def lose(gathered: Gathered, fs: FileSystem, path: str) -> None:
        fs.put(path, json.dumps(lossy(gathered)).encode())

    with monkeypatch.context() as runner:
        runner.setattr(evaluate, "_write_sums", lose)
        with pytest.raises(DataError, match="rows were measured: the runner lost an element; run it again"):
            evaluate.main(context, context.lanes()[0], 0)
    assert not Path(context.run.path("results.json")).exists()
    assert measured(context) == ["test", "validation"]


def test_a_split_without_labels_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = annotated(tmp_path, X=np.ones((3, 4)), Y=np.zeros((3, 5)))
    assert measured(context) == ["validation"]
    with monkeypatch.context() as no_job:
        no_job.setattr(evaluate, "build", lambda *_: pytest.fail("a job was started"))
        assert measured(context) == ["validation"]
        assert measured(context) == ["validation"]
