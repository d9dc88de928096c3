"""A user's compressed files while they are read: one that is cut short is an error, and no shorter file.

Decompressors do not say that they were given less than all; they are asked whether they have reached the end.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

_PIECE = 1 << 18
"""Compressed bytes that are read at once."""

_GZIP = 16 + zlib.MAX_WBITS


class _Stream(Protocol):
    """What decompresses one of the streams that a file consists of, one after the other."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: Any, /) -> bytes: ...


class _Zstandard:
    """Zstandard's stream, which has errors of a kind of its own."""

    def __init__(self) -> None:
        import zstandard  # Beam's; few files ask for it

        self._stream, self._error = zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data)

    def decompress(self, data: bytes, /) -> bytes:
        try:
            return self._stream.decompress(data)
        except self._error as error:
            raise OSError(str(error)) from error


_BEGIN: dict[str, Callable[[], _Stream]] = {
    ".gz": lambda: zlib.decompressobj(_GZIP),
    ".deflate": zlib.decompressobj,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".lzma": lzma.LZMADecompressor,
    ".zst": _Zstandard,
    ".zstd": _Zstandard,
}


def is_compressed(path: str) -> bool:
    """Whether a file is compressed, by its name."""
    return path.lower().endswith(tuple(_BEGIN))


def decompressed(file: BinaryIO, path: str) -> BinaryIO:
    """A file as its content: itself, or decompressed where its name says that it is compressed.

    Reading raises OSError where it is not what its name says, and EOFError where it ends before its content does.
    """
    begin = next((begin for suffix, begin in _BEGIN.items() if path.lower().endswith(suffix)), None)
    return file if begin is None else io.BufferedReader(_Decompressed(file, begin), _PIECE)


class _Decompressed(io.RawIOBase):
    def __init__(self, file: BinaryIO, begin: Callable[[], _Stream]) -> None:
        self._file, self._begin, self._stream = file, begin, begin()
        self._compressed, self._ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            piece, self._compressed = self._compressed or self._file.read(_PIECE), b""
            if not piece and not self._stream.eof:
                raise EOFError("it ends before its content does")
            if not piece:
                return 0
            if self._stream.eof:  # another stream follows, or what some tools fill the last block up with
                piece = piece.lstrip(b"\0")
                self._stream = self._begin() if piece else self._stream
            if piece:
                self._ready = memoryview(self._decompress(piece))
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _decompress(self, piece: bytes) -> bytes:
        try:
            content = self._stream.decompress(piece)
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise OSError(f"it is damaged, or not compressed as its name says: {error}") from error
        if self._stream.eof:
            self._compressed = self._stream.unused_data
        return content

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
