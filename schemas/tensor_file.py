"""Named arrays in one safetensors file, written and read piece by piece: never a second copy in memory.

The format: 8 bytes of header length, little-endian; a JSON header {name: {dtype, shape, data_offsets}}; the arrays'
bytes one after the other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from schemas.filesystem import Draft, FileSystem

_PIECE_BYTES = 1 << 24
_MOST_HEADER_BYTES = 1 << 20

Tensors = Mapping[str, NDArray[np.float32]]


class TensorFileError(ValueError):
    """The file is not what it should be; the message says in which way."""


def write_tensors(draft: Draft, tensors: Tensors) -> str:
    """Write float32 arrays, in the order of their names; the sha256 of the file, whose bytes depend on them alone."""
    header: dict[str, dict[str, object]] = {}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + 4 * tensors[name].size
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    for piece in (len(text).to_bytes(8, "little"), text):
        digest.update(piece)
        draft.write(piece)
    for name in sorted(tensors):
        flat = np.ascontiguousarray(tensors[name], dtype="<f4").reshape(-1)
        for at in range(0, len(flat), _PIECE_BYTES // 4):
            content = flat[at : at + _PIECE_BYTES // 4].tobytes()
            digest.update(content)
            draft.write(content)
    return digest.hexdigest()


def read_tensor_file(fs: FileSystem, path: str, sha256: str) -> dict[str, NDArray[np.float32]]:
    """Read what `write_tensors` wrote, into arrays of their own.

    Raises
    ------
    FileNotFoundError
    TensorFileError : the file's sha256 is another, or it holds no float32 arrays as its header says.
    """
    digest = hashlib.sha256()
    with fs.open(path) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
        if digest.hexdigest() != sha256:
            raise TensorFileError("sha256 differs")
        file.seek(0)
        shapes = _read_header(file)
        found = {name: _read_array(file, shape) for name, shape in shapes.items()}
        if file.read(1):
            raise TensorFileError("it is longer than its header says")
    return found


def _read_header(file: BinaryIO) -> dict[str, tuple[int, ...]]:
    """Shape by name, in the order of the bytes."""
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
            if entry["dtype"] != "F32" or entry["data_offsets"] != [start, end] or min(shapes[name], default=0) < 0:
                raise TensorFileError(f"{name} is not an array of float32 behind the one before it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TensorFileError(str(error) or "the header is no JSON of tensors") from error
    return shapes


def _read_array(file: BinaryIO, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.empty(shape, dtype="<f4")
    flat = array.reshape(-1).view(np.uint8)
    at = 0
    while at < len(flat):
        content = file.read(min(_PIECE_BYTES, len(flat) - at))
        if not content:
            raise TensorFileError("it ends too early")
        flat[at : at + len(content)] = np.frombuffer(content, dtype=np.uint8)
        at += len(content)
    return array
