from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from awe_core.arrangement import arrange, hash_fractions
from pipelines.errors import ConfigError, DataError
from pipelines.formats.rows import ids_of_keys
from tests.pipelines import ingested
from tests.pipelines.ingested import by_id, manifest, names, rows, run, write, write_npz


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    run(root, seed=3, format="digits", rows_per_part=256, block_rows=64)
    return root


def test_rows_are_split_by_hash_and_stand_as_the_twin_arranges_them(digits: Path) -> None:
    ids = np.arange(1797, dtype=np.int64)
    test = hash_fractions(3, "test", ids) < 0.2
    validation = ~test & (hash_fractions(3, "validation", ids) < 0.1)
    for split, kept in (("train", ~test & ~validation), ("validation", validation), ("test", test)):
        of_split = ids[kept]
        expected = [of_split[positions].tolist() for positions in arrange(3, of_split, 256)]
        found = [table.column("id").to_pylist() for table in ingested.part_tables(digits, f"examples/{split}")]
        assert found == expected


def test_examples_carry_their_features_and_labels(digits: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    for split in ("train", "validation", "test"):
        for i, row in by_id(digits, split).items():
            assert row["features"] == images[i].tolist()
            assert row["labels"] == [labels[i]]
            assert row["seen"] == []
            assert row["weight"] == 1


def test_labels_are_counted_in_train(digits: Path) -> None:
    counts = np.bincount([row["labels"][0] for row in rows(digits, "examples/train")])
    listed = rows(digits, "labels")
    assert [row["id"] for row in listed] == list(range(10))
    assert [row["name"] for row in listed] == list("0123456789")
    assert [row["count"] for row in listed] == counts.tolist()
    assert all(row["siblings"] == [] for row in listed)


def test_manifests_say_what_later_stages_need(digits: Path) -> None:
    expected = {"dimension": 64, "sparse": False, "labels": 10, "key": False, "one_hot": False, "history": False}
    expected["block_rows"] = 64
    assert all(manifest(digits, f"examples/{split}").facts == expected for split in ("train", "validation", "test"))


def test_what_is_up_to_date_is_skipped_and_what_is_not_is_made_anew(tmp_path: Path) -> None:
    run(tmp_path, format="digits")
    log = tmp_path / "log" / "ingest.json"
    log.unlink()
    run(tmp_path, format="digits")
    assert not log.exists()
    before = ingested.parts(tmp_path)
    run(tmp_path, format="digits", seed=1)
    assert log.exists()
    assert ingested.parts(tmp_path)["examples/train"] != before["examples/train"]


def test_neither_the_order_of_the_files_nor_the_workers_change_a_byte(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = []
    for i in range(3):
        x, y = random.normal(size=(700, 300)).astype(np.float32), random.integers(0, 9, 700)
        files.append(write_npz(tmp_path / f"{i}.npz", X=x, y=y))
    settings: dict[str, Any] = {"scale": "standard", "rows_per_part": 300, "block_rows": 100}
    run(tmp_path / "a", train=files, **settings)
    run(tmp_path / "b", train=files[::-1], **settings)
    run(tmp_path / "c", "--direct_num_workers=4", train=str(tmp_path / "*.npz"), **settings)
    assert ingested.parts(tmp_path / "a") == ingested.parts(tmp_path / "b") == ingested.parts(tmp_path / "c")
    assert (
        manifest(tmp_path / "a", "examples/train").fingerprint == manifest(tmp_path / "c", "examples/train").fingerprint
    )
    counted = ingested.counters(tmp_path / "c")
    assert counted["blocks_read"] == 3
    assert len(counted["kernel_workers"]) > 1


def test_rows_travel_in_few_elements_of_bounded_size(tmp_path: Path) -> None:
    x = np.zeros((20000, 200), np.float16)
    path = write_npz(tmp_path / "x.npz", X=x, y=np.arange(20000) % 5)
    run(tmp_path / "run", train=path, rows_per_part=6000)
    elements = ingested.counters(tmp_path / "run")["element_bytes"]
    assert elements["max"] < 10_000_000
    assert elements["count"] < 20
    assert ingested.counters(tmp_path / "run")["rows_out"] == 20000


# ------------------------------------------------------------------------------------------------- splits, ids, labels


def test_given_files_keep_their_splits_and_the_index_of_the_file_is_in_the_id(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "1 0:1\n2 0:2\n")
    write(tmp_path / "a.txt", "1 0:3\n\n7 0:4\n")
    write(tmp_path / "c.txt", "2 5:5\n")
    data = {"root": str(tmp_path), "train": "b.txt", "validation": ["a.txt"], "test": "c.t?t"}
    run(tmp_path / "run", **data)
    assert set(by_id(tmp_path / "run", "validation")) == {0, 1}
    assert set(by_id(tmp_path / "run", "train")) == {2**40, 2**40 + 1}
    assert set(by_id(tmp_path / "run", "test")) == {2**41}
    assert by_id(tmp_path / "run", "test")[2**41] | {"weight": 1} == {
        "id": 2**41,
        "indices": [5],
        "values": [5.0],
        "labels": [1],
        "seen": [],
        "weight": 1,
    }
    assert names(tmp_path / "run") == ["1", "2", "7"]
    assert manifest(tmp_path / "run", "examples/train").facts["dimension"] == 6


def test_labels_that_are_all_numbers_are_sorted_as_numbers_others_as_text(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "10 0:1\n9,2 0:2\n" * 20)
    run(tmp_path / "numbers", train=str(tmp_path / "a.txt"))
    assert names(tmp_path / "numbers") == ["2", "9", "10"]
    x = np.ones((40, 2))
    path = write_npz(tmp_path / "b.npz", X=x, y=np.array(["b", "10", "9", "c'\t\u2603"] * 10))
    run(tmp_path / "text", train=path)
    assert names(tmp_path / "text") == ["10", "9", "b", "c'\t\u2603"]


def test_lists_of_files_are_joined_by_name(tmp_path: Path) -> None:
    x = np.ones((30, 2))
    one = write_npz(tmp_path / "1.npz", X=x, y=np.arange(30) % 2, label_names=np.array(["dog", "cat"]))
    two = write_npz(tmp_path / "2.npz", X=x, y=np.arange(30) % 2, label_names=np.array(["ant", "dog"]))
    run(tmp_path / "run", train=one, test=two)
    assert names(tmp_path / "run") == ["dog", "cat", "ant"]
    assert {row["id"] - 2**40: row["labels"] for row in rows(tmp_path / "run", "examples/test")} == {
        i: [[2], [0]][i % 2] for i in range(30)
    }


def test_a_label_outside_the_given_list_is_refused(tmp_path: Path) -> None:
    x = np.ones((30, 2))
    one = write_npz(tmp_path / "1.npz", X=x, y=np.arange(30) % 2, label_names=np.array(["dog", "cat"]))
    two = write_npz(tmp_path / "2.npz", X=x[:3], y=np.array([0, 5, 1]))
    run(tmp_path / "run", train=one, test=two, max_rejects=0.1)
    assert [row["labels"] for row in by_id(tmp_path / "run", "test").values()].count([1]) == 1
    assert rows(tmp_path / "run", "rejects") == [
        {"source": two, "line": 1, "reason": "label 5 is unknown (not in the label list)", "raw": "labels 5"}
    ]


def test_ids_of_the_data_are_kept_and_of_two_rows_with_one_id_the_first_stands(tmp_path: Path) -> None:
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    ids = np.arange(100, 120)
    ids[7] = 103
    path = write_npz(tmp_path / "x.npz", X=x, y=np.arange(20) % 2, id=ids)
    run(tmp_path / "run", train=path, max_rejects=0.1)
    found = {i: row for split in ("train", "validation", "test") for i, row in by_id(tmp_path / "run", split).items()}
    assert set(found) == set(ids.tolist())
    assert found[103]["features"] == x[3].tolist()
    assert [(r["line"], r["reason"]) for r in rows(tmp_path / "run", "rejects")] == [
        (7, "id 103 is met a second time in its split")
    ]


def test_ids_that_are_text_become_keys(tmp_path: Path) -> None:
    keys = [f"page {i}" for i in range(100)]
    table = pa.table({"id": keys, "features": [[float(i)] for i in range(100)], "label": ["a", "b"] * 50})
    pq.write_table(table, tmp_path / "x.parquet")
    run(tmp_path / "run", train=str(tmp_path / "x.parquet"))
    found = [row for split in ("train", "validation", "test") for row in rows(tmp_path / "run", f"examples/{split}")]
    assert sorted(row["key"] for row in found) == sorted(keys)
    for row in found:
        assert row["features"] == [float(row["key"].split()[1])]
        assert row["id"] == ids_of_keys(np.array([row["key"]], dtype=object))[0]
    assert manifest(tmp_path / "run", "examples/train").facts["key"] is True


def test_siblings_share_a_parent(tmp_path: Path) -> None:
    x = np.ones((40, 2))
    path = write_npz(tmp_path / "x.npz", X=x, y=np.arange(40) % 4, label_names=np.array(["dog", "oak", "cat", "rock"]))
    tree = write(tmp_path / "tree.tsv", "dog\tanimal\r\ncat\tanimal\noak\tplant\nelm\tplant\n")
    run(tmp_path / "run", train=path, hierarchy=tree)
    assert [row["siblings"] for row in rows(tmp_path / "run", "labels")] == [[2], [], [0], []]


# -------------------------------------------------------------------------------------------------------------- scaling


def test_standard_scaling_is_fitted_on_train_and_kept(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal([5, 0, 3], [2, 1, 0], size=(500, 3))
    path = write_npz(tmp_path / "x.npz", X=x, y=np.arange(500) % 3)
    run(tmp_path / "run", train=path, scale="standard", rows_per_part=100)
    train = by_id(tmp_path / "run", "train")
    kept = x[sorted(train)].astype(np.float32).astype(np.float64)
    scaling = rows(tmp_path / "run", "scaling")
    np.testing.assert_allclose([row["mean"] for row in scaling], kept.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose([row["deviation"] for row in scaling][:2], kept.std(axis=0)[:2], rtol=1e-12)
    assert scaling[2]["deviation"] == 1
    scaled = np.array([row["features"] for row in train.values()])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0)[:2], 1, atol=1e-6)
    for i, row in by_id(tmp_path / "run", "test").items():
        np.testing.assert_allclose(
            row["features"][:2], (x[i, :2] - kept.mean(axis=0)[:2]) / kept.std(axis=0)[:2], rtol=1e-4, atol=1e-5
        )


def test_tf_idf_is_fitted_on_train_and_kept(tmp_path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 4, 300)
    path = write(tmp_path / "x.txt", "".join(f"1 {word}:2 5:1\n" for word in words))
    run(tmp_path / "run", train=path, scale="tf-idf", rows_per_part=100)
    kept = words[sorted(by_id(tmp_path / "run", "train"))]
    rare = 1 + np.log((1 + len(kept)) / (1 + np.bincount(kept)))
    scaling = rows(tmp_path / "run", "scaling")
    assert [row["mean"] for row in scaling] == [0] * 6
    np.testing.assert_allclose([1 / row["deviation"] for row in scaling][:4], rare)
    assert scaling[5]["deviation"] == 1
    for i, row in by_id(tmp_path / "run", "test").items():
        expected = np.array([2 * rare[words[i]], 1])
        np.testing.assert_allclose(row["values"], expected / np.linalg.norm(expected), rtol=1e-6)


@pytest.mark.parametrize(("scale", "first"), [("unit", (0.6, 0.8)), ("sum", (3 / 7, 4 / 7))])
def test_unit_length(tmp_path: Path, scale: str, first: tuple[float, float]) -> None:
    path = write(tmp_path / "x.txt", "1 0:3 2:4\n2 1:0.001\n3 \n4 5:0\n" * 10)
    run(tmp_path / "run", train=path, scale=scale)
    values = {
        tuple(row["values"]) for split in ("train", "test") for row in rows(tmp_path / "run", f"examples/{split}")
    }
    assert values == {tuple(map(np.float32, first)), (1.0,), (), (0.0,)}
    assert rows(tmp_path / "run", "scaling") == []


# --------------------------------------------------------------------------------------------------------- interactions

LISTS = {"train.txt": "10 1 2 3\n11 2\n12\n", "valid.txt": "10 4\n11 3 2\n", "test.txt": "10 5 1\n13 2\n"}


def _lists(folder: Path) -> dict[str, str]:
    for name, text in LISTS.items():
        write(folder / name, text)
    return {"root": str(folder), "train": "train.txt", "validation": "valid.txt", "test": "test.txt"}


def test_x_is_the_user_and_seen_is_what_earlier_splits_hold(tmp_path: Path) -> None:
    run(tmp_path / "run", **_lists(tmp_path))
    assert names(tmp_path / "run") == ["1", "2", "3", "4", "5"]
    found = {
        (split, i): (row["indices"], row["values"], row["labels"], row["seen"])
        for split in ("train", "validation", "test")
        for i, row in by_id(tmp_path / "run", split).items()
    }
    assert found == {
        ("train", 10): ([0], [1.0], [0, 1, 2], []),
        ("train", 11): ([1], [1.0], [1], []),
        ("train", 12): ([2], [1.0], [], []),
        ("validation", 10): ([0], [1.0], [3], [0, 1, 2]),
        ("validation", 11): ([1], [1.0], [2], [1]),
        ("test", 10): ([0], [1.0], [4], [0, 1, 2, 3]),
        ("test", 13): ([3], [1.0], [1], []),
    }
    facts = manifest(tmp_path / "run", "examples/test").facts
    assert (facts["dimension"], facts["one_hot"], facts["history"]) == (4, True, False)
    assert ingested.counters(tmp_path / "run")["pairs_repeated"] == 2


def test_x_is_the_history_of_train_items_in_every_split(tmp_path: Path) -> None:
    run(tmp_path / "run", x="history", **_lists(tmp_path))
    histories = {
        (split, i): row["indices"]
        for split in ("train", "validation", "test")
        for i, row in by_id(tmp_path / "run", split).items()
    }
    assert histories == {
        ("train", 10): [0, 1, 2],
        ("train", 11): [1],
        ("train", 12): [],
        ("validation", 10): [0, 1, 2],
        ("validation", 11): [1],
        ("test", 10): [0, 1, 2],
        ("test", 13): [],
    }
    facts = manifest(tmp_path / "run", "examples/test").facts
    assert (facts["dimension"], facts["one_hot"], facts["history"]) == (5, False, True)


def test_pairs_without_given_splits_are_split_by_hash(tmp_path: Path) -> None:
    lines = [f"u{u},i{(7 * u + k) % 50},{1 + (u + k) % 5}" for u in range(60) for k in range(20)]
    path = write(tmp_path / "x.csv", "user,item,rating\n" + "\n".join(lines))
    run(tmp_path / "run", train=path, format="csv", min_rating=2, rows_per_part=16)
    expected = {tuple(line.split(",")[:2]) for line in lines if float(line.split(",")[2]) >= 2}
    label = names(tmp_path / "run")
    met: list[tuple[str, str]] = []
    sizes = {}
    for split in ("train", "validation", "test"):
        found = [
            (row["key"], label[item]) for row in rows(tmp_path / "run", f"examples/{split}") for item in row["labels"]
        ]
        sizes[split] = len(found)
        met += found
    assert sorted(met) == sorted(expected)
    assert sizes["test"] == pytest.approx(0.2 * len(met), rel=0.15)
    assert sizes["validation"] == pytest.approx(0.08 * len(met), rel=0.35)


# ------------------------------------------------------------------------------------------------------------ bad input


def test_few_refused_rows_are_listed_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "1 0:1\n2 0:inf\n-3 0:1\n" + "1 1:1\n" * 997)
    run(tmp_path / "run", train=path, max_rejects=0.002)
    assert rows(tmp_path / "run", "rejects") == [
        {"source": path, "line": 2, "reason": "feature 0 is inf (must be finite in float32)", "raw": "2 0:inf"},
        {"source": path, "line": 3, "reason": "label -3 is negative", "raw": "-3 0:1"},
    ]
    assert manifest(tmp_path / "run", "rejects").facts == {"rows_in": 1000, "rejects": 2}
    assert sum(manifest(tmp_path / "run", f"examples/{s}").rows for s in ("train", "validation", "test")) == 998
    assert names(tmp_path / "run") == ["1"]


def _arff(folder: Path) -> str:
    return write(folder / "x.arff", "@relation r\n@attribute a numeric\n@attribute l {0,1}\n@data\n1,1\n")


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "missing path": (None, {"train": "no.npz"}, ConfigError, r"data.train: .*no.npz: no such file"),
    "missing pattern": (None, {"train": "*.npy"}, ConfigError, r"data.train: .*\*.npy: no such file"),
    "missing test": ("1 0:1\n", {"train": "x", "test": "t"}, ConfigError, r"data.test: .*t: no such file"),
    "missing tree": ("1 0:1\n", {"train": "x", "hierarchy": "t"}, ConfigError, r"data.hierarchy: .*t: no such file"),
    "in two splits": ("1 0:1\n", {"train": "x", "test": "x"}, ConfigError, "is given for train too; give it once"),
    "two formats": ("1,2\n", {"train": "x"}, ConfigError, "fit svmlight and csv; say which with data.format"),
    "no format": ("what is this\n", {"train": "x"}, ConfigError, "fit no known format"),
    "rating without": ("1 0:1\n", {"train": "x", "min_rating": 3}, ConfigError, "has no ratings"),
    "empty": ("", {"train": "x"}, DataError, "x: the file is empty"),
    "empty with format": ("", {"train": "x", "format": "npz"}, DataError, "x: not a whole .npz file"),
    "wrong format": ("1 0:1\n", {"train": "x", "format": "parquet"}, DataError, "x: not a whole Parquet file"),
    "truncated": (b"PAR1abcdef", {"train": "x"}, DataError, "x: not a whole Parquet file"),
    "not a number": ("1 0:1\n1 0:nan\n" * 9, {"train": "x"}, DataError, "x: row 2: feature 0 is nan .*mend the row"),
    "infinite": ("1 0:1\n1 0:inf\n" * 9, {"train": "x"}, DataError, "x: row 2: feature 0 is inf .*9 of 18 rows"),
    "negative label": ("1 0:1\n-1 0:1\n" * 20, {"train": "x"}, DataError, "x: row 2: label -1 is negative"),
    "no label": ("0:1\n0:2\n", {"train": "x", "format": "svmlight"}, DataError, "no row of any file has a label"),
    "all below": (
        "a,b,4\n",
        {"train": "x", "min_rating": 5},
        DataError,
        "no line has a rating of data.min_rating = 5",
    ),
    "all refused": ("a 0:1\nb 0:2\n", {"train": "x", "format": "svmlight"}, DataError, "as row 1: label 'a' is not"),
    "no feature": ("1\n2\n", {"train": "x", "format": "svmlight"}, DataError, "no row of any file has a feature"),
    "no label of the list": ("40 2 2\n" + " 0:1\n" * 40, {"train": "x"}, DataError, "no training row has a label"),
    "cut short": ("3 2 2\n1 0:1\n", {"train": "x"}, DataError, "the header says 3 rows but the file has 1"),
    "no labels file": (_arff, {"train": "x.arff"}, DataError, "x.arff: no XML beside it names its labels"),
    "bad tree": ("1 0:1\n", {"train": "x", "hierarchy": "x"}, DataError, "x: line 1 is not 'label TAB parent'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_line_and_leaves_an_older_run_intact(case: str, tmp_path: Path, digits: Path) -> None:
    content, data, error, message = BAD[case]
    if callable(content):
        content(tmp_path)
    elif content is not None:
        write(tmp_path / "x", content)
    before = {path: path.read_bytes() for path in digits.rglob("manifest.json")}
    with pytest.raises(error, match=message) as raised:
        run(digits, root=str(tmp_path), **data)
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in digits.rglob("manifest.json")} == before
    assert all(by_id(digits, split) for split in ("train", "validation", "test"))


def test_dense_files_of_different_widths_do_not_go_together(tmp_path: Path) -> None:
    one = write_npz(tmp_path / "1.npz", X=np.ones((3, 2)), y=np.arange(3))
    two = write_npz(tmp_path / "2.npz", X=np.ones((3, 4)), y=np.arange(3))
    with pytest.raises(DataError, match=r"2\.npz: x has 4 columns, but 2 in .*1\.npz"):
        run(tmp_path / "run", train=one, test=two)


def test_ragged_rows_of_a_table_are_refused(tmp_path: Path) -> None:
    table = pa.table({"features": [[1.0, 2.0], [3.0], *[[4.0, 5.0]] * 38], "label": [0, 1] * 20})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="row 1: 1 features instead of 2"):
        run(tmp_path / "run", train=str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_that_gets_no_row_stops_the_run_before_rows_are_read(split: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "1 0:1\n2 0:1\n" * 20)
    with pytest.raises(DataError, match=f"x.txt: no row fell into {split}: raise data.{split} or give more rows"):
        run(tmp_path / "run", train=path, **{"validation": 0.3, "test": 0.3, split: 1e-9})
    assert not (tmp_path / "run" / "examples").exists()


def test_two_indicators_without_names_have_the_same_columns(tmp_path: Path) -> None:
    y = np.eye(3)[np.arange(30) % 3]
    one = write_npz(tmp_path / "1.npz", X=np.ones((30, 2)), Y=y)
    two = write_npz(tmp_path / "2.npz", X=np.zeros((30, 2)), Y=y[:, :2])
    with pytest.raises(DataError, match=r"2\.npz: Y has 2 columns, but 3 in .*1\.npz; make them alike, or give label"):
        run(tmp_path / "run", train=one, test=two)


def test_files_agree_about_what_y_is(tmp_path: Path) -> None:
    one = write_npz(tmp_path / "1.npz", X=np.ones((30, 2)), Y=np.eye(3)[np.arange(30) % 3])
    two = write_npz(tmp_path / "2.npz", X=np.ones((30, 2)), Y=np.array([[5, 7], [8, 9], [7, 9]] * 10))
    with pytest.raises(DataError, match=r"2\.npz: Y holds ids, but an indicator in .*1\.npz; make them alike"):
        run(tmp_path / "run", train=one, test=two)


def test_a_hierarchy_that_knows_no_label_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "x.npz", X=np.ones((40, 2)), y=np.arange(40) % 4)
    tree = write(tmp_path / "tree.tsv", "dog\tanimal\ncat\tanimal\n")
    with pytest.raises(DataError, match=r"tree\.tsv: it names none of the labels \('0', …\)"):
        run(tmp_path / "run", train=path, hierarchy=tree)


def test_launches_do_not_share_their_surveys_and_leave_none_behind(tmp_path: Path) -> None:
    run(tmp_path, format="digits")
    assert not list((tmp_path / "log").glob("survey*"))
    other = tmp_path / "log" / "survey"
    other.mkdir()
    write(other / "file-000000.json", "of another launch")
    run(tmp_path, format="digits", seed=1)
    assert [path.name for path in (tmp_path / "log").glob("survey*")] == ["survey"]
    assert (other / "file-000000.json").read_text() == "of another launch"
    with pytest.raises(DataError):
        run(tmp_path, train=write(tmp_path / "x", "1 0:1\n-1 0:1\n" * 40))
    assert [path.name for path in (tmp_path / "log").glob("survey*")] == ["survey"]


def test_the_log_says_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x.txt", "1 0:1\n2 6:1\n" * 20)
    with caplog.at_level("INFO", "awe"):
        run(tmp_path / "run", train=path)
    assert "1 file: 40 rows, 2 labels, d = 7" in caplog.text
    assert "have no row in train" not in caplog.text


def test_the_log_says_how_many_labels_only_test_has_and_how_many_pairs_stand_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, test = write(tmp_path / "a.txt", "1 0:1\n2 6:1\n" * 20), write(tmp_path / "b.txt", "1 0:1\n3 6:1\n" * 20)
    with caplog.at_level("INFO", "awe"):
        run(tmp_path / "run", train=train, test=test)
        lines = "".join(f"u{i % 8},i{i}\n" for i in range(40))
        run(tmp_path / "users", train=write(tmp_path / "c.csv", lines + "u0,i0\n"))
    assert "1 of 3 labels have no row in train, so nothing is learnt of them" in caplog.text
    assert "0 rows refused, 1 pair repeated" in caplog.text


# ------------------------------------------------------------------------------------------------------------ real data

REAL: dict[str, tuple[dict[str, Any], tuple[int, int, int], int, int]] = {
    "cifar100-474": ({"train": "test.npz", "hierarchy": "hierarchy.tsv"}, (7200, 800, 2000), 474, 100),
    "corel5k": ({"train": "*train*.arff", "test": "*test*.arff"}, (4050, 450, 500), 499, 374),
    "cal500": ({"train": "cal500.arff"}, (361, 40, 100), 68, 174),
    "lastfm": ({"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}, (1885, 1800, 1863), 1885, 17388),
}
"""Keys, about how many rows each split gets, width of x, labels."""


@pytest.mark.skipif("AWE_DATA" not in os.environ, reason="AWE_DATA does not name the folder of the real data")
@pytest.mark.parametrize("name", REAL)
def test_real_data(name: str, tmp_path: Path) -> None:
    data, sizes, width, labels = REAL[name]
    data = {key: f"{name}/{path}" for key, path in data.items()}
    run(tmp_path, **data)
    found = [manifest(tmp_path, f"examples/{split}") for split in ("train", "validation", "test")]
    assert [m.rows for m in found] == pytest.approx(sizes, rel=0.2)
    assert found[0].facts["dimension"] == width
    assert len(names(tmp_path)) == labels
    assert rows(tmp_path, "rejects") == []


_FIRST = "@attribute f {blue,red}\n@attribute g numeric"


@pytest.mark.parametrize(
    ("attributes", "row", "words"),
    [
        ("@attribute f {red,blue}\n@attribute g numeric", "red,1,1\n", "'f' declares its values as {red,blue}, "),
        (
            "@attribute g numeric\n@attribute f {blue,red}",
            "1,red,1\n",
            "'g' stands where .*1.arff has 'f'; put them in",
        ),
    ],
)
def test_files_declare_their_attributes_alike(attributes: str, row: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "set.xml", '<labels><label name="l"/></labels>')
    one = write(tmp_path / "1.arff", _declared(_FIRST, "red,1,1\nblue,2,0\n" * 9))
    two = write(tmp_path / "2.arff", _declared(attributes, row * 9))
    with pytest.raises(DataError, match=f"2.arff: attribute {words}"):
        run(tmp_path / "run", train=one, test=two)


def _declared(attributes: str, rows: str) -> str:
    return f"@relation r\n{attributes}\n@attribute l {{0,1}}\n@data\n{rows}"
