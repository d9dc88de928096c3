from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingestion.example_rows import Lists
from pipelines.ingestion.user_rows import (
    NO_ITEM,
    REFIT,
    TEST,
    TRAIN,
    VALIDATION,
    HoldOut,
    Pairs,
    UserRows,
    pair_fractions,
)
from schemas.tables import SPLITS

MET = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 6), st.integers(0, 2)), max_size=60)


def pairs_of(met: list[tuple[int, int, int]]) -> Pairs:
    users, items, splits = zip(*met, strict=True) if met else ((), (), ())
    return Pairs(np.array(users, np.int64), np.array(items, np.int32), np.array(splits, np.int8))


def of_row(lists: Lists, row: int) -> list[int]:
    return lists.values[lists.indptr[row] : lists.indptr[row + 1]].tolist()


@given(MET, st.sampled_from(["user", "history"]))
def test_a_refit_has_a_row_a_user_as_if_validation_had_been_train(met: list[tuple[int, int, int]], x: str) -> None:
    def rows(met: list[tuple[int, int, int]], refit: bool) -> dict[int, dict[int, tuple[list[int], ...]]]:
        maker = UserRows(x, 7, None, None, refit=refit)
        return {
            place: {
                int(user): (of_row(rows.labels, i), of_row(rows.seen, i), rows.features[i].indices.tolist())
                for i, user in enumerate(rows.ids)
            }
            for place, rows, _ in maker.rows(pairs_of(met))
        }

    found, alone = rows(met, refit=True), rows(met, refit=False)
    together = rows([(user, item, TEST if split == TEST else TRAIN) for user, item, split in met], refit=False)
    assert found[REFIT] == together[TRAIN]
    assert found[TEST] == together[TEST]
    assert {split: found[split] for split in (TRAIN, VALIDATION)} == {
        split: alone[split] for split in (TRAIN, VALIDATION)
    }
    assert REFIT not in alone


@given(MET, st.sampled_from(["user", "history"]), st.randoms(use_true_random=False))
def test_rows_hold_what_plain_sets_hold(met: list[tuple[int, int, int]], x: str, random: object) -> None:
    random.shuffle(met)  # type: ignore[attr-defined]
    maker = UserRows(x, 6 if x == "user" else 7, None, None)
    repeats = 0
    for split, rows, repeated in maker.rows(pairs_of(met)):
        repeats += repeated
        assert rows.ids.tolist() == sorted({user for user, _, s in met if s == split})
        for i, user in enumerate(rows.ids.tolist()):
            items = [
                {item for u, item, s in met if (u, s) == (user, k) and item != NO_ITEM} for k in range(len(SPLITS))
            ]
            seen = set().union(*items[:split])
            assert of_row(rows.seen, i) == sorted(seen)
            assert of_row(rows.labels, i) == sorted(items[split] - seen)
            expected = [user] if x == "user" else sorted(items[0])
            assert rows.features[i].indices.tolist() == expected
            assert rows.features[i].data.tolist() == [1.0] * len(expected)
    kept = {(user, item) for user, item, _ in met if item != NO_ITEM}
    assert repeats == sum(item != NO_ITEM for _, item, _ in met) - len(kept)


def test_ids_and_keys_are_those_of_the_users() -> None:
    keys = np.array(["anna", "bert"], dtype=object)
    maker = UserRows("user", 2, np.array([70, 80]), keys)
    (_, rows, _), *_ = maker.rows(pairs_of([(1, 0, 0), (0, 0, 0)]))
    assert rows.ids.tolist() == [70, 80]
    assert rows.keys is not None
    assert rows.keys.tolist() == ["anna", "bert"]


def test_a_pair_has_its_own_fraction_whatever_stands_beside_it() -> None:
    users, items = np.arange(1000, dtype=np.int64) % 40, np.arange(1000, dtype=np.int32) // 40
    fractions = pair_fractions(1, "test", users, items)
    assert len(np.unique(fractions)) == 1000
    assert abs(fractions.mean() - 0.5) < 0.05
    np.testing.assert_array_equal(pair_fractions(1, "test", users[::-3], items[::-3]), fractions[::-3])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 30)), max_size=90), st.integers(1, 4))
def test_a_number_of_every_users_items_is_held_out(met: list[tuple[int, int]], items: int) -> None:
    pairs = pairs_of([(user, item, 0) for user, item in met])
    maker = UserRows("history", 31, None, None, HoldOut(5, items, (1, 2)))
    owned = {user: {item for other, item in met if other == user and item != NO_ITEM} for user, _ in met}
    found: dict[int, list[set[int]]] = {user: [set(), set(), set()] for user in owned}
    for split, rows, _ in maker.rows(pairs):
        for i, user in enumerate(rows.ids.tolist()):
            found[user][split] = set(of_row(rows.labels, i))
            assert set(rows.features[i].indices.tolist()) == found[user][0]
    for user, own in owned.items():
        assert set.union(*found[user]) == own
        held = items if len(own) > 2 * items else 0
        assert [len(of_split) for of_split in found[user]] == [len(own) - 2 * held, held, held]
