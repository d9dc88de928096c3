"""Interaction lists as the one-hot case reads them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from benchmarks.datasets import gowalla
from benchmarks.quality import csr_of


def test_earlier_splits_are_seen_in_later_ones(tmp_path: Path) -> None:
    (tmp_path / "gowalla").mkdir()
    for name, text in (("train", "0 3 1\n1 2\n"), ("valid", "0 4\n1\n"), ("test", "0 0\n1 5\n")):
        (tmp_path / "gowalla" / f"{name}.txt").write_text(text)
    arrays = gowalla(tmp_path)

    def lists(name: str) -> list[list[int]]:
        matrix = csr_of(arrays, name)
        assert matrix.shape == (2, 6)
        return [row.tolist() for row in (matrix.indices[a:b] for a, b in pairwise(matrix.indptr))]

    assert lists("train.labels") == [[1, 3], [2]]
    assert lists("train.seen") == [[], []]
    assert lists("validation.labels") == [[4], []]
    assert lists("validation.seen") == [[1, 3], [2]]
    assert lists("test.labels") == [[0], [5]]
    assert lists("test.seen") == [[1, 3, 4], [2]]
