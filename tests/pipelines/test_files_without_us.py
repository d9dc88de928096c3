"""Everything that a run leaves, read by the libraries it is meant for and held against docs/formats.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors

from pipelines.command_line import cli
from tests.pipelines.conftest import HOSTILE, write_rows

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
COLUMNS = {
    title: dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    for title, text in re.findall(r"^### ([\w ]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
"""Columns and types that the page lists for each kind of dataset."""
KINDS = {
    "examples/train": "examples",
    "examples/validation": "examples",
    "examples/test": "examples",
    "labels": "labels",
    "rejects": "rejects",
    "scaling": "scaling",
    "embeddings-0/train": "embeddings",
    "reweighted-1/test": "reweighted",
    "predictions-0/wsabie/test": "predictions",
    "predictions-1/awe/validation": "predictions",
    "annotated": "annotations",
    "near/train": "neighbours",
    "mapped/landmarks": "landmarks",
}


def library(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"left out: {name} is not installed; pyarrow reads the same files")


@pytest.fixture(scope="module")
def run(hostile_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, with annotations, neighbours, exports and examples that were mapped by landmarks beside it."""
    folder = tmp_path_factory.mktemp("beside")
    write_rows(folder / "new.npz", 50, 1, HOSTILE, labelled=False)
    cli.main(["annotate", f"--run={hostile_run}", f"--input={folder / 'new.npz'}", f"--output={folder / 'annotated'}"])
    cli.main(["knn", f"--base={hostile_run / 'embeddings-0' / 'train'}", f"--output={folder / 'near'}", "--n=3"])
    mapped = ("--data.landmarks=20", "--data.components=5")
    cli.main(["ingest", f"--run={folder / 'mapped'}", f"--data.train={hostile_run.parent / 'rows.npz'}", *mapped])
    for path in hostile_run.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def parts(directory: Path) -> Iterator[tuple[str, int]]:
    for part in json.loads((directory / "manifest.json").read_text())["parts"]:
        yield str(directory / part["name"]), part["rows"]


def said(kind: pa.DataType) -> str:
    """A type as the page writes it."""
    if pa.types.is_fixed_size_list(kind):
        return f"fixed_size_list<{said(kind.value_type)}>"
    return f"list<{said(kind.value_type)}>" if pa.types.is_list(kind) else str(kind)


def as_lists(value: Any) -> Any:
    """What pandas and duckdb give for a cell, as plain Python."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return [as_lists(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("dataset", KINDS)
def test_columns_and_types_are_those_of_the_page(run: Path, dataset: str) -> None:
    listed = (
        {**COLUMNS["examples"], **COLUMNS["reweighted"]} if KINDS[dataset] == "reweighted" else COLUMNS[KINDS[dataset]]
    )
    if KINDS[dataset] == "annotations":
        listed = {**COLUMNS["predictions"], **listed}
    for path, _ in parts(run / dataset):
        found = {field.name: said(field.type) for field in pq.read_schema(path)}
        expected = {name: re.sub(r"\[\w\]$", "", kind).replace("<int32>", "<int32>") for name, kind in listed.items()}
        assert found == {name: expected[name] for name in found}
        assert {*expected} - {*found} <= {"key", "indices", "values"}


@pytest.mark.parametrize("dataset", KINDS)
def test_pandas_reads_every_dataset(run: Path, dataset: str) -> None:
    pandas = library("pandas")
    for path, rows in parts(run / dataset):
        frame, table = pandas.read_parquet(path), pq.read_table(path)
        assert len(frame) == rows
        assert frame.columns.tolist() == table.column_names
        for name in table.column_names:
            assert [as_lists(value) for value in frame[name]] == table.column(name).to_pylist(), name


@pytest.mark.parametrize("dataset", KINDS)
def test_duckdb_reads_every_dataset(run: Path, dataset: str) -> None:
    duckdb = library("duckdb")
    expected = pa.concat_tables(pq.read_table(path) for path, _ in parts(run / dataset))
    files = [path for path, _ in parts(run / dataset)]
    found = duckdb.execute("select * from read_parquet($files)", {"files": files})
    assert [column[0] for column in found.description] == expected.column_names
    rows = [tuple(map(as_lists, row)) for row in found.fetchall()]
    assert sorted(map(repr, rows)) == sorted(repr(tuple(row.values())) for row in expected.to_pylist())


def test_duckdb_joins_predictions_with_names(run: Path) -> None:
    duckdb = library("duckdb")
    best = duckdb.sql(
        f"""select p.id, l.name from '{run}/predictions-1/awe/test/*.parquet' p
        join '{run}/labels/*.parquet' l on l.id = p.labels[1]"""
    ).fetchall()
    assert len(best) == sum(rows for _, rows in parts(run / "predictions-1/awe/test"))
    assert {name for _, name in best} <= {*HOSTILE}


@pytest.mark.parametrize(("iteration", "method"), [(0, "wsabie"), (1, "awe")])
def test_safetensors_reads_tensors_and_what_is_said_of_them(run: Path, iteration: int, method: str) -> None:
    directory = run / f"model-{iteration}"
    described = json.loads((directory / "model.json").read_text())
    with safetensors.safe_open(directory / "model.safetensors", "numpy") as model:
        shapes, header = {name: model.get_slice(name).get_shape() for name in model.keys()}, model.metadata()  # noqa: SIM118
    assert shapes == {"U": [11, 6], "V": [10, 6]}
    assert (header["format"], header["method"], header["D"]) == ("affinity-weighted-embedding 1", method, "6")
    assert header["recipe"] == described["recipe"]
    data = "reweighted-1/train" if iteration else "examples/train"
    fingerprint = json.loads((run / data / "manifest.json").read_text())["fingerprint"]
    assert json.loads(header["inputs"])[data] == fingerprint
    for name in ("settings", "inputs", "seed", "best_epoch", "offset", "iteration"):
        assert json.loads(header[name]) == described[name]


def test_json_and_toml_are_what_the_page_says(run: Path) -> None:
    import tomllib

    rows = json.loads((run / "results.json").read_text())
    assert {"method", "split", "iteration", "seed", "metrics", "scored", "seconds", "bytes"} <= {*rows[0]}
    assert all(0 <= value <= 1 for row in rows for value in row["metrics"].values())
    for path in run.glob("**/history.json"):
        for record in json.loads(path.read_text()):
            assert {
                "epoch",
                "loss",
                "pairs",
                "updates",
                "skipped",
                "p_at_1",
                "rate",
                "seconds",
                "sampler",
                "draws",
            } <= {*record}
    assert tomllib.loads((run / "run.toml").read_text())["train"]["D"] == 6
    listed = json.loads((run / "labels" / "manifest.json").read_text())
    assert {"parts", "rows", "schema", "facts", "inputs", "recipe", "fingerprint"} == {*listed}
    log = json.loads((run / "log" / "ingest.json").read_text())
    assert log["seconds"] > 0
    assert log["counters"]["rows_read"] == 400
