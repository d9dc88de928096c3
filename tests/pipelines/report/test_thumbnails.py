"""Pictures of digits: what a decoder of PNG gets back."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np

from pipelines.questions.existing_run import ExistingRun
from pipelines.report.shown_split import ShownSplit
from pipelines.report.thumbnails import _grey, png, thumbnails


def decoded(content: bytes) -> np.ndarray:
    """The pixels of a PNG of 8-bit greys whose rows have no filter; every chunk's checksum is looked at."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_a_png_has_the_pixels_that_it_was_made_of() -> None:
    grey = np.arange(15, dtype=np.uint8).reshape(3, 5) * 17
    assert (decoded(png(grey)) == grey).all()


def test_digits_are_dark_on_light(digits_run: Path) -> None:
    run = ExistingRun.open(str(digits_run))
    shown = ShownSplit.of(run)
    assert shown is not None
    found = thumbnails(run, shown, [0, 5])
    assert list(found) == [0, 5]
    x = np.array(shown.examples(6, ["features"]).column("features").to_pylist()[5]).reshape(8, 8)
    grey = decoded(base64.b64decode(found[5].partition(",")[2]))
    assert (grey == np.round(255 * (1 - x / x.max()))).all()


def test_a_constant_beside_the_pixels_does_not_fade_them() -> None:
    x = np.arange(64, dtype=np.float32) / 500
    assert (_grey(np.append(x, np.float32(1))) == _grey(x)).all()


def test_other_data_has_no_pictures(hostile_run: Path) -> None:
    run = ExistingRun.open(str(hostile_run))
    shown = ShownSplit.of(run)
    assert shown is not None
    assert thumbnails(run, shown, [0]) == {}
