"""A run in somebody else's pipeline: the page's own programs, and what the handler refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that

from pipelines.errors import ConfigError
from pipelines.inference import AnnotatorHandler, stacked
from pipelines.jobs.job import make_runner, pipeline_options
from pipelines.questions.loaded_run import load
from tests.pipelines.conftest import HOSTILE

PAGE = Path(__file__).parents[2] / "docs" / "beam.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def new_rows(hostile_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("new") / "rows.parquet"
    X = np.load(hostile_run.parent / "rows.npz")["X"][:40]
    pq.write_table(pa.table({"id": np.arange(40), "features": X.tolist()}), path)
    return path


def test_the_programs_of_the_page(hostile_run: Path, new_rows: Path, tmp_path: Path) -> None:
    names = {"RUN": str(hostile_run), "NEW_ROWS": str(new_rows), "OUTPUT": str(tmp_path)}
    assert len(PROGRAMS) == 3
    for program in PROGRAMS:
        exec(compile(program, str(PAGE), "exec"), dict(names))
    best = [line.split("\t") for line in (tmp_path / "names").read_text().splitlines()]
    [annotated] = [pq.read_table(path).to_pylist() for path in tmp_path.glob("annotated*")]
    assert sorted(map(repr, best)) == sorted(repr([repr(name) for name in row["names"]]) for row in annotated)
    assert sorted(row["id"] for row in annotated) == list(range(40))
    facts = json.loads((hostile_run / "model-1" / "model.json").read_text())
    for row in annotated:
        assert row["names"] == [HOSTILE[label] for label in row["labels"]]
        G = np.array([sum(weights) for weights in row["weights"]])
        again = (facts["scale"] * G + facts["bias"]) * np.array(row["linear"])
        np.testing.assert_allclose(row["scores"], again, rtol=1e-6)
    joined = pa.concat_tables(pq.read_table(path) for path in tmp_path.glob("neighbours*"))
    rows = [pq.read_metadata(path).num_rows for path in (hostile_run / "embeddings-0" / "train").glob("part-*")]
    assert len(joined) == sum(rows)
    assert {len(row) for row in joined.column("neighbours").to_pylist()} == {5}


def test_several_threads_share_one_run_and_batches_are_cut(hostile_run: Path) -> None:
    X = np.load(hostile_run.parent / "rows.npz")["X"]
    expected = load(str(hostile_run), 1).annotate(X, 2).ranking.padded(2)[:, 0].tolist()

    def check(found: list) -> None:
        by_row = {tuple(result.example.tolist()): result.inference["labels"][0] for result in found}
        assert [by_row[tuple(row.tolist())] for row in X] == expected

    options = pipeline_options("in-process", ["--direct_num_workers=3"])
    with beam.Pipeline(runner=make_runner(options), options=options) as pipeline:
        results = pipeline | beam.Create(list(X)) | RunInference(AnnotatorHandler(str(hostile_run), k=2, batch_rows=16))
        assert_that(results, check)


def test_rows_of_another_width_are_refused(hostile_run: Path) -> None:
    handler = AnnotatorHandler(str(hostile_run))
    with pytest.raises(ValueError, match=r"x of the shape \(3,\), but the run's x has 10 numbers"):
        list(handler.run_inference([np.ones(3)], handler.load_model()))
    with pytest.raises(FloatingPointError, match="row 1 of the block is not finite"):
        list(handler.run_inference([np.ones(10), np.full(10, np.nan)], handler.load_model()))


def test_sparse_rows_are_stacked_and_checked(hostile_run: Path) -> None:
    run = replace(load(str(hostile_run), 1), facts={"dimension": 4, "sparse": True, "history": False})
    rows = stacked([([3, 0], [1.0, 2.0]), ([], [])], run)
    assert rows.toarray().tolist() == [[2, 0, 0, 1], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match="outside 0…3"):
        stacked([([4], [1.0])], run)


def test_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no run.toml"):
        AnnotatorHandler(str(tmp_path))
