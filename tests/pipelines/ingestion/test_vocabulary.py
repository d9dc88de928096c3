from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.rows import Survey, objects
from pipelines.ingestion.vocabulary import Vocabulary, label_list, of_values, own_list


def surveyed(values: Any = (), names: tuple[str, ...] | None = None) -> Survey:
    listed = list(values)
    array = objects(listed) if listed and isinstance(listed[0], str) else np.array(listed, dtype=np.int64)
    return Survey("f", 1, False, 1, names, array)


@given(st.lists(st.integers(0, 2**62), unique=True), st.lists(st.integers(0, 2**62)))
def test_numbers_are_found_where_they_stand_in_the_sorted_list(known: list[int], asked: list[int]) -> None:
    place = {value: i for i, value in enumerate(sorted(known))}
    labels = of_values([np.array(known, dtype=np.int64)])
    values = np.array(known + asked, dtype=np.int64)
    assert labels.find(values).tolist() == [place.get(value, -1) for value in known + asked]


@given(st.lists(st.text(), unique=True), st.lists(st.text()))
def test_texts_are_found_where_they_stand_in_the_sorted_list(known: list[str], asked: list[str]) -> None:
    labels = of_values([objects(known)])
    place = {name: i for i, name in enumerate(labels.names)}
    assert set(labels.names) == set(known)
    assert labels.find(objects(known + asked)).tolist() == [place.get(name, -1) for name in known + asked]


def test_texts_that_are_all_numbers_are_sorted_as_numbers() -> None:
    assert of_values([objects(["10", "9"]), objects(["2"])]).names == ("2", "9", "10")
    assert of_values([objects(["10", "9", "09"])]).names == ("09", "10", "9")


def test_a_number_among_texts_is_found_by_its_spelling() -> None:
    labels = label_list([surveyed(["a", "7"]), surveyed([7, 12])])
    assert labels.names == ("12", "7", "a")
    assert labels.find(np.array([7, 12, 1])).tolist() == [1, 0, -1]
    assert labels.find(objects(["a", "12"])).tolist() == [2, 0]


def test_with_one_list_a_number_is_a_place_in_it() -> None:
    labels = label_list([surveyed(names=("dog", "cat")), surveyed([0, 5])])
    assert labels.find(np.array([0, 1, 2, -1])).tolist() == [0, 1, -1, -1]
    assert labels.find(objects(["cat", "ant"])).tolist() == [1, -1]


def test_two_lists_are_joined_and_each_file_counts_in_its_own() -> None:
    one, two = surveyed(names=("dog", "cat")), surveyed(names=("ant", "cat"))
    labels = label_list([one, two])
    assert labels.names == ("dog", "cat", "ant")
    assert not labels.positional
    mapped = own_list(two, labels)
    assert mapped is not None
    assert mapped.tolist() == [2, 1]
    assert own_list(surveyed([1]), labels) is None


@pytest.mark.parametrize("names", [(), ("a", "b"), ("1", "2"), ('"', "\n", "\u2603")])
def test_a_list_survives_its_file(names: tuple[str, ...]) -> None:
    assert Vocabulary.from_bytes(Vocabulary(names, True).to_bytes()) == Vocabulary(names, True)
