"""Small pictures of examples whose x is an image: of scikit-learn's digits, 8 × 8 grey values.

No other format keeps pixels: what is ingested are features.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.questions.existing_run import ExistingRun
from pipelines.report.shown_split import ShownSplit
from schemas import convert

_SIDE = 8


def thumbnails(run: ExistingRun, shown: ShownSplit, rows: Sequence[int]) -> dict[int, str]:
    """Pictures of some of the split's first rows as data URIs, by row; none where x is no image."""
    if run.config.data.format != "digits" or run.config.data.scale == "standard" or run.config.data.landmarks:
        return {}
    facts = run.context.examples(shown.name).facts
    table = shown.examples(max(rows) + 1, ["features"])
    features = convert.dense(table, "features", int(facts["dimension"]), run.context.run.examples(shown.name))
    return {row: data_uri(_grey(features[row])) for row in rows}


def _grey(features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Ink is dark: uint8 [8, 8] of a row that was scaled by a number."""
    pixels = features[: _SIDE * _SIDE]  # an intercept may follow
    ink = pixels.reshape(_SIDE, _SIDE) / max(float(pixels.max()), 1e-12)
    return np.round(255 * (1 - np.clip(ink, 0, 1))).astype(np.uint8)


def data_uri(grey: NDArray[np.uint8]) -> str:
    """A PNG, uint8 [height, width], as what stands in `src`."""
    return f"data:image/png;base64,{base64.b64encode(png(grey)).decode()}"


def png(grey: NDArray[np.uint8]) -> bytes:
    """An image in 8-bit greys as a PNG file (ISO 15948): signature, header, pixels behind a filter byte a row, end."""
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
