from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.formats import interactions
from tests.pipelines.formats.reading import blocks_of, rejects_of, survey_of


def items_of(blocks: list) -> list[list[int]]:
    return [b.items[b.indptr[i] : b.indptr[i + 1]].tolist() for b in blocks for i in range(len(b))]


@given(st.dictionaries(st.integers(0, 10**15), st.lists(st.integers(0, 10**15), max_size=6), min_size=1, max_size=20))
def test_what_was_written_is_read_back(lists: dict[int, list[int]]) -> None:
    content = "".join(f"{user} {' '.join(map(str, items))}\n" for user, items in lists.items()).encode()
    blocks = blocks_of(interactions, content)
    assert [user for block in blocks for user in block.users.tolist()] == list(lists)
    assert items_of(blocks) == list(lists.values())
    survey = survey_of(interactions, content)
    assert survey.users is not None
    assert survey.users.tolist() == sorted(lists)
    assert survey.label_values.tolist() == sorted({item for items in lists.values() for item in items})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1 5 6", "user 1 has a line already in this file"),
        (b"-2 5", "user -2 is negative"),
        (b"2 -5", "item -5 is negative"),
        (b"2 5,6", "item '5,6' is not an integer"),
        (b"2 5\r4 6", "a carriage return inside the line"),
        (b"2 99999999999999999999", "item 99999999999999999999 is too large"),
        (b"\xe9 5", r"user '\\xe9' is not an integer"),
        (b"2 " + b"9" * 10000, "item '" + "9" * 40 + "' is not an integer"),
    ],
)
def test_a_bad_line_is_refused_and_the_others_stay(line: bytes, reason: str) -> None:
    blocks = blocks_of(interactions, b"1 2 3\n" + line + b"\n3 4\n")
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(2, reason)]
    assert items_of(blocks) == [[2, 3], [4]]


def test_a_user_of_an_earlier_block_is_remembered() -> None:
    content = b"".join(b"%d 1\n" % user for user in range(3000)) + b"0 2\n"
    assert [r.line for r in rejects_of(blocks_of(interactions, content))] == [3001]


def test_an_empty_file_ends_with_one_line() -> None:
    with pytest.raises(DataError, match="the file is empty"):
        survey_of(interactions, b"\n")
