"""Which labels are ranked, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet


def rank(scores: Mapping[int, float], k: int) -> list[int]:
    """The k labels with the largest f(x, y), best first, ties by label id; all of them where there are fewer."""
    return sorted(scores, key=lambda label: (-scores[label], label))[:k]


def candidates_only(
    scores: Mapping[int, float], candidates: AbstractSet[int], seen: AbstractSet[int] = frozenset()
) -> dict[int, float]:
    """The scores of the candidates that were not seen: labels outside them have G = 0 (Weston, Weiss, Yee 2013,
    section 2) and are not ranked. Where a bias or a plain model ranks all labels, all of them are candidates.
    """
    return {label: scores[label] for label in candidates - seen}
