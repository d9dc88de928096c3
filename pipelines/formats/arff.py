"""Mulan's ARFF, dense and sparse: the XML names the label attributes, all other attributes are x.

liac-arff parses the header with its quoting. Its generators end at the first bad row, and it turns some bad values into
strings unseen, so rows are parsed here and refused one at a time.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree import ElementTree

import arff
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.formats.rows import (
    Given,
    RawBlock,
    Refused,
    Survey,
    block_rows,
    flattened,
    screened,
    sorted_features,
    sparse_rows,
)
from pipelines.formats.text import feature_index, number, numbered_lines, refuse_lone_cr, shown

_SUFFIX = re.compile(r"[-_](train|test|validation|valid|sparse)$", re.IGNORECASE)
# A value in quotes, in which a backslash escapes, or a run of anything that is no separator.
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\s'"]+""")
_SPARSE_PAIR = re.compile(rf"\s*([0-9]+)\s+({_TOKEN.pattern})\s*(?:,|$)")
_MEANT = {"false": 0.0, "no": 0.0, "true": 1.0, "yes": 1.0}
_ESCAPED = re.compile(r"\\(.)")


Numbers = dict[int, dict[str, float]]
"""Nominal attribute → {value: number}."""


@dataclass(frozen=True)
class Header:
    """The attributes of a file, split into x and labels.

    Attributes
    ----------
    line : line of @data.
    column : attribute → column of x, or -1 for a label; int64 [attributes].
    label : attribute → position in the label list, or -1 for x; int64 [attributes].
    names : of the attributes.
    declared : attribute → its values in their order, for nominal attributes only.
    """

    line: int
    column: NDArray[np.int64]
    label: NDArray[np.int64]
    names: tuple[str, ...]
    declared: dict[int, tuple[str, ...]]

    @property
    def d(self) -> int:
        return int((self.column >= 0).sum())

    def numbers(self, sparse: bool, path: str) -> Numbers:
        """Nominal attribute → {value: number}. Of x the numbers that the values are, else their places; of labels what
        their words mean.

        A sparse row leaves the first value out, so numbers count as such only where the first of them is 0.

        Raises DataError for a label whose absence would be said aloud, and presence left out.
        """
        found = {}
        for attribute, words in self.declared.items():
            if self.label[attribute] < 0:
                spelt = [_spelt(word) for word in words]
                by_value = None not in spelt and (spelt[0] == 0 or not sparse)
            else:
                spelt = [_MEANT.get(word.lower(), _spelt(word)) for word in words]
                by_value = None not in spelt
                if sparse and by_value and spelt[0] == 1:
                    raise DataError(
                        f"{path}: label {self.names[attribute]!r} is declared {{{','.join(words)}}}, and sparse rows "
                        "leave the first value out: declare 0 first"
                    )
            found[attribute] = {
                word: float(value if by_value and value is not None else place)
                for place, (word, value) in enumerate(zip(words, spelt, strict=True))
            }
        return found


def labels_path(path: str, names: Sequence[str]) -> str | None:
    """Name of the XML that belongs to an ARFF file, among the names in its folder.

    The one of the same stem, without `-train`, `-test` and `-sparse`; else the folder's only XML; else None.
    """
    listed = [name for name in names if name.endswith(".xml")]
    stem = posixpath.basename(path.replace("\\", "/")).removesuffix(".gz").removesuffix(".arff")
    while True:
        if f"{stem}.xml" in listed:
            return f"{stem}.xml"
        shorter = _SUFFIX.sub("", stem)
        if shorter == stem:
            return listed[0] if len(listed) == 1 else None
        stem = shorter


def label_names(content: bytes, path: str) -> tuple[str, ...]:
    """The labels of a Mulan XML in its order, nested ones after their parent.

    Raises
    ------
    DataError
        Not XML, no label in it, a label without a name or named twice.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not an XML file ({error}); give Mulan's label file") from None
    names = [element.get("name") or "" for element in root.iter() if element.tag.rpartition("}")[2] == "label"]
    if not names or not all(names):
        raise DataError(f"{path}: it names no labels, or one without a name; give Mulan's <label name=…> file")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{path}: label {twice!r} is named twice; remove one")
    return tuple(names)


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """Header and number of rows. x is sparse if the first row is.

    Raises
    ------
    DataError
        Not an ARFF file, no label list given, a label that is no attribute, x that is no number, no row.
    """
    lines = numbered_lines(file, path)
    header = _header(lines, path, given)
    rows, sparse = 0, False
    for _, line in _data(lines):
        sparse = sparse or (rows == 0 and line.startswith(b"{"))
        rows += 1
    if not rows:
        raise DataError(f"{path}: no row follows @data in line {header.line}; is the file cut short?")
    met = np.arange(len(given.label_names or ()), dtype=np.int64)
    nominal = {header.names[attribute]: numbers for attribute, numbers in header.numbers(sparse, path).items()}
    columns = tuple(name for name, label in zip(header.names, header.label, strict=True) if label < 0)
    return Survey(path, rows, sparse, header.d, given.label_names, met, columns=columns, nominal=nominal)


def read(file: BinaryIO, path: str, given: Given, survey: Survey) -> Iterator[RawBlock]:
    """The rows of the file in blocks; labels are positions in the given list."""
    lines = numbered_lines(file, path)
    header = _header(lines, path, given)
    numbers = header.numbers(survey.sparse, path)
    start, rows = 0, list[tuple[int, bytes]]()
    limit = block_rows(len(header.column))
    for item in _data(lines):
        rows.append(item)
        if len(rows) == limit:
            yield _block(rows, start, path, header, numbers, survey.sparse)
            start, rows = start + len(rows), []
    if rows:
        yield _block(rows, start, path, header, numbers, survey.sparse)


def _data(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    return ((number, line.strip()) for number, line in lines if not line.lstrip().startswith(b"%"))


def _header(lines: Iterator[tuple[int, bytes]], path: str, given: Given) -> Header:
    names = given.label_names
    if names is None:
        raise DataError(f"{path}: its labels are not known; put Mulan's XML beside it, named as the file is")
    header, line = [], 0
    for line, content in lines:
        try:
            text = content.strip().decode()
        except UnicodeDecodeError:
            raise DataError(f"{path}: line {line} is not UTF-8; convert the file to it") from None
        # liac-arff splits at a space only.
        header.append(re.sub(r"^(@\w+)\s+", r"\1 ", text))
        if text[:5].lower() == "@data":
            break
    try:
        attributes = arff.loads("\n".join(header), return_type=arff.LOD_GEN)["attributes"]
    except (arff.ArffException, ValueError) as error:
        raise DataError(f"{path}: not an ARFF file ({error}); data.format says how it is read") from None
    return _columns(attributes, names, line, path)


def _columns(attributes: Sequence[tuple[str, str | list[str]]], names: Sequence[str], line: int, path: str) -> Header:
    position = {name: i for i, name in enumerate(names)}
    missing = position.keys() - {name for name, _ in attributes}
    if missing:
        raise DataError(f"{path}: label {min(missing)!r} of the XML is no attribute of the file; is it the file's XML?")
    label = np.array([position.get(name, -1) for name, _ in attributes], dtype=np.int64)
    column = np.where(label < 0, np.cumsum(label < 0) - 1, -1)
    declared: dict[int, tuple[str, ...]] = {}
    for attribute, (name, kind) in enumerate(attributes):
        if isinstance(kind, list):
            declared[attribute] = tuple(map(str, kind))
        elif kind == "STRING":
            raise DataError(f"{path}: attribute {name!r} is text; x must be numbers: remove it or encode it")
    return Header(line, column, label, tuple(name for name, _ in attributes), declared)


def _spelt(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _block(
    rows: list[tuple[int, bytes]], start: int, path: str, header: Header, numbers: Numbers, sparse: bool
) -> RawBlock:
    reasons: dict[int, str] = {}
    features, labels = [], []
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    for position, (_, line) in enumerate(rows):
        try:
            row = _parse(line, header, numbers)
        except Refused as refusal:
            reasons[position] = str(refusal)
            row = ([], *nothing)
        labels.append(row[0])
        features.append(row[1:])
    values, indptr = flattened(labels, strings=False)
    x = sparse_rows(features, header.d)
    block = RawBlock(
        source=path,
        rows=np.arange(start, start + len(rows), dtype=np.int64),
        lines=np.array([line for line, _ in rows], dtype=np.int64),
        features=x if sparse else x.toarray(),
        labels=values,
        indptr=indptr,
    )
    return screened(block, reasons, lambda position: rows[position][1])


def _parse(line: bytes, header: Header, numbers: Numbers) -> tuple[list[int], NDArray[np.int32], NDArray[np.float32]]:
    """Labels, indices and values of one row, sparse `{0 1, 7 0.5}` or dense `1,0,0.5`."""
    refuse_lone_cr(line)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None
    if text.startswith("{"):
        attributes, words = _sparse_words(text, len(header.column))
    else:
        words = _words(text)
        if len(words) != len(header.column):
            raise Refused(f"{len(words)} values (the header has {len(header.column)} attributes)")
        attributes = np.arange(len(words), dtype=np.int64)
    values = _values(attributes, words, numbers)
    is_label = header.label[attributes] >= 0
    strange = np.flatnonzero(is_label & (values != 0) & (values != 1))
    if len(strange):
        raise Refused(f"label attribute {attributes[strange[0]]} is {words[strange[0]]} (must be 0 or 1)")
    labels = np.sort(header.label[attributes[is_label & (values == 1)]]).tolist()
    kept = ~is_label & (values != 0)
    return (labels, *sorted_features(header.column[attributes[kept]], values[kept], header.d))


def _words(text: str) -> list[str]:
    if "'" not in text and '"' not in text:
        return [word.strip() for word in text.split(",")]
    tokens = _TOKEN.findall(text)
    if _TOKEN.sub("", text).replace(",", "").strip() or text.count(",") < len(tokens) - 1:
        raise Refused("quotes that do not match")
    return [_unquoted(token) for token in tokens]


def _unquoted(token: str) -> str:
    return _ESCAPED.sub(r"\1", token[1:-1]) if token[:1] in "'\"" else token


def _sparse_words(text: str, attributes: int) -> tuple[NDArray[np.int64], list[str]]:
    if not text.endswith("}"):
        raise Refused("no closing brace")
    inner = text[1:-1].strip().removesuffix(",")
    if "'" in inner or '"' in inner:
        pairs = [[index, word] for index, word in _SPARSE_PAIR.findall(inner)]
        if _SPARSE_PAIR.sub("", inner).strip():
            raise Refused("quotes that do not match")
    else:
        pairs = [pair.split(None, 1) for pair in inner.split(",")] if inner else []
    for pair in pairs:
        if len(pair) != 2:
            raise Refused(f"{shown(' '.join(pair).encode())} is not 'attribute value'")
    indices = np.array([feature_index(index.encode()) for index, _ in pairs], dtype=np.int64)
    if len(indices) and (indices.min() < 0 or indices.max() >= attributes):
        strange = indices.max() if indices.min() >= 0 else indices.min()
        raise Refused(f"attribute {strange} (the header has {attributes})")
    if len(np.unique(indices)) != len(indices):
        raise Refused("an attribute is given twice")
    return indices, [_unquoted(word.strip()) for _, word in pairs]


def _values(attributes: NDArray[np.int64], words: Sequence[str], numbers: Numbers) -> NDArray[np.float64]:
    values = np.empty(len(words), dtype=np.float64)
    for i, (attribute, word) in enumerate(zip(attributes.tolist(), words, strict=True)):
        declared = numbers.get(attribute)
        if declared is not None and word not in declared:
            raise Refused(f"attribute {attribute} is {shown(word.encode())}, which the header does not declare")
        if declared is not None:
            values[i] = declared[word]
        elif "_" in word or word in ("?", ""):
            raise Refused(f"attribute {attribute} is missing or no number ({word or 'nothing'})")
        else:
            values[i] = number(word, f"attribute {attribute}")
    return values
