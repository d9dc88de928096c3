"""Parts, splits, blocks and the order of an epoch are functions of the data and the seed alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.arrangement import (
    arrange,
    block_slices,
    epoch_order,
    generator,
    hash_fractions,
    hash_ids,
    order_in_part,
    part_count,
    part_of,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
SEED = st.integers(0, 2**32)
WORD = 2**64 - 1


def splitmix(z: int) -> int:
    """Steele, Lea, Flood 2014: the finaliser of SplitMix64, in integers without end."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


@given(SEED, st.sampled_from(["part", "split", "sample"]), st.lists(INT64, max_size=20))
def test_the_hash_is_two_rounds_of_splitmix_around_the_key(seed: int, stream: str, ids: list[int]) -> None:
    key = int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little")
    wanted = [splitmix(splitmix((i + 0x9E3779B97F4A7C15) & WORD) ^ key) for i in ids]
    assert hash_ids(seed, stream, np.array(ids, np.int64)).tolist() == wanted


def test_distinct_ids_have_distinct_hashes_that_fill_the_range_evenly() -> None:
    hashes = hash_ids(0, "part", np.arange(-50_000, 50_000))
    assert len(np.unique(hashes)) == 100_000
    counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
    # 16 bins of a fair hash: χ² of 15 degrees of freedom exceeds 44 once in ten thousand.
    assert ((counts - 6250) ** 2 / 6250).sum() < 44


def test_streams_and_seeds_are_independent() -> None:
    ids = np.arange(2000)
    one = hash_fractions(0, "split", ids)
    for other in (hash_fractions(0, "sample", ids), hash_fractions(1, "split", ids)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_fractions_lie_below_one_and_cut_a_share_of_the_rows() -> None:
    fractions = hash_fractions(3, "split", np.arange(100_000))
    assert fractions.min() >= 0.0
    assert fractions.max() < 1.0
    assert np.mean(fractions < 0.1) == pytest.approx(0.1, abs=0.005)


@given(st.integers(0, 300), st.integers(1, 50))
def test_parts_hold_about_as_many_rows_as_asked_and_there_is_always_one(rows: int, rows_per_part: int) -> None:
    parts = part_count(rows, rows_per_part)
    assert parts >= 1
    assert parts * rows_per_part >= rows
    assert parts == 1 or (parts - 1) * rows_per_part < rows


@given(SEED, st.sets(INT64, max_size=80), st.integers(1, 30), st.randoms(use_true_random=False))
def test_arrangement_does_not_depend_on_the_order_of_the_input(seed: int, ids: set[int], size: int, random) -> None:
    one, other = sorted(ids), sorted(ids)
    random.shuffle(other)
    a, b = np.array(one, np.int64), np.array(other, np.int64)
    parts_a, parts_b = arrange(seed, a, size), arrange(seed, b, size)
    assert [a[rows].tolist() for rows in parts_a] == [b[rows].tolist() for rows in parts_b]
    assert sorted(np.concatenate(parts_a).tolist()) == list(range(len(ids)))
    for index, rows in enumerate(parts_a):
        assert (part_of(seed, a[rows], len(parts_a)) == index).all()
        hashes = hash_ids(seed, "part", a[rows])
        assert (np.diff(hashes.astype(object)) > 0).all()


def test_the_part_is_the_hash_modulo_their_number() -> None:
    ids = np.arange(50)
    assert part_of(7, ids, 4).tolist() == [int(h) % 4 for h in hash_ids(7, "part", ids)]


def test_rows_with_one_id_stand_together_in_the_order_of_a_part() -> None:
    ids = np.array([5, 9, 5, 9, 5])
    ordered = ids[order_in_part(0, ids)].tolist()
    assert ordered in ([5, 5, 5, 9, 9], [9, 9, 5, 5, 5])


@given(st.integers(0, 200), st.integers(1, 60))
def test_blocks_cut_a_part_into_runs_without_gaps_and_only_the_last_is_shorter(rows: int, block_rows: int) -> None:
    slices = block_slices(rows, block_rows)
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(rows))
    assert all(s.stop - s.start == block_rows for s in slices[:-1])
    assert all(s.stop > s.start for s in slices)


@given(st.lists(st.integers(0, 12), max_size=8), SEED, st.integers(0, 5))
def test_an_epoch_visits_every_row_once(rows_of_block: list[int], seed: int, epoch: int) -> None:
    visited = [(block, row) for block, rows in epoch_order(rows_of_block, seed, epoch) for row in rows.tolist()]
    assert sorted(visited) == [(block, row) for block, rows in enumerate(rows_of_block) for row in range(rows)]


def test_epochs_differ_from_each_other_and_repeat_themselves() -> None:
    def visits(seed: int, epoch: int) -> list[tuple[int, list[int]]]:
        return [(block, rows.tolist()) for block, rows in epoch_order([9, 9, 9, 4], seed, epoch)]

    assert visits(0, 1) == visits(0, 1)
    assert visits(0, 1) != visits(0, 2)
    assert visits(0, 1) != visits(1, 1)


def test_the_rows_of_a_block_are_permuted_alike_wherever_the_block_comes() -> None:
    long = dict(epoch_order([6, 6, 6, 6], 0, 0))
    short = dict(epoch_order([6, 6], 0, 0))
    assert all((long[block] == short[block]).all() for block in short)


def test_a_stream_depends_on_every_part_of_its_key() -> None:
    keys = [(0, "a", 1, 2), (1, "a", 1, 2), (0, "b", 1, 2), (0, "a", 1, 3), (0, "a", 12), (0, "a", 1), (0, "a")]
    first = {key: tuple(generator(key[0], str(key[1]), *map(int, key[2:])).integers(2**62, size=2)) for key in keys}
    assert len(set(first.values())) == len(keys)
    again = generator(0, "a", 1, 2).integers(2**62, size=2)
    assert first[(0, "a", 1, 2)] == tuple(again)
