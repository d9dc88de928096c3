"""What the values of options may be, beyond click's own types: sizes with a unit, finite numbers, paths."""

from __future__ import annotations

import math
import re
from typing import Any

import click

_SCALES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Bytes(click.ParamType):
    """16GiB, 500MiB, 4000000000."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes. Fails where the text is no size."""
        found = re.fullmatch(r"([\d.]+) ?(k|M|G|KiB|MiB|GiB|)B?", str(value))
        try:
            size = int(float(found[1]) * _SCALES[found[2]]) if found else 0
        except ValueError:
            size = 0
        if size <= 0:
            self.fail(f"{value!r} is no size; write 16GiB, say", param, ctx)
        return size


class Finite(click.FloatRange):
    """A number above 0, at most `most`: neither nan, which compares with nothing, nor inf."""

    def __init__(self, most: float | None = None) -> None:
        super().__init__(0, most, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails where it is not finite or not in the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not finite", param, ctx)
        return number


class Location(click.ParamType):
    """A path or a URI: any text but none at all, which would mean the folder that one happens to stand in."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path as it is. Fails where it is empty."""
        if not str(value).strip():
            self.fail("is empty; give a path", param, ctx)
        return str(value)
