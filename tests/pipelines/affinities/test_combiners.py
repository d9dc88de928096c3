"""The CombineFns by their laws: any split, order and merge tree, through pickling, gives the answer of one pass."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.affinities.beside_neighbours import smallest_hashes
from awe_core.affinities.cluster import count_labels
from pipelines.affinities import by_neighbours
from pipelines.affinities.by_clusters import _AddCounts
from pipelines.affinities.by_neighbours import _SmallestHashes
from tests.awe_core.lists import csr, label_sets
from tests.merge_trees import merge_in_some_tree, random_split

SEED = st.integers(0, 2**20)


def travelled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def combine_somehow(combiner: beam.CombineFn, inputs: Sequence[Any], rng: np.random.Generator) -> Any:
    """As a runner might: bundles of inputs, each into an accumulator of its own, joined in some tree."""
    combiner = travelled(combiner)
    bundles = random_split(len(inputs), int(rng.integers(1, 5)), rng)
    accumulators = []
    for bundle in bundles:
        accumulator = combiner.create_accumulator()
        for position in rng.permutation(bundle):
            accumulator = combiner.add_input(accumulator, travelled(inputs[position]))
        accumulators.append(travelled(combiner.compact(accumulator)))

    def merge(some: list[Any]) -> Any:
        # Beam may hand over a generator.
        return travelled(combiner.merge_accumulators(one for one in some))

    return combiner.extract_output(merge_in_some_tree(accumulators, merge, rng))


def hashes_of_a_sample_of(rows: int) -> Callable[[int, np.ndarray], np.ndarray]:
    def few(seed: int, ids: np.ndarray) -> np.ndarray:
        return smallest_hashes(seed, ids, rows)

    return few


@given(SEED, st.integers(0, 50), st.integers(1, 60), st.integers(1, 8))
def test_the_smallest_hashes_of_any_parts(seed: int, rows: int, sample: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(1000)[:rows].astype(np.int64)
    few = hashes_of_a_sample_of(sample)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_neighbours.beside_neighbours, "smallest_hashes", few)
        inputs = [ids[part][few(seed, ids[part])] for part in random_split(rows, parts, rng)]
        found = combine_somehow(_SmallestHashes(seed), inputs, rng)
    assert found.tolist() == sorted(ids[few(seed, ids)].tolist())
    assert found.dtype == np.int64


@given(SEED, st.integers(0, 30).flatmap(lambda rows: label_sets(rows, 5)), st.integers(1, 6))
def test_the_counts_of_labels_of_any_parts(seed: int, labels: list[set[int]], parts: int) -> None:
    rng = np.random.default_rng(seed)
    leaf = rng.integers(0, 3, len(labels))
    lists = csr(labels, 5)
    inputs = [count_labels(leaf[rows], lists[rows], 3) for rows in random_split(len(labels), parts, rng)]
    found = combine_somehow(_AddCounts(), inputs, rng)
    wanted = [
        [sum(y in one for one, at in zip(labels, leaf, strict=True) if at == x) for y in range(5)] for x in range(3)
    ]
    assert found.toarray().tolist() == wanted
    assert found.dtype == np.int64
