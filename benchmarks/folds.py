"""A Mulan data set without a split of its own, as ten folds: each is the test split of a run with the same settings.

    python -m benchmarks.folds cal500/cal500.arff --config=configs/cal500.toml --run=runs/cal500 --trials=10

The path is below the variable AWE_DATA. Fold f goes into RUN/seed-f with run.seed = f, where `make tables` finds it.
With `--trials` every fold has settings of its own, by `awe tune` on its nine tenths (RUN/tune-f): a row that is tested
never had a part in how.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import arff
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FOLDS = 10


def write_folds(source: Path, directory: Path) -> list[tuple[Path, Path]]:
    """(train, test) of every fold as Parquet, rows with their numbers in `source` as ids; a tenth by a seeded order."""
    with source.open() as file:
        rows = arff.load(file)["data"]
    names = [entry.get("name") for entry in ElementTree.parse(source.with_suffix(".xml")).iter() if entry.get("name")]
    labels = [[name for name, value in zip(names, row[-len(names) :], strict=True) if value == "1"] for row in rows]
    features = [row[: -len(names)] for row in rows]
    whole = pa.table({"id": range(len(rows)), "features": features, "labels": labels})
    fold_of = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    directory.mkdir(parents=True, exist_ok=True)
    return [_written(whole, fold_of == fold, directory / f"fold-{fold}") for fold in range(FOLDS)]


def _written(whole: pa.Table, held: np.ndarray, directory: Path) -> tuple[Path, Path]:
    directory.mkdir(exist_ok=True)
    train, test = directory / "train.parquet", directory / "test.parquet"
    pq.write_table(whole.filter(pa.array(~held)), train)
    pq.write_table(whole.filter(pa.array(held)), test)
    return train, test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--config", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument(
        "--trials", type=int, help="of each of the two searches of `awe tune`, which is left out if none"
    )
    parser.add_argument("--seeds", default="0", help="validation splits that a trial is measured by")
    options, flags = parser.parse_known_args()
    files = write_folds(Path(os.environ["AWE_DATA"]) / options.data, options.run / "folds")
    for fold, (train, test) in enumerate(files):
        data = [f"--data.train={train.resolve()}", f"--data.test={test.resolve()}"]
        config = options.config
        if options.trials is not None:
            tuned = options.run / f"tune-{fold}"
            search = [f"--run={tuned}", f"--trials={options.trials}", f"--seeds={options.seeds}"]
            _awe("tune", f"--config={config}", *search, *data, *flags)
            config = tuned / "best.toml"
        _awe("run", f"--config={config}", f"--run={options.run / f'seed-{fold}'}", f"--run.seed={fold}", *data, *flags)


def _awe(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pipelines", *arguments], check=True)


if __name__ == "__main__":
    main()
