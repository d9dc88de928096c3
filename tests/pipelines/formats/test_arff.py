from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.formats import arff
from pipelines.formats.rows import Given
from tests.pipelines.formats.reading import blocks_of, labels_of, rejects_of, survey_of, x_of

HEADER = b"""% a comment
@relation 'a set'
@attribute size numeric
@attribute 'the label, quoted' {0,1}
@ATTRIBUTE\tcolour\t{red,green,'deep blue'}
@attribute here {0,1}
@attribute TAG_?? {0, 1}

@data
"""
LABELS = Given(label_names=("TAG_??", "the label, quoted"))


def test_dense_rows_labels_in_the_order_of_the_xml() -> None:
    content = HEADER + b"1.5,1,red,0,0\r\n\r\n% between\n2,0,'deep blue',1,1\n"
    survey = survey_of(arff, content, LABELS)
    blocks = blocks_of(arff, content, LABELS)
    assert (survey.rows, survey.d, survey.sparse) == (2, 3, False)
    assert survey.label_names == ("TAG_??", "the label, quoted")
    assert labels_of(blocks) == [[1], [0]]
    np.testing.assert_array_equal(x_of(blocks, 3), [[1.5, 0, 0], [2, 2, 1]])
    assert blocks[0].lines.tolist() == [10, 13]
    assert blocks[0].rows.tolist() == [0, 1]


def test_sparse_rows_leave_zeros_out() -> None:
    content = HEADER + b"{0 2.5,1 1}\n{}\n{ 2 'deep blue' , 4 1 }\n{4 1, 3 1,}\n"
    survey = survey_of(arff, content, LABELS)
    blocks = blocks_of(arff, content, LABELS)
    assert (survey.rows, survey.sparse) == (4, True)
    assert labels_of(blocks) == [[1], [], [0], [0]]
    np.testing.assert_array_equal(x_of(blocks, 3), [[2.5, 0, 0], [0, 0, 0], [0, 2, 0], [0, 0, 1]])


def declared(label: str, x: str = "numeric") -> bytes:
    return f"@relation r\n@attribute x {x}\n@attribute l {label}\n@data\n".encode()


@pytest.mark.parametrize(
    ("label", "absent", "present"),
    [
        *(("{0,1}", "0", "1"), ("{1,0}", "0", "1"), ("numeric", "0", "1"), ("{1.0,0.0}", "0.0", "1.0")),
        *(("{TRUE,FALSE}", "FALSE", "TRUE"), ("{no,yes}", "no", "yes"), ("{absent,there}", "absent", "there")),
    ],
)
def test_a_label_is_there_by_what_its_word_means_in_whatever_order_it_is_declared(
    label: str, absent: str, present: str
) -> None:
    one = Given(label_names=("l",))
    rows = f"1,{present}\n2,{absent}\n3,{present}\n".encode()
    assert labels_of(blocks_of(arff, declared(label) + rows, one)) == [[0], [], [0]]


def test_sparse_rows_of_a_label_that_is_left_out_where_it_is_there_are_refused() -> None:
    with pytest.raises(DataError, match=r"label 'l' is declared \{1,0\}, and sparse rows leave .* declare 0 first"):
        survey_of(arff, declared("{1,0}") + b"{0 1}\n", Given(label_names=("l",)))


@pytest.mark.parametrize(
    ("x", "numbers"),
    [("{0,1,2}", [0, 2]), ("{1,2,0}", [0, 2]), ("{2,4,0}", [0, 2]), ("{blue,2,0}", [2, 1]), ("{0,blue,2}", [0, 2])],
)
def test_values_that_are_numbers_are_those_and_words_are_their_places(x: str, numbers: list[int]) -> None:
    content = declared("{0,1}", x) + b"0,1\n2,0\n"
    np.testing.assert_array_equal(
        x_of(blocks_of(arff, content, Given(label_names=("l",))), 1)[:, 0], np.array(numbers, np.float32)
    )


def test_sparse_rows_leave_out_the_first_value_whatever_number_it_is() -> None:
    content = declared("{0,1}", "{3,5,7}") + b"{0 7, 1 1}\n{}\n{0 5}\n"
    np.testing.assert_array_equal(x_of(blocks_of(arff, content, Given(label_names=("l",))), 1)[:, 0], [2, 0, 1])


@given(
    st.lists(
        st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.booleans(), st.booleans()),
        min_size=1,
        max_size=30,
    ),
    st.booleans(),
)
def test_numbers_come_back_as_they_were_written(rows: list[tuple[float, bool, bool]], sparse: bool) -> None:
    lines = [
        f"{{0 {value!r}, 1 {int(a)}, 4 {int(b)}}}" if sparse else f"{value!r},{int(a)},red,0,{int(b)}"
        for value, a, b in rows
    ]
    blocks = blocks_of(arff, HEADER + "\n".join(lines).encode(), LABELS)
    np.testing.assert_array_equal(x_of(blocks, 3)[:, 0], np.array([value for value, _, _ in rows], np.float32))
    assert labels_of(blocks) == [[0] * b + [1] * a for _, a, b in rows]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,0,red,0", "4 values (the header has 5 attributes)"),
        (b"1,0,red,0,0,0", "6 values (the header has 5 attributes)"),
        (b"x,0,red,0,0", "attribute 0 'x' is not a number"),
        (b"?,0,red,0,0", "attribute 0 is missing or no number (?)"),
        (b",0,red,0,0", "attribute 0 is missing or no number (nothing)"),
        (b"1_0,0,red,0,0", "attribute 0 is missing or no number (1_0)"),
        (b"nan,0,red,0,0", "feature 0 is nan (must be finite in float32)"),
        (b"1e39,0,red,0,0", "feature 0 is inf (must be finite in float32)"),
        (b"1,2,red,0,0", "attribute 1 is '2', which the header does not declare"),
        (b"1,0,pink,0,0", "attribute 2 is 'pink', which the header does not declare"),
        (b"1,0,'red,0,0", "quotes that do not match"),
        (b"1,0,r\xe9d,0,0", "not UTF-8"),
        (b"{0 1", "no closing brace"),
        (b"{0 1, 0 2}", "an attribute is given twice"),
        (b"{5 1}", "attribute 5 (the header has 5)"),
        (b"{-1 1}", "attribute -1 (the header has 5)"),
        (b"{99999999999999999999 1}", "feature index '99999999999999999999' is too large (must be below 2147483647)"),
        (b"{0}", "'0' is not 'attribute value'"),
        (b"{one 1}", "feature index 'one' is not an integer"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_the_others_stay(line: bytes, reason: str) -> None:
    blocks = blocks_of(arff, HEADER + b"1,1,red,0,0\n" + line + b"\n2,0,green,1,1\n", LABELS)
    assert [(r.source, r.line, r.reason) for r in rejects_of(blocks)] == [("data/file", 11, reason)]
    np.testing.assert_array_equal(x_of(blocks, 3), [[1, 0, 0], [2, 1, 1]])
    assert [row for block in blocks for row in block.rows.tolist()] == [0, 2]


@pytest.mark.parametrize(
    ("content", "given_", "message"),
    [
        (b"", LABELS, "the file is empty"),
        (b"1,2,3\n", LABELS, "not an ARFF file"),
        (HEADER, LABELS, "no row follows @data in line 9"),
        (HEADER[:-8], LABELS, "not an ARFF file"),
        (HEADER + b"1,1,red,0,0\n", Given(), "its labels are not known"),
        (HEADER + b"1,1,red,0,0\n", Given(label_names=("other",)), "label 'other' of the XML is no attribute"),
        (HEADER.replace(b"size numeric", b"size string") + b"1,1,red,0,0\n", LABELS, "attribute 'size' is text"),
        (HEADER.replace(b"size", b"gr\xf6sse") + b"1,1,red,0,0\n", LABELS, "line 3 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_such_arff_ends_with_one_line(content: bytes, given_: Given, message: str) -> None:
    with pytest.raises(DataError) as raised:
        blocks_of(arff, content, given_)
    assert message in str(raised.value)
    assert str(raised.value).startswith("data/file: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "names", "found"),
    [
        ("a/bibtex-train.arff", ["bibtex.xml", "other.xml"], "bibtex.xml"),
        ("a/Corel5k-train-sparse.arff", ["Corel5k.xml", "corel5k.xml"], "Corel5k.xml"),
        ("a/set-train.arff", ["set-train.xml", "set.xml"], "set-train.xml"),
        ("a/set.arff.gz", ["set.xml", "other.xml"], "set.xml"),
        ("a/set-train.arff", ["labels.xml", "readme.txt"], "labels.xml"),
        ("a/set-train.arff", ["one.xml", "two.xml"], None),
        ("a/set-train.arff", ["Set.xml", "two.xml"], None),
        ("a/set.arff", [], None),
    ],
)
def test_the_xml_is_found_by_the_stem_or_as_the_only_one(path: str, names: list[str], found: str | None) -> None:
    assert arff.labels_path(path, names) == found


def test_the_xml_lists_the_labels_nested_ones_too() -> None:
    content = b'<labels xmlns="http://m/l"><label name="a"><label name="b &amp; c"/></label><label name="d"/></labels>'
    assert arff.label_names(content, "l.xml") == ("a", "b & c", "d")


@pytest.mark.parametrize(
    "content",
    [b"", b"<labels>", b"<labels/>", b"<labels><label/></labels>", b'<l><label name="a"/><label name="a"/></l>'],
)
def test_an_xml_that_lists_no_labels_ends_with_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^l\.xml: [^\n]*$"):
        arff.label_names(content, "l.xml")
