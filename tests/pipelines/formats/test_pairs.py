from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.formats import pairs
from pipelines.formats.rows import Given
from tests.pipelines.formats.reading import blocks_of, rejects_of, survey_of

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x00"), min_size=1, max_size=8).filter(
    lambda text: text == text.strip() and not text.startswith(("-", "user", "uid", "User")) and "." not in text
)


def pairs_of(blocks: list) -> list[tuple[str, str]]:
    return [pair for block in blocks for pair in zip(block.users.tolist(), block.items.tolist(), strict=True)]


def test_a_file_that_begins_with_tabs_is_separated_by_them() -> None:
    assert pairs_of(blocks_of(pairs, b"user\titem\trating\nann\tgreen tea\t4\nbob\tmilk\t2\n")) == [
        ("ann", "green tea"),
        ("bob", "milk"),
    ]
    titles = b"ann\tGodfather, The\t4\nbob\tAlien\t3\nann\tRing, The\t1\n"
    assert pairs_of(blocks_of(pairs, titles)) == [("ann", "Godfather, The"), ("bob", "Alien"), ("ann", "Ring, The")]
    assert pairs_of(blocks_of(pairs, b"user,item\nann\tsmith,tea\n")) == [("ann\tsmith", "tea")]


def test_bad_lines_do_not_hide_a_header() -> None:
    blocks = blocks_of(pairs, b"Kunde,Artikel\nu1,5\n\xff,7\nu2\nu1,6\n")
    assert pairs_of(blocks) == [("u1", "5"), ("u1", "6")]
    assert [refused.line for refused in rejects_of(blocks)] == [3, 4]


@pytest.mark.parametrize("line", [b"0.531,-0.2,1", b"ann,1.25", b"-.5,tea", b"1.5e3,tea"])
def test_measurements_are_no_users_or_items(line: bytes) -> None:
    (refused,) = rejects_of(blocks_of(pairs, line + b"\n"))
    assert "is a number that is not whole" in refused.reason
    assert not rejects_of(blocks_of(pairs, b"1.0,2.\nv1.5,a.b\n1e5,.\n"))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20))
def test_any_text_may_name_a_user_or_an_item(rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("user", "item"), *rows])
    blocks = blocks_of(pairs, buffer.getvalue().encode())
    assert pairs_of(blocks) == rows
    assert not rejects_of(blocks)


@pytest.mark.parametrize(
    ("content", "has_header"),
    [
        (b"userId,movieId,rating,timestamp\n1,2,3.5,1\n", True),
        (b"UID,item\na,b\n", True),
        (b"who,what\n1,2\n", True),
        (b"a,b,stars\na,b,4\n", True),
        (b"customer,product\nann,tea\n", True),
        (b"Customer_ID,product\nann,tea\n", True),
        (b"Kunde,Artikel\nu1,5\n", True),
        (b"Kunde\tArtikel, Nr\nu1\t5\n", True),
        (b"ann,Alien\nbob,1984\nann,Solaris\n", False),
        (b"ann,user guide\nbob,tea\n", False),
        (b"1,2\n3,4\n", False),
        (b"anna,film\nbert,book\n", False),
        (b"1,2,3.5\n", False),
    ],
)
def test_a_header_is_told_by_its_words(content: bytes, has_header: bool) -> None:
    assert sum(map(len, blocks_of(pairs, content))) == content.count(b"\n") - has_header


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"item,user", "the columns are item,user; they must be user,item[,rating[,time]]"),
        (b"movieId,userId,rating", "the columns are movieId,userId,rating; they must be"),
        (b"user,item,item", "column item stands twice"),
        (b"user,item,timestamp", "the columns are user,item,timestamp; they must be"),
    ],
)
def test_columns_in_another_order_are_not_taken_for_users_and_items(header: bytes, message: str) -> None:
    with pytest.raises(DataError) as raised:
        blocks_of(pairs, header + b"\n1,2,3\n")
    assert message in str(raised.value)


def test_users_are_integers_only_if_all_are_spelt_as_one() -> None:
    survey = survey_of(pairs, b"10,1\n9,2\n")
    assert survey.users is not None
    assert survey.users.tolist() == [9, 10]
    kept = survey_of(pairs, b"7,1\n07,2\n")
    assert kept.users is not None
    assert kept.users.tolist() == ["07", "7"]


def test_ratings_below_the_least_are_left_out_and_counted() -> None:
    blocks = blocks_of(pairs, b"1,1,5\n1,2,3\n1,3,4\n1,4,\n", Given(min_rating=4))
    assert pairs_of(blocks) == [("1", "1"), ("1", "3")]
    assert [block.left_out for block in blocks] == [1]
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(4, "no rating")]


def test_a_least_rating_without_ratings_ends_with_one_line() -> None:
    with pytest.raises(DataError, match=r"line 1 has no rating to hold against data\.min_rating"):
        blocks_of(pairs, b"1,1\n", Given(min_rating=4))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1", "1 fields (must be user,item[,rating[,time]])"),
        (b"1,2,3,4,5", "5 fields (must be user,item[,rating[,time]])"),
        (b"1,2\r3,4", "a carriage return inside the line"),
        (b",2", "no user"),
        (b"1, ", "no item"),
        (b"-1,2", "user -1 is negative"),
        (b"1,2,good", "rating 'good' is not a number"),
        (b"1,2,nan", "rating is nan (must be finite)"),
        (b"\xe9,2", "not UTF-8: convert the file"),
        (b'"1,2', "not comma-separated: unexpected end of data"),
    ],
)
def test_a_bad_line_is_refused_and_the_others_stay(line: bytes, reason: str) -> None:
    blocks = blocks_of(pairs, b"8,1\n9,2\n" + line + b"\n9,3\n")
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(3, reason)]
    assert pairs_of(blocks) == [("8", "1"), ("9", "2"), ("9", "3")]
