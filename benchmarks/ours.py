"""Our trainer on one data set, in a process of its own: a line of JSON an epoch, and one at the end.

python -m benchmarks.ours dense DATA.npz --seed=0
python -m benchmarks.ours one-hot DATA.npz --sampler=pooled --epochs=20 --seed=0
"""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arranged import ArrangedBlocks
from awe_core.examples import Block
from awe_core.model import Model
from awe_core.training.checkpoint import Arrays, Checkpoint, model_of
from awe_core.training.trainer import train
from benchmarks.processes import own_peak_bytes
from benchmarks.quality import best_labels, csr_of, recall
from benchmarks.training import BLOCK_ROWS, ROWS_PER_PART, say, settings, warm_up

# Chosen on the validation splits.
DENSE = {"D": 64, "learning_rate": 0.1, "margin": 4.0, "batch": 512, "epochs": 25, "patience": 4}
# Gowalla's: C keeps the vectors of users and labels from overfitting, and popularity stands in the label's bias.
ONE_HOT = {"D": 64, "C": 2.0, "label_bias": True, "learning_rate": 0.3, "batch": 2048, "patience": 1}


def block_of(arrays: Any, split: str) -> Block:
    """The examples of a split; x is one-hot where it is not given."""
    labels, seen = csr_of(arrays, f"{split}.labels"), csr_of(arrays, f"{split}.seen")
    rows = labels.shape[0]
    x = arrays[f"{split}.x"] if f"{split}.x" in arrays else sp.identity(rows, np.float32, "csr")
    return Block(np.arange(rows, dtype=np.int64), x, labels, seen, np.ones(rows, np.float32))


def quality(model: Model, block: Block, k: int) -> float:
    """recall@k: P@1 where k = 1 and there is one label a row."""
    no_bias: NDArray[np.float32] = np.zeros(model.labels, np.float32)
    return recall(best_labels(model.embed(block.features), model.V, no_bias, block.seen, k), block.labels)


class EveryEpoch:
    """`awe_core.training.checkpoint.Checkpoints` that keep nothing to go on from, and look at every epoch's model.

    Parameters
    ----------
    block, k : what recall@k is measured on.
    """

    def __init__(self, block: Block, k: int) -> None:
        self._block, self._k = block, k
        self.qualities: list[float] = []

    def look(self, model: Model) -> None:
        """Measure, and copy the model where it is the best yet: its arrays are the training's own."""
        self.qualities.append(quality(model, self._block, self._k))
        if self.qualities[-1] > max(self.qualities[:-1], default=-1.0):
            self.kept = Model(model.U.copy(), model.V.copy())

    def due(self) -> bool:
        return False

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        self.look(model_of(checkpoint.arrays, "dot"))

    def load(self) -> Checkpoint | None:
        return None

    def best(self) -> Arrays:
        raise LookupError("without a validation set the last epoch is the best, and the trainer has that")


@click.group()
def main() -> None:
    """Our trainer on one data set."""
    warm_up()


@main.command()
@click.argument("data", type=click.Path(exists=True))
@click.option("--seed", type=int, required=True)
def dense(data: str, seed: int) -> None:
    """Train with early stopping on validation P@1; pairs/s of training alone, test P@1 of the epoch kept."""
    arrays = np.load(data)
    blocks = {split: block_of(arrays, split) for split in ("train", "validation", "test")}
    source, held_out = (
        ArrangedBlocks(blocks[split], 0, ROWS_PER_PART, BLOCK_ROWS) for split in ("train", "validation")
    )
    labels, dimension = blocks["train"].labels.shape[1], blocks["train"].features.shape[1]
    trained = train(source, held_out, labels, dimension, settings(**DENSE), seed=seed)
    for record in trained.history:
        say(epoch=record.epoch, seconds=record.seconds, pairs=record.pairs, validation=record.p_at_1)
    say(test=quality(trained.model, blocks["test"], int(arrays["k"])), peak_bytes=own_peak_bytes())


@main.command("one-hot")
@click.argument("data", type=click.Path(exists=True))
@click.option("--sampler", required=True)
@click.option("--epochs", type=int, required=True)
@click.option("--seed", type=int, required=True)
def one_hot(data: str, sampler: str, epochs: int, seed: int) -> None:
    """Train without a validation set, on whose P@1 the trainer would stop.

    As for the peer, recall@20 is looked at after every epoch, with the clock stopped.
    """
    arrays = np.load(data)
    blocks = {split: block_of(arrays, split) for split in ("train", "validation", "test")}
    labels, dimension = blocks["train"].labels.shape[1], blocks["train"].features.shape[1]
    source = ArrangedBlocks(blocks["train"], 0, ROWS_PER_PART, BLOCK_ROWS)
    looks = EveryEpoch(blocks["validation"], int(arrays["k"]))
    chosen = settings(**ONE_HOT, sampler=sampler, epochs=epochs)
    trained = train(source, None, labels, dimension, chosen, seed=seed, checkpoints=looks)
    looks.look(trained.model)
    for record, validation in zip(trained.history, looks.qualities, strict=True):
        say(epoch=record.epoch, seconds=record.seconds, pairs=record.pairs, validation=validation)
    say(test=quality(looks.kept, blocks["test"], int(arrays["k"])), peak_bytes=own_peak_bytes())


if __name__ == "__main__":
    main()
