"""`awe annotate --input`: what stands beside a label is enough to compute its score again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.command_line import cli
from schemas.manifest import MANIFEST
from tests.pipelines.conftest import HOSTILE, made, write_rows


def annotated(run: Path, folder: Path, *flags: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows in their order, and the facts of the manifest."""
    cli.main(["annotate", f"--run={run}", f"--output={folder / 'out'}", *flags])
    manifest = json.loads((folder / "out" / MANIFEST).read_text())
    tables = [pq.read_table(folder / "out" / part["name"]) for part in manifest["parts"]]
    return pa.concat_tables(tables).to_pylist(), manifest["facts"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["annotate", *arguments])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return int(stopped.value.code or 0), said.strip().splitlines()[-1]


def check_explanations(rows: list[dict[str, Any]], facts: dict[str, Any]) -> int:
    """Scores from G, and G from the neighbours that are listed; how many weights there were."""
    weights = 0
    join = sum if facts["mode"] == "sum" else max
    for row in rows:
        check_scores(row, facts)
        for affinity, weight, neighbours in zip(row["affinity"], row["weights"], row["neighbours"], strict=True):
            assert len(weight) == len(neighbours)
            weights += len(weight)
            assert affinity == pytest.approx(join(weight) if weight else 0.0, rel=1e-6)
        assert row["scores"] == sorted(row["scores"], reverse=True)
    return weights


def check_scores(row: dict[str, Any], facts: dict[str, Any]) -> None:
    """A score is (s·G + b)·linear."""
    again = (facts["scale"] * np.array(row["affinity"]) + facts["bias"]) * np.array(row["linear"])
    assert row["scores"] == pytest.approx(again, rel=1e-6, abs=1e-12)


def labels_of_base(run: Path, dataset: str = "embeddings-0") -> dict[int, list[int]]:
    table = pa.concat_tables(pq.read_table(path) for path in (run / dataset / "train").glob("part-*"))
    return dict(zip(table.column("id").to_pylist(), table.column("labels").to_pylist(), strict=True))


def test_the_score_is_what_the_listed_neighbours_make_of_it(hostile_run: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "new.npz", 70, 5, HOSTILE, labelled=False)
    rows, facts = annotated(hostile_run, tmp_path, f"--input={tmp_path / 'new.npz'}", "--k=4")
    assert len(rows) == 70
    assert check_explanations(rows, facts) > 70
    base = labels_of_base(hostile_run)
    for row in rows:
        assert row["names"] == [HOSTILE[label] for label in row["labels"]]
        for label, neighbours in zip(row["labels"], row["neighbours"], strict=True):
            assert all(label in base[neighbour] for neighbour in neighbours)


def test_rows_of_the_test_split_are_annotated_as_the_stage_annotates_them(hostile_run: Path, tmp_path: Path) -> None:
    """The same ingest, scaling and neighbours: raw rows give what the run itself says of them."""
    raw = np.load(hostile_run.parent / "rows.npz")
    np.savez(tmp_path / "all.npz", X=raw["X"])
    rows, _ = annotated(hostile_run, tmp_path, f"--input={tmp_path / 'all.npz'}", "--k=10")
    stage = [pq.read_table(path) for path in (hostile_run / "predictions-1" / "awe" / "test").glob("part-*")]
    of_stage = pa.concat_tables(stage).to_pylist()
    assert len(of_stage) > 30
    for expected in of_stage:  # an id is the row's number where there is one file
        assert rows[expected["id"]]["labels"] == expected["labels"]
        assert rows[expected["id"]]["scores"] == pytest.approx(expected["scores"], rel=1e-4, abs=1e-5)


def test_bias_offset_maximum_and_epsilon_are_explained_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.npz", 300, 0, HOSTILE[:4])
    data = f"--data.train={tmp_path / 'rows.npz'}"
    kind = "--affinity.bias=0.3", "--affinity.offset=learnt", "--affinity.mode=max", "--affinity.epsilon=0.5"
    run = made(tmp_path / "run", data, "--affinity.n=6", *kind)
    write_rows(tmp_path / "new.npz", 30, 5, HOSTILE[:4])
    rows, facts = annotated(run, tmp_path, f"--input={tmp_path / 'new.npz'}")
    assert check_explanations(rows, facts)
    assert {len(row["labels"]) for row in rows} == {4}


def sparse_lines(count: int, seed: int, labelled: bool) -> str:
    """svmlight: the label's own feature and one of five others."""
    rng = np.random.default_rng(seed)
    rows = zip(
        rng.integers(0, 3, count), 1 + rng.random(count), rng.integers(3, 8, count), rng.random(count), strict=True
    )
    return "".join(f"{y if labelled else ''} {y}:{own:.4f} {other}:{value:.4f}\n" for y, own, other, value in rows)


@pytest.fixture(scope="module")
def sparse_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse")
    (folder / "rows.svm").write_text(sparse_lines(300, 0, labelled=True))
    return made(
        folder / "run",
        f"--data.train={folder / 'rows.svm'}",
        "--data.scale=tf-idf",
        "--data.intercept=0.5",
        "--affinity.n=5",
    )


def test_wsabie_and_sparse_rows_of_several_files_and_formats(sparse_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.svm").write_text(sparse_lines(20, 1, labelled=False))
    columns = {"id": ["x", "y"], "indices": [[0], [1, 7]], "values": [[2.0], [1.0, 1.0]]}
    pq.write_table(pa.table(columns), tmp_path / "b.parquet")
    both = (f"--input={tmp_path / 'a.svm'}", f"--input={tmp_path / 'b.parquet'}")
    rows, facts = annotated(sparse_run, tmp_path, *both)
    assert [row["key"] for row in rows] == [None] * 20 + ["x", "y"]
    assert [row["labels"][0] for row in rows[20:]] == [0, 1]
    assert check_explanations(rows, facts) > 20
    rows, facts = annotated(sparse_run, tmp_path, *both, "--iteration=0")
    assert "scale" not in facts
    assert rows[20]["linear"] == pytest.approx(rows[20]["scores"])
    assert rows[20]["neighbours"] == [[]] * len(rows[20]["labels"])


@pytest.fixture(scope="module")
def history_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who like the drinks, or the "foods, cold"; ratings below 3 are no positives."""
    folder = tmp_path_factory.mktemp("history")
    rng = np.random.default_rng(0)
    kinds = ("drink", '"food, cold')
    items = [[f"{kind} {i}{kind[0] if kind[0] == chr(34) else ''}" for i in range(8)] for kind in kinds]
    rows = [
        f"u{user},{items[(user % 2) ^ (rating < 3)][item]},{rating}"
        for user in range(80)
        for item, rating in zip(rng.permutation(8), (5, 4, 5, 3, 4, 5, 1, 2), strict=True)
    ]
    (folder / "rows.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    data = f"--data.train={folder / 'rows.csv'}", "--data.x=history", "--data.min_rating=3"
    return made(folder / "run", *data, "--affinity.n=5", "--data.scale=unit")


def test_new_users_are_annotated_by_their_lines_and_what_they_have_is_left_out(
    history_run: Path, tmp_path: Path
) -> None:
    lines = ['zoë,"food, cold 3",5', "max,drink 1,4", 'zoë,"food, cold 5",3', 'max,"food, cold 1",1', "max,drink 1,4"]
    (tmp_path / "new.csv").write_text("user,item,rating\n" + "\n".join(lines) + "\n")
    rows, facts = annotated(history_run, tmp_path, f"--input={tmp_path / 'new.csv'}", "--k=3")
    assert [row["key"] for row in rows] == ["zoë", "max"]
    assert all(name.startswith("food") for name in rows[0]["names"])
    assert not {"food, cold 3", "food, cold 5"} & set(rows[0]["names"])
    assert all(name.startswith("drink") and name != "drink 1" for name in rows[1]["names"])
    assert check_explanations(rows, facts)


def test_users_by_their_lines_are_what_they_are_as_sparse_rows(history_run: Path, tmp_path: Path) -> None:
    names = pa.concat_tables(pq.read_table(path) for path in (history_run / "labels").glob("part-*")).to_pylist()
    ids = {row["name"]: row["id"] for row in names}
    (tmp_path / "new.csv").write_text("7,drink 1,4\n3,drink 2,4\n7,drink 5,4\n")
    (tmp_path / "new.svm").write_text(f" {ids['drink 1']}:1 {ids['drink 5']}:1\n {ids['drink 2']}:1\n")
    by_lines, _ = annotated(history_run, tmp_path / "a", f"--input={tmp_path / 'new.csv'}")
    by_rows, _ = annotated(history_run, tmp_path / "b", f"--input={tmp_path / 'new.svm'}")
    assert [(row.pop("id"), row.pop("key")) for row in by_lines] == [(7, None), (3, None)]
    assert by_lines == [{name: row[name] for name in row if name != "id"} for row in by_rows]


def test_neighbours_in_x_itself_are_listed_too(history_run: Path, tmp_path: Path) -> None:
    csv = history_run.parent / "rows.csv"
    data = f"--data.train={csv}", "--data.x=history", "--data.min_rating=3", "--data.scale=unit"
    run = made(tmp_path / "run", *data, "--affinity.n=5", "--affinity.kind=rbf")
    (tmp_path / "new.csv").write_text("7,drink 1,4\n3,drink 2,4\n7,drink 5,4\n")
    rows, facts = annotated(run, tmp_path, f"--input={tmp_path / 'new.csv'}")
    assert check_explanations(rows, facts)
    base = labels_of_base(run, "examples")
    for row in rows:
        for label, neighbours in zip(row["labels"], row["neighbours"], strict=True):
            assert all(label in base[neighbour] for neighbour in neighbours)


OF_OTHERS = [
    ("--affinity.kind=hybrid", "--affinity.lambda_y=2"),
    ("--affinity.kind=rbf", "--affinity.lambda_y=2", "--affinity.mode=max"),
    ("--affinity.kind=latent-rbf", "--affinity.lambda_y=2", "--affinity.near_labels=3", "--affinity.n=6"),
    ("--affinity.kind=cluster", "--affinity.leaf_rows=40", "--affinity.leaf_labels=3"),
]


@pytest.mark.parametrize("kind", OF_OTHERS, ids=lambda kind: kind[0])
def test_of_every_kind_rows_of_the_test_split_are_annotated_as_the_stage_annotates_them(
    kind: tuple[str, ...], tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.npz", 300, 0, HOSTILE[:6])
    run = made(tmp_path / "run", f"--data.train={tmp_path / 'rows.npz'}", *kind)
    np.savez(tmp_path / "all.npz", X=np.load(tmp_path / "rows.npz")["X"])
    rows, facts = annotated(run, tmp_path, f"--input={tmp_path / 'all.npz'}", "--k=10")
    base = labels_of_base(run, "examples")
    for row in rows:
        check_scores(row, facts)
        for label, neighbours in zip(row["labels"], row["neighbours"], strict=True):
            assert all(label in base[neighbour] for neighbour in neighbours)
    stage = [pq.read_table(path) for path in (run / "predictions-1" / "awe" / "test").glob("part-*")]
    of_stage = pa.concat_tables(stage).to_pylist()
    assert len(of_stage) > 20
    for expected in of_stage:
        assert rows[expected["id"]]["labels"] == expected["labels"]
        assert rows[expected["id"]]["scores"] == pytest.approx(expected["scores"], rel=1e-4, abs=1e-5)


def test_a_run_that_was_begun_anew_with_other_settings_has_to_end_first(
    hostile_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model that stands is of the settings before."""
    run = tmp_path / "run"
    shutil.copytree(hostile_run, run)
    settings = (run / "run.toml").read_text()
    (run / "run.toml").write_text(settings.replace("lambda_x = 4.0", "lambda_x = 3.0"))
    assert settings != (run / "run.toml").read_text()
    write_rows(tmp_path / "new.npz", 5, 5, HOSTILE)
    status, line = fails(capsys, f"--run={run}", f"--input={tmp_path / 'new.npz'}", f"--output={tmp_path / 'out'}")
    assert status == 1
    assert (
        "reweighted-1/train: made with affinity.lambda_x = 4.0, and run.toml has 3.0; run 'awe run' to its end" in line
    )


def test_a_file_without_users_is_named(history_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text("user,item,rating\n")
    asked = f"--run={history_run}", f"--input={tmp_path / 'new.csv'}", f"--output={tmp_path / 'out'}", "--format=csv"
    status, line = fails(capsys, *asked)
    assert (status, "new.csv: there is no row; give users" in line) == (1, True), line


def test_an_item_that_the_run_does_not_have_is_named_with_its_line(
    history_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.csv").write_text("ann,drink 1,5\nann,soap,5\n")
    asked = f"--run={history_run}", f"--input={tmp_path / 'new.csv'}", f"--output={tmp_path / 'out'}"
    status, line = fails(capsys, *asked)
    assert status == 1
    assert "new.csv: row 2: item 'soap' is no label of the run" in line


def test_a_feature_that_the_run_does_not_have_is_named_with_its_row(
    sparse_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.svm").write_text("0 1:1\n0 1:1 9:1\n")
    asked = f"--run={sparse_run}", f"--input={tmp_path / 'new.svm'}", f"--output={tmp_path / 'out'}"
    status, line = fails(capsys, *asked)
    assert status == 1
    assert "new.svm: row 2: feature index 9 is not below the 8 features of the run" in line


def test_what_cannot_be_annotated_ends_in_one_line_with_file_and_row(
    hostile_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--output={tmp_path / 'out'}"
    X = np.ones((5, len(HOSTILE)), np.float32)
    X[3, 2] = np.nan
    np.savez(tmp_path / "nan.npz", X=X)
    np.savez(tmp_path / "wide.npz", X=np.ones((5, 11), np.float32))
    (tmp_path / "rows.svm").write_text("0 1:1\n" * 5)
    (tmp_path / "users.csv").write_text("user,item\n1,2\n3,4\n")
    for name, status, words in (
        ("nan.npz", 1, "nan.npz: row 3: feature 2 is nan"),
        ("wide.npz", 1, "wide.npz: x has 11 columns, but 10 in the run"),
        ("rows.svm", 1, "rows.svm: x is sparse, but dense in the run"),
        ("users.csv", 2, "users.csv holds interactions, but x of the run is a row of features"),
        ("missing.npz", 2, "missing.npz: no such file"),
    ):
        found, line = fails(capsys, f"--run={hostile_run}", f"--input={tmp_path / name}", out)
        assert (found, words in line) == (status, True), line
    assert not (tmp_path / "out" / MANIFEST).exists()
    for flags, words in (
        ((f"--run={hostile_run}", "--input=x"), "--output=DIR"),
        ((f"--run={hostile_run}", "--k=3"), "go with --input"),
        ((f"--run={hostile_run}", "--input=x", out, "--train.D=3"), "leave out --config"),
        ((f"--run={tmp_path}", "--input=x", out), "there is no run.toml"),
        ((f"--run={hostile_run}", "--iteration=7", "--input=x", out), "has iterations 0 to 1"),
    ):
        found, line = fails(capsys, *flags)
        assert (found, words in line) == (2, True), line


def test_what_stands_there_is_not_made_again(hostile_run: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "new.npz", 20, 5, HOSTILE)
    flags = f"--input={tmp_path / 'new.npz'}", "--k=3"
    first, _ = annotated(hostile_run, tmp_path, *flags)
    stamp = (tmp_path / "out" / MANIFEST).stat().st_mtime_ns
    again, _ = annotated(hostile_run, tmp_path, *flags)
    assert again == first
    assert (tmp_path / "out" / MANIFEST).stat().st_mtime_ns == stamp
