"""Folds: every row is tested once, and never trained on where it is tested."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.folds import FOLDS, write_folds

XML = '<labels xmlns="http://mulan.sourceforge.net/labels"><label name="low"></label><label name="high"/></labels>'


def test_every_row_is_in_the_test_split_of_one_fold(tmp_path: Path) -> None:
    lines = [f"{i},{i / 2},{int(i < 10)},{int(i >= 10)}" for i in range(25)]
    header = ["@relation own", "@attribute a numeric", "@attribute b numeric"]
    header += ["@attribute low {0,1}", "@attribute high {0,1}", "@data"]
    (tmp_path / "own.arff").write_text("\n".join([*header, *lines]))
    (tmp_path / "own.xml").write_text(XML)
    tested = []
    files = write_folds(tmp_path / "own.arff", tmp_path / "folds")
    for train, test in files:
        rows = pq.read_table(test).to_pylist()
        learnt = pq.read_table(train).column("id").to_pylist()
        tested += [row["id"] for row in rows]
        assert sorted(learnt + [row["id"] for row in rows]) == list(range(25))
        for row in rows:
            assert row["features"] == [row["id"], row["id"] / 2]
            assert row["labels"] == ["low" if row["id"] < 10 else "high"]
    assert len(files) == FOLDS
    assert sorted(tested) == list(range(25))
