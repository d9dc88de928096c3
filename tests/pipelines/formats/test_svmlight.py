from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.formats import svmlight
from tests.pipelines.formats.reading import blocks_of, labels_of, rejects_of, survey_of, x_of

ROWS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 40), max_size=5),
        st.dictionaries(st.integers(0, 60), st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8),
    ),
    min_size=1,
    max_size=30,
)


@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_what_was_written_is_read_back(
    rows: list[tuple[set[int], dict[int, float]]], header: bool, end: str, mark: str
) -> None:
    lines = [",".join(map(str, labels)) + " " + " ".join(f"{i}:{v!r}" for i, v in x.items()) for labels, x in rows]
    kept = [(row, line) for row, line in zip(rows, lines, strict=True) if line.strip()]
    if not kept:
        return
    first = [f"{len(kept)} 61 41"] if header else []
    content = (mark + end.join([*first, *lines]) + end).encode()
    blocks = blocks_of(svmlight, content)
    expected = np.zeros((len(kept), 61), np.float32)
    for i, ((_, x), _) in enumerate(kept):
        expected[i, list(x)] = list(x.values())
    np.testing.assert_array_equal(x_of(blocks, 61), expected)
    assert labels_of(blocks) == [sorted(labels) for (labels, _), _ in kept]
    survey = survey_of(svmlight, content)
    assert survey.rows == len(kept)
    assert survey.d == (61 if header else max((max(x) + 1 for (_, x), _ in kept if x), default=0))


def test_a_row_of_extreme_classification_without_labels_starts_with_a_space() -> None:
    blocks = blocks_of(svmlight, b"2 4 3\n 0:1 3:2\n1,2 1:0.5\n")
    assert labels_of(blocks) == [[], [1, 2]]


def test_indices_are_taken_as_they_are_and_comments_are_dropped() -> None:
    blocks = blocks_of(svmlight, b"# made by hand\n3 4:2 1:1 # first\n")
    np.testing.assert_array_equal(x_of(blocks, 5), [[0, 1, 0, 0, 2]])
    assert blocks[0].lines.tolist() == [2]


def test_a_zero_that_is_written_is_kept() -> None:
    (block,) = blocks_of(svmlight, b"1 2:0 3:1\n")
    assert block.features.nnz == 2


def test_the_header_names_all_labels() -> None:
    assert survey_of(svmlight, b"1 4 3\n1 0:1\n").label_names == ("0", "1", "2")
    assert survey_of(svmlight, b"1 0:1\n").label_names is None


def test_many_rows_come_in_blocks() -> None:
    blocks = blocks_of(svmlight, b"1 0:1\n" * 5000)
    assert [len(block) for block in blocks] == [2048, 2048, 904]
    assert blocks[1].rows[0] == 2048
    assert blocks[1].lines[0] == 2049


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"-1 0:1", "label -1 is negative"),
        (b"1,x 0:1", "label 'x' is not an integer"),
        (b"1.5 0:1", "label '1.5' is not an integer"),
        (b"1, 0:1", "label '' is not an integer"),
        (b"99999999999999999999 0:1", "label 99999999999999999999 is too large"),
        (b"7 0:1", "label 7 is unknown (the header says 5 labels)"),
        (b"1 0:1 0:2", "feature 0 is given twice"),
        (b"1 -3:1", "feature index -3 is negative"),
        (b"1 9:1", "feature index 9 is too large (must be below 9)"),
        (b"1 99999999999:1", "feature index '99999999999' is too large (must be below 2147483647)"),
        (b"1 a:1", "feature index 'a' is not an integer"),
        (b"1 0:one", "feature 'one' is not a number"),
        (b"1 0:", "feature '' is not a number"),
        (b"1 0:1:2", "'0:1:2' is not index:value"),
        (b"1 0:1 5", "'5' is not index:value"),
        (b"1 0:1_0", "'_' in a number"),
        (b"1 0:nan", "feature 0 is nan (must be finite in float32)"),
        (b"1 0:-inf", "feature 0 is -inf (must be finite in float32)"),
        (b"1 0:1e99", "feature 0 is inf (must be finite in float32)"),
        (b"\xff\xfe 0:1", r"label '\\xff\\xfe' is not an integer"),
        (b"0x1 0:1", "label '0x1' is not an integer"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_the_others_stay(line: bytes, reason: str) -> None:
    blocks = blocks_of(svmlight, b"3 9 5\n1 0:1\n" + line + b"\n2 8:1\n")
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(3, reason)]
    assert labels_of(blocks) == [[1], [2]]


def test_the_raw_text_of_a_reject_is_cut_and_printable() -> None:
    (rejected,) = rejects_of(blocks_of(svmlight, b"1 0:1\n1 \x00\xe9" + b"x" * 1000))
    assert len(rejected.raw) == 200
    assert rejected.raw.isprintable()


def test_another_number_of_rows_than_the_header_says_is_a_file_cut_short() -> None:
    with pytest.raises(DataError, match="the header says 3 rows but the file has 2; is it cut short"):
        survey_of(svmlight, b"3 9 5\n1 0:1\n1 0:1\n")


def test_one_strange_index_does_not_make_x_huge() -> None:
    content = b"1 0:1\n1 134217728:1\n1 3:1\n"
    (rejected,) = rejects_of(blocks_of(svmlight, content))
    assert (rejected.line, rejected.reason) == (2, "feature index 134217728 is too large (must be below 134217728)")
    assert survey_of(svmlight, content).d == 4
    assert survey_of(svmlight, b"1 134217727:1\n").d == 2**27
    assert survey_of(svmlight, b"1 134217729 2\n1 134217728:1\n").d == 2**27 + 1


@pytest.mark.parametrize("header", [b"1 99999999999 2", b"1 5 2000000000", b"1 0 2", b"1 5 0"])
def test_a_header_that_cannot_be_ends_with_one_line(header: bytes) -> None:
    with pytest.raises(DataError, match=r"^data/file: the header says \d+ (features|labels); [^\n]*$"):
        survey_of(svmlight, header + b"\n1 0:1\n")


def test_a_carriage_return_inside_a_line_joins_no_two_rows() -> None:
    blocks = blocks_of(svmlight, b"1 0:1\n1 0:1\r 1:2\n1 0:1\r\n")
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(2, "a carriage return inside the line")]


def test_lines_that_end_in_carriage_returns_alone_are_not_understood() -> None:
    with pytest.raises(DataError, match=r"^data/file: its lines end in CR alone; convert them to LF$"):
        survey_of(svmlight, b"1 0:1\r1 0:2\r1 1:1\r")


@pytest.mark.parametrize("content", [b"", b"\n \r\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_ends_with_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^data/file: the file is empty; [^\n]*$"):
        survey_of(svmlight, content)
