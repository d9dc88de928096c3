"""LightFM where items of every user are held out (`data.hold_out`): its WARP on the users of a run's examples.

    python -m benchmarks.held_out RUN --lightfm=PYTHON [--epochs=20] [--seeds=3] [--rate=0.05 --rate=0.1]

The rate is chosen by the first seed and the epoch by every seed on validation. x is a one-hot user, LightFM's default;
what a user has in train is not ranked in validation, nor what is in either of them in test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
import scipy.sparse as sp

from benchmarks.cluster_queries import blocks_of
from benchmarks.datasets import Arrays
from benchmarks.lightfm import RATES, LightFM, best_validation
from benchmarks.quality import arrays_of
from benchmarks.training import say
from pipelines.run_directory import RunDirectory

K = 10


def users_of(run: RunDirectory) -> Arrays:
    """What `benchmarks.lightfm_peer` reads: one row a user of train, without labels where a split lacks the user."""
    arrays: Arrays = {"k": np.array(K)}
    users = np.concatenate([block.ids for block in blocks_of(run, "train")])
    order = np.argsort(users)
    for split in ("train", "validation", "test"):
        blocks = list(blocks_of(run, split))
        ids = np.concatenate([block.ids for block in blocks])
        row = order[np.searchsorted(users[order], ids)]
        to_users = sp.csr_matrix((np.ones(len(ids), np.float32), (row, np.arange(len(ids)))), (len(users), len(ids)))
        for part in ("labels", "seen"):
            lists = sp.csr_matrix(to_users @ sp.vstack([getattr(block, part) for block in blocks]).astype(np.float32))
            lists.sort_indices()
            arrays |= arrays_of(lists, f"{split}.{part}")
    return arrays


@click.command()
@click.argument("run", type=click.Path(exists=True))
@click.option("--lightfm", type=click.Path(exists=True), required=True, help="the interpreter of its environment")
@click.option("--epochs", default=20)
@click.option("--seeds", default=3)
@click.option("--rate", "rates", type=float, multiple=True, default=RATES, show_default=True)
def main(run: str, lightfm: str, epochs: int, seeds: int, rates: tuple[float, ...]) -> None:
    """Train LightFM on the users of RUN's examples."""
    peer = LightFM(Path(lightfm))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "users.npz"
        np.savez(data, allow_pickle=False, **users_of(RunDirectory(run)))
        found = {rate: peer.train(data, rate, epochs, seed=0) for rate in rates}
        for rate, lines in found.items():
            say(rate=rate, validation=best_validation(lines), best_epoch=best_epoch(lines))
        rate = max(found, key=lambda one: best_validation(found[one]))
        others = [peer.train(data, rate, epochs, seed) for seed in range(1, seeds)]
        tests = [lines[-1] for lines in (found[rate], *others)]
        for name in tests[0]:
            values = [test[name] for test in tests]
            say(rate=rate, **{name: float(np.mean(values)), "spread": max(values) - min(values)})


def best_epoch(lines: list[dict[str, float]]) -> int:
    """The epoch of the highest validation quality."""
    return 1 + int(np.argmax([line["validation"] for line in lines[:-1]]))


if __name__ == "__main__":
    main()
