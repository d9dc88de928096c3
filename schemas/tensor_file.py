"""Named arrays in one safetensors file, written and read piece by piece: never a second copy in memory.

The format: 8 bytes of header length, little-endian; a JSON header {name: {dtype, shape, data_offsets}}, with what is
said of all of them as strings under "__metadata__"; the arrays' bytes one after the other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from schemas.filesystem import Draft, FileSystem

_PIECE_BYTES = 1 << 24
_MOST_HEADER_BYTES = 1 << 20

_KINDS = {"F32": "<f4", "I32": "<i4"}
"""numpy's names of the numbers by those of safetensors: four bytes each."""

Tensors = Mapping[str, NDArray[Any]]


class TensorFileError(ValueError):
    """The file is not what it should be; the message says in which way."""


def write_tensors(draft: Draft, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> str:
    """Write arrays of float32 or int32, in the order of their names, and strings about them; the sha256 of the file.

    Its bytes depend on these alone. Raises ValueError where the header would be larger than it is read.
    """
    header: dict[str, Mapping[str, object]] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + 4 * tensors[name].size
        header[name] = {
            "dtype": _name_of(tensors[name].dtype),
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MOST_HEADER_BYTES:
        raise ValueError(f"the header would have {len(text):,} bytes, above the {_MOST_HEADER_BYTES:,} it may have")
    digest = hashlib.sha256()
    for piece in (len(text).to_bytes(8, "little"), text):
        digest.update(piece)
        draft.write(piece)
    for name in sorted(tensors):
        kind = _KINDS[_name_of(tensors[name].dtype)]
        flat = np.ascontiguousarray(tensors[name], dtype=kind).reshape(-1)
        for at in range(0, len(flat), _PIECE_BYTES // 4):
            content = flat[at : at + _PIECE_BYTES // 4].tobytes()
            digest.update(content)
            draft.write(content)
    return digest.hexdigest()


def read_tensor_file(fs: FileSystem, path: str, sha256: str) -> dict[str, NDArray[Any]]:
    """Read what `write_tensors` wrote, into arrays of their own.

    Raises
    ------
    FileNotFoundError
    TensorFileError : the file's sha256 is another, or it holds no arrays of float32 or int32 as its header says.
    """
    digest = hashlib.sha256()
    with fs.open(path) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
        if digest.hexdigest() != sha256:
            raise TensorFileError("sha256 differs")
        file.seek(0)
        header = _read_header(file)
        found = {name: _read_array(file, shape, kind) for name, (shape, kind) in header.items()}
        if file.read(1):
            raise TensorFileError("it is longer than its header says")
    return found


def _name_of(kind: np.dtype[Any]) -> str:
    """What safetensors calls the four bytes of a number."""
    return "I32" if kind.kind == "i" else "F32"


def _read_header(file: BinaryIO) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and numpy's name of the numbers by name, in the order of the bytes."""
    length = file.read(8)
    size = int.from_bytes(length, "little")
    if len(length) < 8 or size > _MOST_HEADER_BYTES:
        raise TensorFileError("it does not begin with a header")
    text = file.read(size)
    try:
        raw = json.loads(text)
        raw.pop("__metadata__", None)
        ordered = sorted(raw.items(), key=lambda item: item[1]["data_offsets"])
        shapes = {name: tuple(int(size) for size in entry["shape"]) for name, entry in ordered}
        end = 0
        for name, entry in ordered:
            start, end = end, end + 4 * math.prod(shapes[name])
            if (
                entry["dtype"] not in _KINDS
                or entry["data_offsets"] != [start, end]
                or min(shapes[name], default=0) < 0
            ):
                raise TensorFileError(f"{name} is not an array of float32 or int32 behind the one before it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TensorFileError(str(error) or "the header is no JSON of tensors") from error
    return {name: (shapes[name], _KINDS[entry["dtype"]]) for name, entry in ordered}


def _read_array(file: BinaryIO, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    array = np.empty(shape, dtype=kind)
    flat = array.reshape(-1).view(np.uint8)
    at = 0
    while at < len(flat):
        content = file.read(min(_PIECE_BYTES, len(flat) - at))
        if not content:
            raise TensorFileError("it ends too early")
        flat[at : at + len(content)] = np.frombuffer(content, dtype=np.uint8)
        at += len(content)
    return array
