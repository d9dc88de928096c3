"""Named vectors as other programs read them: word2vec's text, TensorBoard's projector, Parquet, a FAISS index.

Names may hold anything. Each format says how a name is written that it has no room for; all ways can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas import convert, tables
from schemas.filesystem import FileSystem, written

Format = Literal["word2vec", "tsv", "parquet", "faiss"]


@dataclass(frozen=True)
class VectorPiece:
    """A run of named vectors.

    Attributes
    ----------
    ids : int64 [rows].
    names : as many strings, distinct over all pieces.
    vectors : float32 [rows, D].
    """

    ids: NDArray[np.int64]
    names: list[str]
    vectors: NDArray[np.float32]


Pieces = Iterator[VectorPiece]


@dataclass(frozen=True)
class Vectors:
    """All that is exported: `rows` vectors of `dimension` coordinates, in pieces that are read once.

    `nearest_by` is what makes two of them near: the inner product, or the distance.
    """

    rows: int
    dimension: int
    nearest_by: Literal["inner product", "distance"]
    pieces: Pieces


def word(name: str) -> str:
    """A name as one word of word2vec's text, whose readers split at spaces and know no quotes.

    White space, what cannot be printed and "%" are written as in a URL, and no name at all as "%": `unquote` gives the
    others back.
    """
    spelt = (quote(c, safe="") if c == "%" or c.isspace() or not c.isprintable() else c for c in name)
    return "".join(spelt) or "%"


def cell(name: str) -> str:
    """A name as one cell of a TSV without quotes, or on one line of a terminal: a backslash before what it has no room
    for, as in Python's and C's strings."""
    spelt = (c if (c.isprintable() and c != "\\") else c.encode("unicode_escape").decode() for c in name)
    return "".join(spelt)


def write_word2vec(fs: FileSystem, stem: str, vectors: Vectors) -> list[str]:
    """`STEM.vec`: a line "rows D", then a line for every name: the word and its coordinates."""
    path = f"{stem}.vec"
    with written(fs, path) as file:
        file.write(f"{vectors.rows} {vectors.dimension}\n".encode())
        for piece in vectors.pieces:
            lines = (f"{word(name)} {' '.join(row)}\n" for name, row in zip(piece.names, _text(piece), strict=True))
            file.write("".join(lines).encode())
    return [path]


def write_tsv(fs: FileSystem, stem: str, vectors: Vectors) -> list[str]:
    """`STEM-vectors.tsv` and, with a line of headings, `STEM-metadata.tsv` (id, name), as the projector wants them."""
    paths = [f"{stem}-vectors.tsv", f"{stem}-metadata.tsv"]
    with written(fs, paths[0]) as coordinates, written(fs, paths[1]) as metadata:
        metadata.write(_HEADINGS)
        for piece in vectors.pieces:
            coordinates.write("".join("\t".join(row) + "\n" for row in _text(piece)).encode())
            metadata.write(_metadata(piece))
    return paths


_HEADINGS = b"id\tname\n"


def _metadata(piece: VectorPiece) -> bytes:
    named = zip(piece.ids.tolist(), piece.names, strict=True)
    return "".join(f"{number}\t{cell(name)}\n" for number, name in named).encode()


def _text(piece: VectorPiece) -> list[list[str]]:
    """Coordinates in the fewest digits that give the same float32 back."""
    found: list[list[str]] = piece.vectors.astype(str).tolist()
    return found


def write_parquet(fs: FileSystem, stem: str, vectors: Vectors) -> list[str]:
    """`STEM.parquet`: id, name, vector (a list of D float32)."""
    path = f"{stem}.parquet"
    fields = [("id", pa.int64()), ("name", pa.string()), ("vector", tables.vector(vectors.dimension))]
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
    with written(fs, path) as file, pq.ParquetWriter(file, schema) as writer:
        for piece in vectors.pieces:
            columns = [pa.array(piece.ids), pa.array(piece.names, pa.string()), convert.vector_array(piece.vectors)]
            writer.write_table(pa.table(columns, schema=schema))
    return [path]


def write_faiss(fs: FileSystem, stem: str, vectors: Vectors) -> list[str]:
    """`STEM.faiss`, a flat index that answers with ids, and `STEM-metadata.tsv` with their names.

    Raises ImportError where faiss is not installed.
    """
    import faiss

    flat = faiss.IndexFlatIP if vectors.nearest_by == "inner product" else faiss.IndexFlatL2
    index = faiss.IndexIDMap2(flat(vectors.dimension))
    path, names = f"{stem}.faiss", f"{stem}-metadata.tsv"
    with written(fs, names) as metadata:
        metadata.write(_HEADINGS)
        for piece in vectors.pieces:
            index.add_with_ids(piece.vectors, piece.ids)
            metadata.write(_metadata(piece))
    with written(fs, path) as file:
        file.write(faiss.serialize_index(index).tobytes())
    return [path, names]


WRITERS: dict[Format, Callable[[FileSystem, str, Vectors], list[str]]] = {
    "word2vec": write_word2vec,
    "tsv": write_tsv,
    "parquet": write_parquet,
    "faiss": write_faiss,
}
