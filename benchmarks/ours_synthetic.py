"""Our trainer on made data, in a process of its own: one line of JSON.

python -m benchmarks.ours_synthetic many-labels --labels=1000000
python -m benchmarks.ours_synthetic candidates --labels=1000 --stage=weighted
python -m benchmarks.ours_synthetic store DIRECTORY
python -m benchmarks.ours_synthetic stored DIRECTORY --kept=bound
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Literal

import click
import numpy as np

from awe_core.arranged import ArrangedBlocks, take
from awe_core.arrangement import block_slices
from awe_core.examples import Block
from awe_core.gate import Gate, affinity_scale
from awe_core.training.trainer import train
from benchmarks import stored as dataset
from benchmarks.processes import own_peak_bytes
from benchmarks.synthetic import dense_blocks, many_labels, with_candidates, without_affinity
from benchmarks.training import BLOCK_ROWS, ROWS_PER_PART, say, settings, timed, warm_up
from pipelines.training.checkpoints import DiskCheckpoints
from pipelines.training.interruption import Stop
from schemas.filesystem import LocalFileSystem

D = 64
SHARED = {"D": D, "learning_rate": 0.05, "batch": 512}
LARGE_Y_ROWS, LARGE_Y_ITEMS, LARGE_Y_POSITIVES, LARGE_Y_HELD_OUT = 200_000, 30, 3, 1_000
# Twenty neighbours of three labels each leave some thirty candidates.
CANDIDATE_ROWS, CANDIDATES, POSITIVES, DIMENSION = 50_000, 30, 3, 128
MEMORY_BOUND = 2**30
"""The default of train.memory."""
STORED_DIMENSION, STORED_LABELS = 474, 100
# x, and what the lists of one label, none seen, an id and a weight come to.
_ROW_BYTES = 4 * STORED_DIMENSION + 36
STORED_ROWS = 10 * MEMORY_BOUND // _ROW_BYTES


@click.group()
def main() -> None:
    """Our trainer on made data."""
    warm_up()


@main.command("many-labels")
@click.option("--labels", type=int, required=True)
def many_labels_command(labels: int) -> None:
    """Seconds a step of the second of two epochs; the best epoch's model goes to disk, as in the stage `train`."""
    source, held_out = _many_labels(labels)
    chosen = settings(**SHARED, epochs=2, patience=2)
    with TemporaryDirectory() as directory:
        kept = DiskCheckpoints(LocalFileSystem(), directory, lambda _: "benchmark", chosen.kernel_used, 60.0, Stop())
        trained = train(source, held_out, labels, labels, chosen, seed=0, checkpoints=kept)
    record = trained.history[-1]
    steps = record.pairs / chosen.batch
    say(seconds_per_step=record.seconds / steps, pairs_per_second=record.pairs / record.seconds, **_memory(labels))


def _many_labels(labels: int) -> tuple[ArrangedBlocks, ArrangedBlocks]:
    """What is trained on, and what is held out."""
    whole = many_labels(LARGE_Y_ROWS + LARGE_Y_HELD_OUT, labels, LARGE_Y_ITEMS, LARGE_Y_POSITIVES)
    train_rows, held_out = np.split(np.arange(len(whole)), [LARGE_Y_ROWS])
    source, other = (ArrangedBlocks(take(whole, rows), 0, ROWS_PER_PART, BLOCK_ROWS) for rows in (train_rows, held_out))
    return source, other


def _memory(labels: int) -> dict[str, int]:
    """The peak, and the bytes of U, V and AdaGrad's sums, each float32 [labels, D]."""
    return {"peak_bytes": own_peak_bytes(), "model_bytes": 4 * labels * D * 4}


@main.command()
@click.option("--labels", type=int, required=True)
@click.option("--stage", type=click.Choice(["weighted", "geometric", "pooled"]), required=True)
def candidates(labels: int, stage: Literal["weighted", "geometric", "pooled"]) -> None:
    """Pairs/s of two epochs, with the candidates to draw from or, by the sampler named, all labels."""
    block = with_candidates(CANDIDATE_ROWS, labels, DIMENSION, POSITIVES, CANDIDATES)
    weighted = ArrangedBlocks(block, 0, ROWS_PER_PART, BLOCK_ROWS)
    chosen = settings(**SHARED, epochs=2, patience=2)
    if stage == "weighted":
        gate = Gate(affinity_scale(weighted))
        trained, _ = timed(weighted, (labels, DIMENSION), chosen, seed=0, iteration=1, gate=gate)
    else:
        linear = ArrangedBlocks(without_affinity(block), 0, ROWS_PER_PART, BLOCK_ROWS)
        trained, _ = timed(linear, (labels, DIMENSION), replace(chosen, sampler=stage), seed=0)
    pairs, seconds = (sum(getattr(record, name) for record in trained.history) for name in ("pairs", "seconds"))
    say(pairs_per_second=pairs / seconds, peak_bytes=own_peak_bytes())


@main.command()
@click.argument("directory")
def store(directory: str) -> None:
    """Write examples of ten times the memory bound."""

    def parts() -> Iterator[Iterator[Block]]:
        for part in block_slices(STORED_ROWS, ROWS_PER_PART):
            yield dense_blocks(part.start, part.stop, BLOCK_ROWS, STORED_DIMENSION, STORED_LABELS)

    dataset.write(directory, parts(), STORED_DIMENSION, STORED_LABELS)
    say(rows=STORED_ROWS, peak_bytes=own_peak_bytes())


@main.command()
@click.argument("directory")
@click.option("--kept", type=click.Choice(["bound", "all"]), required=True)
def stored(directory: str, kept: str) -> None:
    """Pairs/s of one epoch over blocks on disk, or over the same blocks once all of them are in memory."""
    chosen = settings(D=D, learning_rate=0.03, batch=512, epochs=1, patience=1)
    source = dataset.read(directory, MEMORY_BOUND if kept == "bound" else 2 * STORED_ROWS * _ROW_BYTES, chosen)
    count = len(source.rows_of_block)  # checks every part's checksum, as the first epoch of a process does
    for index in range(count if kept == "all" else 0):
        _ = source[index]
    trained, seconds = timed(source, (STORED_LABELS, STORED_DIMENSION), chosen, seed=0)
    say(pairs_per_second=trained.history[0].pairs / seconds, peak_bytes=own_peak_bytes())


if __name__ == "__main__":
    main()
