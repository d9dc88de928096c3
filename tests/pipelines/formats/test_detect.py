from __future__ import annotations

import io

import numpy as np
import pytest

from pipelines.errors import ConfigError, DataError
from pipelines.formats.detect import HEAD_BYTES, detect


def test_binary_formats_by_their_first_bytes() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, X=np.zeros((1, 1)))
    assert detect(buffer.getvalue(), "f") == "npz"
    assert detect(b"PAR1....", "f") == "parquet"


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"% made by\n@RELATION x\n@attribute a numeric\n", "arff"),
        (b"10 20 30\n1,2 3:0.5\n 4:1\n", "svmlight"),
        (b"1 3:0.5\n2 4:1\n", "svmlight"),
        (b"\xef\xbb\xbf1 3:0.5\r\n2 4:1\r\n", "svmlight"),
        (b"0 5 6 7\n1 8\n2\n", "interactions"),
        (b"user,item\n1,2\n", "csv"),
        (b"anna,film,4.5\n", "csv"),
        (b"0,5 1:1 8:2\n1,6 2:1 9:2\n", "svmlight"),
        (b"1 3:0.5\nbroken\n2 4:1\n2 4:1\n", "svmlight"),
    ],
)
def test_text_formats_by_their_lines(head: bytes, format_: str) -> None:
    assert detect(head, "f") == format_


def test_a_line_that_the_head_cuts_is_not_looked_at() -> None:
    line = b"1 3:0.5 " * (HEAD_BYTES // 10)
    assert detect((b"0 5 6\n1 7\n" + b"2" * HEAD_BYTES)[:HEAD_BYTES], "f") == "interactions"
    with pytest.raises(ConfigError):
        detect(line[:100].replace(b":", b"?"), "f")


@pytest.mark.parametrize("head", [b"1,2\n3,4\n", b"5,6,7\n"])
def test_where_two_formats_fit_both_are_named(head: bytes) -> None:
    with pytest.raises(ConfigError, match=r"fit svmlight and csv; say which with data\.format"):
        detect(head, "f")


def test_lists_and_a_table_with_tabs_are_not_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"fit interactions and csv; say which"):
        detect(b"1\t20\t5\n1\t21\t4\n", "f")
    assert detect(b"1\t20\t5\t6\t7\n1\t21\t4\n", "f") == "interactions"


def test_a_table_of_features_is_no_interactions() -> None:
    with pytest.raises(ConfigError, match="give a table of features as npz or Parquet"):
        detect(b"f1,f2,f3,label\n0.11,-2.5,0.3,cat\n1.5,0.25,-1.5,dog\n", "f")


def test_lists_and_bare_labels_are_not_told_apart() -> None:
    with pytest.raises(ConfigError, match="fit svmlight and interactions"):
        detect(b"3 4 5\n", "f")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"order,customer,product,stars,time\n1,ann,tea,5,9\n", "as csv, line 2: 5 fields"),
        ("ann,Kräuter\nbob,Öl\n".encode("latin-1"), "as csv, line 2: not UTF-8"),
        (b"cat 1:0.5\ndog 2:1\n", "as svmlight, line 2: label 'dog' is not an integer"),
        (b"1 qid:3 1:0.5\n", "as svmlight, line 1: feature index 'qid' is not an integer"),
        (b"\x93NUMPY\x01\x00", "it is one array: save it with its labels by numpy.savez"),
    ],
)
def test_where_nothing_fits_it_is_said_what_is_missing(head: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"fit no known format \({words}.*\); say with"):
        detect(head, "f")


@pytest.mark.parametrize("line", [b"ann;green tea;5\n", b"customer;product\nann;salt, fine\nbob;oil, cold\n"])
def test_semicolons_between_the_columns_are_refused(line: bytes) -> None:
    with pytest.raises(DataError, match="f: line 1 is separated by semicolons; write the file with commas or tabs"):
        detect(line, "f")


def test_where_nothing_fits_the_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"fit no known format, and a table .* npz or Parquet; say with data\.format"):
        detect(b"once upon a time\nthere was\n", "f")


def test_lines_that_end_in_carriage_returns_alone_are_not_understood() -> None:
    with pytest.raises(DataError, match="f: its lines end in CR alone; convert them to LF"):
        detect(b"1 3:0.5\r2 4:1\r", "f")


def test_an_empty_file_is_a_data_error() -> None:
    with pytest.raises(DataError, match="the file is empty"):
        detect(b"\n\n", "f")
