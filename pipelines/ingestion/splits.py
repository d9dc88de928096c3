"""Which split a row belongs to: that of its file, or one chosen by a hash of its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import hash_fractions
from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.ingestion.raw_files import RawFile
from pipelines.ingestion.user_rows import TEST, TRAIN, VALIDATION, HoldOut, pair_fractions
from schemas.tables import SPLITS


@dataclass(frozen=True)
class SplitRule:
    """How the training files are divided.

    Attributes
    ----------
    seed : the run's seed.
    validation : fraction of train that is held out for validation; None where validation has files of its own.
    test : fraction of all rows that is held out for test; None likewise.
    hold_out : items of every user in place of the fractions; known when all pairs of a user are together.
    """

    seed: int
    validation: float | None
    test: float | None
    hold_out: HoldOut | None = None

    @classmethod
    def of(cls, config: Config) -> SplitRule:
        data, seed = config.data, config.run.seed
        validation, test = (part if isinstance(part, float) else None for part in (data.validation, data.test))
        if data.hold_out is None:
            return cls(seed, validation, test)
        taken = [place for place, part in ((VALIDATION, validation), (TEST, test)) if part is not None]
        return cls(seed, validation, test, HoldOut(seed, data.hold_out, tuple(taken)))

    def of_rows(self, split: str, ids: NDArray[np.int64]) -> NDArray[np.int8]:
        """Place in `SPLITS` of every row of a file that was given for `split`: int8 [rows]."""
        if split != "train":
            return np.full(len(ids), SPLITS.index(split), dtype=np.int8)
        return self._divided(hash_fractions(self.seed, "test", ids), hash_fractions(self.seed, "validation", ids))

    def of_pairs(self, split: str, users: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.int8]:
        """Place in `SPLITS` of every pair of a file that was given for `split`: int8 [pairs]."""
        if split != "train":
            return np.full(len(users), SPLITS.index(split), dtype=np.int8)
        if self.hold_out is not None:
            return np.full(len(users), TRAIN, dtype=np.int8)
        return self._divided(
            pair_fractions(self.seed, "test", users, items), pair_fractions(self.seed, "validation", users, items)
        )

    def _divided(self, test: NDArray[np.float64], validation: NDArray[np.float64]) -> NDArray[np.int8]:
        places = np.full(len(test), TRAIN, dtype=np.int8)
        if self.validation is not None:
            places[validation < self.validation] = VALIDATION
        # Test last: it is drawn from all rows, validation from what test leaves.
        if self.test is not None:
            places[test < self.test] = TEST
        return places

    def may_come_from_train(self, split: str) -> bool:
        """Whether rows of the training files can end in that split."""
        return split == "train" or (self.validation if split == "validation" else self.test) is not None


def no_row(split: str, rule: SplitRule, files: Sequence[RawFile]) -> DataError:
    """The one line that stops a run with an empty split: nothing could be chosen or measured on it."""
    own = [file.path for file in files if file.split == split]
    if own:
        return DataError(f"{own[0]}: no row fell into {split}: give more rows in the files of data.{split}")
    if rule.hold_out is not None and split != "train":
        items = rule.hold_out.needed
        return DataError(f"{files[0].path}: no row fell into {split}: no user has {items} items; lower data.hold_out")
    if split == "train":
        return DataError(f"{files[0].path}: no row fell into train: lower data.validation or data.test")
    return DataError(f"{files[0].path}: no row fell into {split}: raise data.{split} or give more rows")
