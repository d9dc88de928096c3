from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.arrangement import order_in_part
from pipelines.ingestion.example_rows import ExampleRows, Lists, arranged, csr, tables_of

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=12)


def lists_of(rows: list[list[int]]) -> Lists:
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Lists.sorted_sets(indptr, np.array([v for row in rows for v in row], dtype=np.int32))


def plain(lists: Lists) -> list[list[int]]:
    return [lists.values[a:b].tolist() for a, b in zip(lists.indptr[:-1], lists.indptr[1:], strict=True)]


def example_rows(ids: list[int], files: list[int], lines: list[int], sparse: bool = False) -> ExampleRows:
    n = len(ids)
    values = np.array(lines, np.float32)
    x = csr(values, np.zeros(n, np.int32), np.arange(n + 1), 3) if sparse else np.repeat(values[:, None], 2, axis=1)
    return ExampleRows(
        ids=np.array(ids, np.int64),
        features=x,
        labels=lists_of([[line % 4] for line in lines]),
        seen=Lists.empty(n),
        weight=np.ones(n, np.float32),
        files=np.array(files, np.int64),
        lines=np.array(lines, np.int64),
    )


@given(LISTS)
def test_lists_are_sets_in_order(rows: list[list[int]]) -> None:
    assert plain(lists_of(rows)) == [sorted(set(row)) for row in rows]


@given(LISTS, LISTS, st.data())
def test_lists_are_taken_and_joined_row_by_row(one: list[list[int]], two: list[list[int]], data: st.DataObject) -> None:
    joined = Lists.joined([lists_of(one), lists_of(two)])
    rows = [sorted(set(row)) for row in one + two]
    assert plain(joined) == rows
    if rows:
        positions = data.draw(st.lists(st.integers(0, len(rows) - 1)))
        assert plain(joined.take(np.array(positions, dtype=np.intp))) == [rows[i] for i in positions]


@pytest.mark.parametrize("sparse", [False, True])
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 50)), max_size=20, unique=True), st.data()
)
def test_a_part_is_the_same_however_its_rows_came(
    sparse: bool, rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    def part(order: list[tuple[int, int, int]]) -> tuple[ExampleRows, ExampleRows]:
        pieces = [example_rows([], [], [], sparse), *(example_rows([i], [f], [n], sparse) for i, f, n in order)]
        return arranged(ExampleRows.joined(pieces), seed=5)

    kept, repeats = part(rows)
    shuffled, again = part(data.draw(st.permutations(rows)))
    for field in ("ids", "files", "lines"):
        np.testing.assert_array_equal(getattr(kept, field), getattr(shuffled, field))
        np.testing.assert_array_equal(np.sort(getattr(repeats, field)), np.sort(getattr(again, field)))
    first = {i: min((f, n) for j, f, n in rows if j == i) for i, _, _ in rows}
    ids = np.array(sorted(first), dtype=np.int64)
    assert kept.ids.tolist() == ids[order_in_part(5, ids)].tolist()
    assert [first[i] for i in kept.ids.tolist()] == list(zip(kept.files.tolist(), kept.lines.tolist(), strict=True))
    assert len(kept) + len(repeats) == len(rows)
    x = kept.features.toarray() if sparse else kept.features
    assert x[:, 0].tolist() == kept.lines.tolist()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_part_is_cut_into_blocks(sparse: bool) -> None:
    tables = list(tables_of(example_rows(list(range(10)), [0] * 10, list(range(10)), sparse), block_rows=4))
    assert [len(table) for table in tables] == [4, 4, 2]
    assert [i for table in tables for i in table.column("id").to_pylist()] == list(range(10))
    assert tables[1].column("labels").to_pylist() == [[0], [1], [2], [3]]
    column = tables[2].column("values" if sparse else "features").to_pylist()
    assert column == ([[8.0], [9.0]] if sparse else [[8.0, 8.0], [9.0, 9.0]])
