"""Our trainer as the benchmarks drive it: settings, the clock, and the line that a measured program prints."""

from __future__ import annotations

import json
import math
import time
from dataclasses import fields, replace
from typing import Any

import click
import numpy as np
import scipy.sparse as sp

from awe_core.arranged import ArrangedBlocks
from awe_core.examples import Block, BlockSource
from awe_core.gate import Gate
from awe_core.training.trainer import Trained, TrainSettings, train

THREADS = 2
ROWS_PER_PART, BLOCK_ROWS = 16384, 1024


def settings(**wanted: Any) -> TrainSettings:
    """Settings of the trainer: two threads, stopped by P@1 and without a norm constraint, as far as it knows of these.

    Raises
    ------
    ClickException
        The trainer does not know something that was asked for (a sampler, say).
    """
    known = {field.name for field in fields(TrainSettings)}
    shared: dict[str, Any] = {"C": math.inf, "threads": THREADS, "metric": "p@1"}
    try:
        return TrainSettings(**{name: value for name, value in shared.items() if name in known} | wanted)
    except (TypeError, ValueError) as error:
        raise click.ClickException(f"this trainer cannot do it: {error}") from error


def say(**values: Any) -> None:
    """A line of JSON, at once."""
    click.echo(json.dumps(values))


def timed(source: BlockSource, shape: tuple[int, int], chosen: TrainSettings, **more: Any) -> tuple[Trained, float]:
    """Train, without a validation set, on data of (Y, d), and the seconds of the whole call."""
    began = time.perf_counter()
    trained = train(source, None, *shape, chosen, **more)
    return trained, time.perf_counter() - began


def warm_up() -> None:
    """A training too small to be seen, so that what is compiled or imported on first use is not in a figure."""
    block = Block(
        np.arange(64, dtype=np.int64),
        np.ones((64, 4), np.float32),
        sp.csr_matrix(np.eye(64, 300, dtype=np.float32)),
        sp.csr_matrix((64, 300), dtype=np.float32),
        np.ones(64, np.float32),
    )
    for features in (block.features, sp.csr_matrix(block.features)):
        small = ArrangedBlocks(replace(block, features=features, affinity=block.labels), 0, 64, 32)
        for sampler in ("geometric", "rounds", "pooled"):
            chosen = settings(D=4, learning_rate=0.1, batch=32, epochs=1, patience=1, sampler=sampler)
            train(small, None, 300, 4, chosen, seed=0)
        train(small, None, 300, 4, chosen, seed=0, iteration=1, gate=Gate(1.0))
