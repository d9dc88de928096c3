"""Where a row goes and in which order rows are visited: functions of the data and the seed alone.

Parts, splits, blocks and the order of an epoch never depend on runners, shards, threads or the order of the
input, so the Beam jobs and the in-memory estimator walk the same rows in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from awe_core.rows import runs

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The increment of SplitMix64 (Steele, Lea and Flood 2014)."""


def mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64: a bijection of the 64-bit integers that flips each output bit half the time."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hash_key(seed: int, stream: str) -> np.uint64:
    """The 64 bits that name a stream of a seed."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def hash_ids(seed: int, stream: str, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash row ids under a seed and a named stream.

    Parameters
    ----------
    seed : the run's seed.
    stream : what the hash is for; two streams are independent.
    ids : int64 [rows].

    Returns
    -------
    uint64 [rows], uniform over the 64-bit integers, distinct where the ids are distinct.
    """
    words = np.asarray(ids, dtype=np.int64).view(np.uint64)
    return mix(mix(words + GOLDEN) ^ hash_key(seed, stream))


def hash_fractions(seed: int, stream: str, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """`hash_ids` as fractions in [0, 1): rows whose value is below p are a p-th of the data, chosen by hash."""
    return (hash_ids(seed, stream, ids) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def part_count(rows: int, rows_per_part: int) -> int:
    """Number of parts of a split: ⌈rows / rows_per_part⌉, and one (empty) part for no rows."""
    return max(1, -(-rows // rows_per_part))


def part_of(seed: int, ids: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Part of every row, hash(seed, id) mod parts: int64 [rows]."""
    return (hash_ids(seed, "part", ids) % np.uint64(parts)).astype(np.int64)


def order_in_part(seed: int, ids: NDArray[np.int64]) -> NDArray[np.intp]:
    """Order of the rows of one part: by hash(seed, id), then id. Returns positions, intp [rows]."""
    return np.lexsort((ids, hash_ids(seed, "part", ids)))


def arrange(seed: int, ids: NDArray[np.int64], rows_per_part: int) -> list[NDArray[np.intp]]:
    """The rows of a split by part, each part in its order: what ingest does to a data set that fits in memory."""
    part = part_of(seed, ids, part_count(len(ids), rows_per_part))
    rows = [np.flatnonzero(part == k) for k in range(part_count(len(ids), rows_per_part))]
    return [positions[order_in_part(seed, ids[positions])] for positions in rows]


def block_slices(rows: int, block_rows: int) -> list[slice]:
    """The blocks of a part: runs of `block_rows` rows, the last one shorter. No rows, no blocks."""
    return runs(rows, block_rows)


def generator(seed: int, stage: str, *key: int) -> np.random.Generator:
    """A random stream of its own for (seed, stage, key…): never shared, so who computes what cannot matter."""
    words = hashlib.sha256(f"{seed}/{stage}/{'/'.join(map(str, key))}".encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.frombuffer(words, np.uint32).tolist())))


def epoch_order(rows_of_block: Sequence[int], seed: int, epoch: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """The order in which an epoch visits the rows: blocks permuted, and rows permuted within their block.

    Parameters
    ----------
    rows_of_block : number of rows of every block, parts in order.
    seed, epoch : the order is a function of these and of `rows_of_block` alone.

    Yields
    ------
    (index of the block, its rows in the order of the visit: intp [rows of the block])
    """
    blocks = generator(seed, "epoch", epoch).permutation(len(rows_of_block))
    for block in blocks.tolist():
        yield block, generator(seed, "epoch", epoch, block).permutation(rows_of_block[block])
