"""`awe neighbours`: cosines of V, siblings marked; distances of Ux, or of Ux and x."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from pipelines.command_line import cli
from pipelines.questions.nearest import LabelSpace
from tests.pipelines.conftest import HOSTILE, made, write_rows

ANIMALS = ["dolphin", "whale", "oak", "maple"]


@pytest.fixture(scope="module")
def tree_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    write_rows(folder / "rows.npz", 300, 0, ANIMALS)
    (folder / "tree.tsv").write_text("dolphin\tmammal\nwhale\tmammal\noak\ttree\nmaple\ttree\n")
    flags = f"--data.train={folder / 'rows.npz'}", f"--data.hierarchy={folder / 'tree.tsv'}", "--affinity.n=5"
    return made(folder / "run", *flags, "--affinity.input_weight=0.5")


def asked(capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    capsys.readouterr()
    cli.main(["neighbours", *flags, "--json"])
    return json.loads(capsys.readouterr().out)


def test_labels_by_cosine_with_siblings_marked(tree_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    V = safetensors.numpy.load_file(tree_run / "model-1" / "model.safetensors")["V"]
    expected = cosine_similarity(V.astype(np.float64))[0]
    rows = asked(capsys, f"--run={tree_run}", "--label=dolphin")
    assert [row["label"] for row in rows] == [ANIMALS[label] for label in np.argsort(-expected[1:]) + 1]
    assert [row["cosine"] for row in rows] == pytest.approx(sorted(expected[1:], reverse=True))
    assert {row["label"] for row in rows if row["sibling"]} == {"whale"}
    assert sum(row["count"] for row in rows) < 300
    before = asked(capsys, f"--run={tree_run}", "--label=dolphin", "--iteration=0", "--k=1")
    assert len(before) == 1
    cli.main(["neighbours", f"--run={tree_run}", "--label=dolphin"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["label", "cosine", "count", "sibling"]
    assert next(line for line in lines if line.startswith("whale")).endswith("sibling")


def test_names_are_found_and_shown_whatever_they_hold(hostile_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in HOSTILE:
        rows = asked(capsys, f"--run={hostile_run}", f"--label={name}", "--k=20")
        assert {row["label"] for row in rows} == set(HOSTILE) - {name}
        assert "sibling" not in rows[0]
    cli.main(["neighbours", f"--run={hostile_run}", "--label=plain"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert any(line.startswith("line\\nbreak ") for line in lines)


@pytest.mark.parametrize(("named", "labels"), [("tree_run", ANIMALS), ("hostile_run", HOSTILE)], ids=["x beside", "Ux"])
def test_examples_by_distance_where_the_affinity_looks_for_them(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], named: str, labels: list[str]
) -> None:
    run = request.getfixturevalue(named)
    tables = [pq.read_table(part) for part in sorted((run / "embeddings-0" / "train").glob("part-*"))]
    base = pa.concat_tables(tables).to_pydict()
    vectors = np.array(base["embedding"], dtype=np.float64)
    distances, places = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(vectors).kneighbors(vectors[7:8])
    rows = asked(capsys, f"--run={run}", f"--example={base['id'][7]}", "--iteration=0", "--k=3")
    assert [row["example"] for row in rows] == [str(base["id"][place]) for place in places[0, 1:]]
    assert [row["distance"] for row in rows] == pytest.approx(distances[0, 1:] ** 2, rel=1e-5)
    assert rows[0]["labels"] == [labels[label] for label in base["labels"][places[0, 1]]]


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (("--label=hale",), 1, "no label is called 'hale'; did you mean 'whale'?"),
        (("--label=zebra\n",), 1, "no label is called"),
        (("--example=-5",), 1, "no example has the id '-5'"),
        ((), 2, "either --label=NAME or --example=ID"),
        (("--label=oak", "--example=1"), 2, "either --label=NAME or --example=ID"),
        (("--label=oak", "--iteration=2"), 2, "has iterations 0 to 1"),
    ],
    ids=lambda value: str(value),
)
def test_wrong_questions(
    tree_run: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], status: int, words: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["neighbours", f"--run={tree_run}", *flags])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == status
    assert words in said


def test_a_row_of_zeros_is_near_to_nothing() -> None:
    V = np.array([[0, 0], [3, 4], [-3, -4], [6, 8]], dtype=np.float32)
    space = LabelSpace(V, None)
    assert space.cosines(0).tolist() == [0, 0, 0, 0]
    assert space.cosines(1).tolist() == pytest.approx([0, 1, -1, 1])
