from __future__ import annotations

import numpy as np
import pytest

from awe_core.arrangement import hash_fractions
from pipelines.config import Config
from pipelines.ingestion.splits import TEST, TRAIN, VALIDATION, SplitRule

IDS = np.arange(20000, dtype=np.int64)


def test_test_is_drawn_from_all_rows_and_validation_from_what_is_left() -> None:
    splits = SplitRule(0, validation=0.1, test=0.2).of_rows("train", IDS)
    shares = np.bincount(splits, minlength=3) / len(IDS)
    np.testing.assert_allclose(shares, [0.72, 0.08, 0.2], atol=0.01)
    without_validation = SplitRule(0, validation=None, test=0.2).of_rows("train", IDS)
    np.testing.assert_array_equal(splits == TEST, without_validation == TEST)
    np.testing.assert_array_equal(splits == TEST, hash_fractions(0, "test", IDS) < 0.2)


def test_a_larger_fraction_holds_the_rows_of_a_smaller_one() -> None:
    small, large = (SplitRule(0, part, None).of_rows("train", IDS) == VALIDATION for part in (0.1, 0.3))
    assert not (small & ~large).any()


def test_a_row_falls_where_it_falls_whatever_stands_beside_it() -> None:
    rule = SplitRule(0, 0.1, 0.2)
    np.testing.assert_array_equal(rule.of_rows("train", IDS[::-7]), rule.of_rows("train", IDS)[::-7])
    assert (SplitRule(1, 0.1, 0.2).of_rows("train", IDS) != rule.of_rows("train", IDS)).any()


@pytest.mark.parametrize(("split", "place"), [("train", TRAIN), ("validation", VALIDATION), ("test", TEST)])
def test_given_files_are_not_divided(split: str, place: int) -> None:
    rule = SplitRule.of(Config.model_validate({"data": {"train": "a", "validation": "b", "test": ["c"]}}))
    assert (rule.of_rows(split, IDS) == place).all()
    assert (rule.of_pairs(split, IDS, IDS.astype(np.int32)) == place).all()
    assert rule.may_come_from_train(split) == (split == "train")


def test_pairs_are_divided_one_by_one() -> None:
    splits = SplitRule(0, 0.1, 0.2).of_pairs("train", IDS % 100, (IDS // 100).astype(np.int32))
    np.testing.assert_allclose(np.bincount(splits) / len(IDS), [0.72, 0.08, 0.2], atol=0.01)
    assert len(np.unique(splits[IDS % 100 == 5])) == 3
