"""`awe export`: every format is read back by the library it is meant for, or left out aloud where there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from pipelines.command_line import cli
from tests.pipelines.conftest import HOSTILE

SPLITS = ["labels", "examples"]


def library(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"left out: {name} is not installed; the format's own rules are tested")


def exported(run: Path, folder: Path, *flags: str) -> Path:
    cli.main(["export", str(run), f"--output={folder}", *flags])
    return folder


@pytest.fixture
def V(hostile_run: Path) -> np.ndarray:
    return safetensors.numpy.load_file(hostile_run / "model-1" / "model.safetensors")["V"]


def test_word2vec_by_the_rules_of_its_readers(hostile_run: Path, tmp_path: Path, V: np.ndarray) -> None:
    path = exported(hostile_run, tmp_path, "--format=word2vec") / "labels.vec"
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "10 6"
    assert lines.pop() == ""
    words = [line.split() for line in lines[1:]]  # any white space, as the C programs read it
    assert [len(line) for line in words] == [7] * 10
    assert [unquote(line[0]) if line[0] != "%" else "" for line in words] == HOSTILE
    assert np.array_equal(np.array([line[1:] for line in words], dtype=np.float32), V)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 11  # Python's, which cuts at U+2028 too


def test_word2vec_by_gensim(hostile_run: Path, tmp_path: Path, V: np.ndarray) -> None:
    models = library("gensim.models")
    path = exported(hostile_run, tmp_path, "--format=word2vec") / "labels.vec"
    vectors = models.KeyedVectors.load_word2vec_format(path, binary=False)
    assert [unquote(word) if word != "%" else "" for word in vectors.index_to_key] == HOSTILE
    assert np.array_equal(vectors.vectors, V)


def test_tsv_by_the_rules_of_the_projector(hostile_run: Path, tmp_path: Path, V: np.ndarray) -> None:
    folder = exported(hostile_run, tmp_path, "--format=tsv")
    vectors = [line.split("\t") for line in (folder / "labels-vectors.tsv").read_bytes().decode().split("\n")[:-1]]
    assert np.array_equal(np.array(vectors, dtype=np.float32), V)
    metadata = [line.split("\t") for line in (folder / "labels-metadata.tsv").read_bytes().decode().split("\n")[:-1]]
    assert metadata[0] == ["id", "name"]
    assert [int(number) for number, _ in metadata[1:]] == list(range(10))
    back = [name.encode("latin-1", "backslashreplace").decode("unicode_escape") for _, name in metadata[1:]]
    assert back == HOSTILE


@pytest.mark.parametrize("reader", ["pyarrow", "pandas", "duckdb"])
@pytest.mark.parametrize("of", SPLITS)
def test_parquet(hostile_run: Path, tmp_path: Path, V: np.ndarray, reader: str, of: str) -> None:
    names = {"labels": "labels", "examples": "test"}
    path = exported(hostile_run, tmp_path, "--format=parquet", f"--of={of}", "--split=test") / f"{names[of]}.parquet"
    if reader == "pyarrow":
        columns = pq.read_table(path).to_pydict()
    elif reader == "pandas":
        columns = library("pandas").read_parquet(path).to_dict("list")
    else:
        columns = library("duckdb").sql(f"select * from '{path}'").to_arrow_table().to_pydict()
    vectors = np.array([list(vector) for vector in columns["vector"]], dtype=np.float32)
    if of == "labels":
        assert columns["name"] == HOSTILE
        assert np.array_equal(vectors, V)
        return
    # model-1's embeddings of test are no dataset of the run: x and U say what they have to be.
    examples = [pq.read_table(part) for part in sorted((hostile_run / "examples" / "test").glob("part-*"))]
    ids = [number for table in examples for number in table.column("id").to_pylist()]
    assert columns["id"] == ids
    assert columns["name"] == [str(number) for number in ids]
    x = np.array([row for table in examples for row in table.column("features").to_pylist()], dtype=np.float32)
    U = safetensors.numpy.load_file(hostile_run / "model-1" / "model.safetensors")["U"]
    np.testing.assert_allclose(vectors, x @ U, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", SPLITS)
def test_faiss(hostile_run: Path, tmp_path: Path, V: np.ndarray, of: str) -> None:
    faiss = library("faiss")
    folder = exported(hostile_run, tmp_path, "--format=faiss", f"--of={of}")
    index = faiss.read_index(str(folder / {"labels": "labels.faiss", "examples": "train.faiss"}[of]))
    assert index.metric_type == (faiss.METRIC_INNER_PRODUCT if of == "labels" else faiss.METRIC_L2)
    if of == "labels":
        _, ids = index.search(V, 3)
        assert np.array_equal(ids, np.argsort(-(V @ V.T), axis=1, kind="stable")[:, :3])
        assert "tab\\tname" in (folder / "labels-metadata.tsv").read_text()


def test_faiss_is_asked_for_where_it_is_missing(
    hostile_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SystemExit) as stopped:
        exported(hostile_run, tmp_path, "--format=faiss")
    assert stopped.value.code == 2
    assert 'pip install "affinity-weighted-embedding[faiss]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_run_are_read_without_our_code(hostile_run: Path) -> None:
    manifest = json.loads((hostile_run / "predictions-1" / "awe" / "test" / "manifest.json").read_text())
    tables = [
        pq.read_table(hostile_run / "predictions-1" / "awe" / "test" / part["name"]) for part in manifest["parts"]
    ]
    assert sum(map(len, tables)) == manifest["rows"]
    assert [row["name"] for row in pq.read_table(next((hostile_run / "labels").glob("part-*"))).to_pylist()] == HOSTILE
