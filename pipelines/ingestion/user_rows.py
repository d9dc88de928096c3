"""Interactions become examples: one row per user and split, what earlier splits hold being `seen`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import hash_fractions
from pipelines.formats.rows import Values
from pipelines.ingestion.example_rows import ExampleRows, Lists, csr
from schemas.tables import EXAMPLES, SPLITS

TRAIN, VALIDATION, TEST, REFIT = range(len(EXAMPLES))

NO_ITEM = -1
"""Stands where a user is named in a split without an item: the user has a row there, without labels."""


@dataclass(frozen=True)
class Pairs:
    """(user, item) pairs in any order: users int64 [pairs], items int32 [pairs], place in `SPLITS` int8 [pairs]."""

    users: NDArray[np.int64]
    items: NDArray[np.int32]
    splits: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def nbytes(self) -> int:
        return self.users.nbytes + self.items.nbytes + self.splits.nbytes

    def take(self, positions: NDArray[np.intp]) -> Pairs:
        return Pairs(self.users[positions], self.items[positions], self.splits[positions])

    @classmethod
    def joined(cls, pieces: Sequence[Pairs]) -> Pairs:
        return cls(
            np.concatenate([piece.users for piece in pieces]),
            np.concatenate([piece.items for piece in pieces]),
            np.concatenate([piece.splits for piece in pieces]),
        )


def pair_fractions(seed: int, stream: str, users: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float64]:
    """hash(seed, user, item) as fractions in [0, 1), for splitting pairs: float64 [pairs].

    Users and items are places in their lists, each below 2³¹, so that a pair is one int64.
    """
    return hash_fractions(seed, stream, (users << np.int64(31)) | (items.astype(np.int64) & np.int64(2**31 - 1)))


@dataclass(frozen=True)
class HoldOut:
    """A number of items of every user that are held out of train.

    Attributes
    ----------
    seed : the run's seed.
    items : of a user, for each split; a user without an item more than all of that keeps them in train.
    splits : places in `SPLITS` that items are held out for.
    """

    seed: int
    items: int
    splits: tuple[int, ...]

    @property
    def needed(self) -> int:
        """Items that a user must have for some to be held out."""
        return self.items * len(self.splits) + 1

    def divided(self, pairs: Pairs, wanted: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Place in `SPLITS` of every pair, int8: of the wanted ones of a user, those of the smallest hashes move."""
        fractions = pair_fractions(self.seed, "hold-out", pairs.users, pairs.items)
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.lexsort((pairs.items[chosen], fractions[chosen], pairs.users[chosen]))]
        users = pairs.users[chosen]
        first = np.searchsorted(users, users)
        place, of_user = np.arange(len(users)) - first, np.searchsorted(users, users, side="right") - first
        splits = pairs.splits.copy()
        for turn, split in enumerate(self.splits):
            moved = (place // self.items == turn) & (of_user >= self.needed)
            splits[chosen[moved]] = split
        return splits


@dataclass(frozen=True)
class UserRows:
    """How rows are made of pairs.

    Attributes
    ----------
    x : "user" (x is one-hot) or "history" (x holds the user's items of train).
    width : number of users, or of items.
    ids : int64 [users], id of each user; None where a user's id is its place in the list.
    keys : names of the users, where they are no integers; else None.
    hold_out : items of every user that leave train; None where the pairs' splits stand.
    refit : whether there are rows of train and validation together. The history of a test row is then of both.
    """

    x: str
    width: int
    ids: NDArray[np.int64] | None
    keys: Values | None
    hold_out: HoldOut | None = None
    refit: bool = False

    def rows(self, pairs: Pairs) -> Iterator[tuple[int, ExampleRows, int]]:
        """(place in `EXAMPLES`, its rows, pairs that were repeats) of all of these, for all pairs of some users.

        A pair that was met before, in its split or in an earlier one, is a repeat: it is `seen` there, and what is seen
        is never counted. The rows of a refit repeat pairs of splits, and have no repeats of their own.
        """
        order = np.lexsort((pairs.splits, pairs.items, pairs.users))
        pairs = pairs.take(order)
        first = np.ones(len(pairs), dtype=bool)
        first[1:] = (np.diff(pairs.users) != 0) | (np.diff(pairs.items) != 0)
        real = pairs.items != NO_ITEM
        if self.hold_out is not None:
            train = (pairs.splits == TRAIN) & real & first
            pairs = Pairs(pairs.users, pairs.items, self.hold_out.divided(pairs, train))
        fitted = pairs.splits < TEST if self.refit else pairs.splits == TRAIN
        for split in range(len(SPLITS)):
            here = pairs.splits == split
            users = np.unique(pairs.users[here])
            repeats = int((here & real & ~first).sum())
            labels = self._lists(pairs, users, here & real & first)
            seen = self._lists(pairs, users, (pairs.splits < split) & real & first)
            history = fitted if split == TEST else pairs.splits == TRAIN
            known = self._lists(pairs, users, history & real & first)
            yield split, self._examples(users, labels, seen, known), repeats
        if self.refit:
            users = np.unique(pairs.users[fitted])
            labels = self._lists(pairs, users, fitted & real & first)
            yield REFIT, self._examples(users, labels, Lists.empty(len(users)), labels), 0

    def _lists(self, pairs: Pairs, users: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Lists:
        """Items per user, of the wanted pairs; `pairs` stand sorted by user and item."""
        wanted = wanted & np.isin(pairs.users, users)
        return Lists.of_rows(np.searchsorted(users, pairs.users[wanted]), pairs.items[wanted], len(users))

    def _examples(self, users: NDArray[np.int64], labels: Lists, seen: Lists, history: Lists) -> ExampleRows:
        if self.x == "history":
            indices, indptr = history.values, history.indptr
        else:
            indices, indptr = users.astype(np.int32), np.arange(len(users) + 1, dtype=np.int64)
        return ExampleRows(
            ids=users if self.ids is None else self.ids[users],
            features=csr(np.ones(len(indices), np.float32), indices, indptr, self.width),
            labels=labels,
            seen=seen,
            weight=np.ones(len(users), dtype=np.float32),
            files=np.zeros(len(users), dtype=np.int64),
            lines=users,
            keys=None if self.keys is None else self.keys[users],
        )
