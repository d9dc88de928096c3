"""What options take and refuse."""

from __future__ import annotations

import click
import pytest

from pipelines.command_line.option_types import Bytes, Finite, Location


@pytest.mark.parametrize(
    ("text", "size"), [("16GiB", 2**34), ("1.5GiB", 3 * 2**29), ("500MB", 5 * 10**8), ("7", 7), ("2G", 2 * 10**9)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert Bytes().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "GiB", "1..2GiB", "-1", "3TB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Bytes().convert(text, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "1.5", "many"])
def test_numbers_are_finite_and_in_their_range(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Finite(1).convert(text, None, None)
    assert Finite(1).convert("0.5", None, None) == 0.5
    assert Finite().convert("1e6", None, None) == 1e6


@pytest.mark.parametrize("text", ["", "  "])
def test_a_path_is_not_empty(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is empty"):
        Location().convert(text, None, None)
    assert Location().convert(" a b/ü ", None, None) == " a b/ü "
