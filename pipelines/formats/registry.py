"""The reader of each format that `data.format` may name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from pipelines.formats import arff, digits, interactions, npz, pairs, parquet, svmlight
from pipelines.formats.rows import Given, InteractionBlock, RawBlock, Survey


class Reader(NamedTuple):
    """The two functions of a format's module, and the version of what they make of a file."""

    survey: Callable[[BinaryIO, str, Given], Survey]
    read: Callable[[BinaryIO, str, Given, Any], Iterator[RawBlock] | Iterator[InteractionBlock]]
    version: int = 1


READERS: dict[str, Reader] = {
    "npz": Reader(npz.survey, npz.read),
    "arff": Reader(arff.survey, arff.read, version=2),
    "svmlight": Reader(svmlight.survey, svmlight.read),
    "interactions": Reader(interactions.survey, interactions.read),
    "csv": Reader(pairs.survey, pairs.read, version=2),
    "parquet": Reader(parquet.survey, parquet.read),
    "digits": Reader(digits.survey, digits.read),
}
FORMATS = tuple(name for name in READERS if name != "digits")
"""Of files: the embedded digits are none."""

INTERACTIONS = frozenset({"interactions", "csv"})
"""Formats whose blocks are users and items, not examples with features."""
