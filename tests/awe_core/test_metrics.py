"""Metrics of ranked lists, against the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.metrics import add, cutoffs, length_of, means, sums
from awe_core.ranking import Ranking
from tests.awe_core.lists import csr, label_sets
from tests.oracles import metrics as oracle

MEASURES: dict[str, oracle.Measure] = {
    "p": oracle.precision_at,
    "recall": oracle.recall_at,
    "ndcg": oracle.ndcg_at,
    "map": oracle.average_precision,
}


def ranking_of(lists: list[list[int]]) -> Ranking:
    indptr = np.cumsum([0, *map(len, lists)])
    labels = np.array([label for row in lists for label in row], np.int32)
    return Ranking(indptr, labels, np.zeros(len(labels), np.float32))


def draw_rows(
    data: st.DataObject, rows: int, labels: int, k: int
) -> tuple[list[list[int]], list[set[int]], list[set[int]]]:
    """Lists of at most k labels that were not seen, true labels and seen ones, which may overlap."""
    truth, seen = data.draw(label_sets(rows, labels)), data.draw(label_sets(rows, labels))
    orders = [data.draw(st.permutations(sorted(set(range(labels)) - not_these))) for not_these in seen]
    lengths = data.draw(st.lists(st.integers(0, k), min_size=rows, max_size=rows))
    return [order[:length] for order, length in zip(orders, lengths, strict=True)], truth, seen


@given(st.data(), st.integers(1, 6), st.integers(1, 9), st.integers(1, 12))
def test_every_metric_equals_the_oracle(data: st.DataObject, rows: int, labels: int, k: int) -> None:
    lists, truth, seen = draw_rows(data, rows, labels, k)
    families = data.draw(label_sets(labels, labels))
    total = sums(ranking_of(lists), csr(truth, labels), csr(seen, labels), csr(families, labels), k)
    scored = sum(bool(true - not_these) for true, not_these in zip(truth, seen, strict=True))
    assert (total["rows"], total["scored"]) == (rows, scored)
    if not scored:
        with pytest.raises(ValueError, match="nothing to score"):
            means(total)
        return
    found = means(total)
    sibling: Callable[..., float] = partial(
        lambda ranked, true, j, not_these: oracle.sibling_precision_at(
            ranked, true, dict(enumerate(families)), j, not_these
        )
    )
    for j in cutoffs(k):
        for name, measure in {**MEASURES, "sibling-p": sibling}.items():
            if name == "map" and j != k:
                continue
            wanted, over = oracle.mean_over_labelled(measure, lists, truth, j, seen)
            assert found[f"{name}@{j}"] == pytest.approx(wanted, rel=1e-12, abs=1e-15), name
            assert over == scored
        wanted = oracle.precision_at_all(lists, truth, j, seen)
        assert found[f"p@{j}-all"] == pytest.approx(wanted, rel=1e-12, abs=1e-15)


@given(st.data(), st.integers(1, 8), st.integers(1, 7), st.integers(1, 4))
def test_sums_of_parts_add_up_to_those_of_the_whole(data: st.DataObject, rows: int, labels: int, parts: int) -> None:
    lists, truth, seen = draw_rows(data, rows, labels, 5)

    def of(rows: list[int]) -> dict[str, float]:
        chosen = [[table[row] for row in rows] for table in (lists, truth, seen)]
        return sums(ranking_of(chosen[0]), csr(chosen[1], labels), csr(chosen[2], labels), None, 5)

    split = [part.tolist() for part in np.array_split(np.arange(rows), parts)]
    assert add(of(part) for part in split) == pytest.approx(of(list(range(rows))), rel=1e-14)


def test_no_siblings_no_sibling_metric() -> None:
    total = sums(ranking_of([[0]]), csr([{0}], 2), csr([set()], 2), None, 1)
    assert not any("sibling" in name for name in total)


def test_a_label_is_not_counted_twice_for_being_true_and_a_sibling() -> None:
    families = csr([{1, 2}, {0, 2}, {0, 1}, set()], 4)
    total = sums(ranking_of([[0, 1, 3]]), csr([{0, 2}], 4), csr([set()], 4), families, 3)
    assert total["sibling-p@1"] == 1.0
    assert total["sibling-p@3"] == 2 / 3


def test_many_siblings_of_many_true_labels_do_not_overflow_a_count() -> None:
    everything = set(range(300))
    total = sums(ranking_of([[7]]), csr([everything], 301), csr([set()], 301), csr([everything] * 301, 301), 1)
    assert total["sibling-p@1"] == 1.0


def test_cutoffs_are_those_below_the_length_and_the_length() -> None:
    assert cutoffs(1) == [1]
    assert cutoffs(4) == [1, 3, 4]
    assert cutoffs(20) == [1, 3, 5, 10, 20]


def test_a_block_without_rows_adds_nothing() -> None:
    nothing = sums(ranking_of([]), csr([], 3), csr([], 3), None, 2)
    assert set(nothing.values()) == {0.0}
    assert math.isclose(add([nothing, nothing])["p@1"], 0.0)
    assert add([]) == {}


@pytest.mark.parametrize("metric", ["p@0", "p", "p@", "auc", "map@1.5", "ndcg@10000", "sibling-p@1", "P@1"])
def test_what_settings_cannot_be_chosen_by_is_refused_with_an_example(metric: str) -> None:
    with pytest.raises(ValueError, match="ndcg@20"):
        length_of(metric)
    assert length_of("recall@9999") == 9999
