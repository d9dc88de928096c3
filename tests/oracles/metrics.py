"""Precision, recall, nDCG and average precision of ranked labels.

A ranking is the labels of one example, best first. `seen` labels are never ranked and never counted: every measure
takes them out of the ranking and out of the true labels first. The measures that divide by |y| are defined for examples
with a true label only (ZeroDivisionError).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

Measure = Callable[[Sequence[int], AbstractSet[int], int, AbstractSet[int]], float]
NONE: AbstractSet[int] = frozenset()


def hits(ranking: Sequence[int], counted: AbstractSet[int], k: int, seen: AbstractSet[int]) -> list[bool]:
    """For each of the first k ranked labels that were not seen, whether it is one of those that count."""
    return [label in counted for label in [label for label in ranking if label not in seen][:k]]


def precision_at(ranking: Sequence[int], truth: AbstractSet[int], k: int, seen: AbstractSet[int] = NONE) -> float:
    """P@k = hits among the first k / k, also where fewer than k labels are ranked."""
    return sum(hits(ranking, truth - seen, k, seen)) / k


def recall_at(ranking: Sequence[int], truth: AbstractSet[int], k: int, seen: AbstractSet[int] = NONE) -> float:
    """recall@k = hits among the first k / |y|."""
    return sum(hits(ranking, truth - seen, k, seen)) / len(truth - seen)


def ndcg_at(ranking: Sequence[int], truth: AbstractSet[int], k: int, seen: AbstractSet[int] = NONE) -> float:
    """nDCG@k = Σ over hits of 1 / log₂(rank + 1)  ÷  Σ_{rank ≤ min(k, |y|)} 1 / log₂(rank + 1), ranks from 1."""
    gain = sum(hit / math.log2(rank + 1) for rank, hit in enumerate(hits(ranking, truth - seen, k, seen), start=1))
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(truth - seen)) + 1))


def average_precision(ranking: Sequence[int], truth: AbstractSet[int], k: int, seen: AbstractSet[int] = NONE) -> float:
    """AP@K = Σ over hits at rank ≤ K of P@rank  ÷  min(K, |y|); its mean over examples is map@K."""
    found = hits(ranking, truth - seen, k, seen)
    total = sum(sum(found[:rank]) / rank for rank in range(1, len(found) + 1) if found[rank - 1])
    return total / min(k, len(truth - seen))


def sibling_precision_at(
    ranking: Sequence[int],
    truth: AbstractSet[int],
    siblings: Mapping[int, AbstractSet[int]],
    k: int,
    seen: AbstractSet[int] = NONE,
) -> float:
    """Sibling P@k: as P@k, but a sibling of a true label counts as well (Weston, Bengio, Usunier 2011, table 1)."""
    family = set(truth - seen).union(*(siblings.get(label, NONE) for label in truth - seen))
    return sum(hits(ranking, family, k, seen)) / k


def mean_over_labelled(
    measure: Measure,
    rankings: Sequence[Sequence[int]],
    truths: Sequence[AbstractSet[int]],
    k: int,
    seens: Sequence[AbstractSet[int]],
) -> tuple[float, int]:
    """(mean over the examples with a true label that was not seen, their number). ValueError where there are none."""
    rows = [row for row in zip(rankings, truths, seens, strict=True) if row[1] - row[2]]
    if not rows:
        raise ValueError("no example has a label: there is nothing to score")
    return math.fsum(measure(ranking, truth, k, seen) for ranking, truth, seen in rows) / len(rows), len(rows)


def precision_at_all(
    rankings: Sequence[Sequence[int]],
    truths: Sequence[AbstractSet[int]],
    k: int,
    seens: Sequence[AbstractSet[int]],
) -> float:
    """p@k-all: mean of P@k over all examples; one without labels has no hit and counts as 0."""
    rows = list(zip(rankings, truths, seens, strict=True))
    return math.fsum(precision_at(ranking, truth, k, seen) for ranking, truth, seen in rows) / len(rows)
