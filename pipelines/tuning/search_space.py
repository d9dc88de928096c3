"""What `awe tune` searches: the values that a key of the configuration may take, by section and key.

A configuration's own `[tune.wsabie]` and `[tune.awe]` are laid over this, key by key:

    [tune.wsabie.train]
    D = [64, 128]                                            # one of these
    learning_rate = { low = 0.01, high = 0.1, log = true }   # anything between, in equal factors
    margin = []                                              # not searched: as the configuration has it
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Value = bool | int | float | str


class Range(BaseModel):
    """Numbers from low to high, whole ones where both ends are; with `log` in equal factors, else in equal steps."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    low: int | float = Field(allow_inf_nan=False)
    high: int | float = Field(allow_inf_nan=False)
    log: bool = False

    @model_validator(mode="after")
    def _ascends(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("a range needs low < high, and low > 0 where log = true")
        return self


def _kind(values: object) -> str:
    return "list" if isinstance(values, list) else "range"


Values = Annotated[Annotated[list[Value], Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_kind)]
Space = dict[str, dict[str, Values]]

WSABIE: Space = {
    "train": {
        "D": [32, 64, 128, 256, 512],
        "learning_rate": Range(low=0.01, high=0.3, log=True),
        "margin": Range(low=0.25, high=8.0, log=True),
        "C": [math.inf, 1.0, 2.0, 4.0],
        "batch": [128, 256, 512],
    }
}
"""Iteration 0. Epochs are not among it: every training stops where its validation does."""

AWE: Space = {
    "train": {"warm_rate": Range(low=1 / 64, high=4.0, log=True)},
    "affinity": {
        "n": Range(low=5, high=200, log=True),
        "lambda_x": Range(low=0.5, high=12.0),
        "mode": ["sum", "max"],
        "offset": [0.0, 1.0, 4.0, 16.0],
        "bias": [0.0, 0.01, 0.1],
    },
}
"""The iterations after it, which begin with one of the best models of iteration 0."""

SEARCHED = tuple(sorted({*WSABIE, *AWE}))
"""Sections that may be searched: other keys decide what the examples are, or what is measured."""


def flat(space: Space, own: Mapping[str, Mapping[str, Values]]) -> dict[str, Values]:
    """The space by `section.key`, with one's own values laid over it; keys without any value are left out."""
    laid = {**dict(_named(space)), **dict(_named(own))}
    return {name: values for name, values in laid.items() if values != []}


def _named(space: Mapping[str, Mapping[str, Values]]) -> Iterator[tuple[str, Values]]:
    for section, keys in space.items():
        for key, values in keys.items():
            yield f"{section}.{key}", values


def ends(values: Values) -> list[Value]:
    """The values that a check has to look at: all of a list, both ends of a range."""
    return [values.low, values.high] if isinstance(values, Range) else values


def holds(values: Values, value: object) -> bool:
    """Whether a value is among those searched."""
    if not isinstance(values, Range):
        return value in values
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and values.low <= value <= values.high  # type: ignore[operator]
