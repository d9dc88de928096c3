"""LightFM's WARP on a data set: a line of JSON an epoch, and one at the end. Runs in LightFM's own environment.

python -m benchmarks.lightfm_peer DATA.npz --rate=0.05 --epochs=20 --threads=2 --seed=0
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from typing import Any

import numpy as np
import scipy.sparse as sp
from lightfm import LightFM

from benchmarks.quality import best_labels, csr_of, precision, recall

D = 64
# LightFM's default is 10; with 50 it needs fewer epochs and reaches a higher recall on 41,000 labels.
MAX_SAMPLED = 50


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def features_of(arrays: Any, split: str) -> sp.csr_matrix | None:
    """x of a split as CSR, or None where x is the number of the row: LightFM's own default."""
    return sp.csr_matrix(arrays[f"{split}.x"]) if f"{split}.x" in arrays else None


def factors(model: LightFM, arrays: Any, split: str) -> tuple[Any, Any, Any]:
    """Ux of a split, V and the labels' biases as they are now; a row's own bias moves no ranking."""
    embedding = model.get_user_representations(features_of(arrays, split))[1]
    bias, V = model.get_item_representations()
    return embedding.copy(), V.copy(), bias.copy()


def best_of(found: tuple[Any, Any, Any], arrays: Any, split: str) -> Any:
    """The k best labels of a split."""
    return best_labels(*found, csr_of(arrays, f"{split}.seen"), int(arrays["k"]))


def quality(found: tuple[Any, Any, Any], arrays: Any, split: str) -> float:
    """recall@k of a split: P@1 where k = 1 and there is one label a row."""
    return recall(best_of(found, arrays, split), csr_of(arrays, f"{split}.labels"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data")
    for name, kind in (("rate", float), ("epochs", int), ("threads", int), ("seed", int)):
        options.add_argument(f"--{name}", type=kind, required=True)
    chosen = options.parse_args()
    if importlib.util.find_spec("lightfm._lightfm_fast_openmp") is None:
        sys.exit(
            "LightFM was built without OpenMP and would use one thread: install gcc, remove its environment, again"
        )
    arrays = np.load(chosen.data)
    labels, x = csr_of(arrays, "train.labels").tocoo(), features_of(arrays, "train")
    model = LightFM(D, loss="warp", learning_rate=chosen.rate, max_sampled=MAX_SAMPLED, random_state=chosen.seed)
    highest, kept = -1.0, None
    for epoch in range(1, chosen.epochs + 1):
        began = time.perf_counter()
        model.fit_partial(labels, user_features=x, epochs=1, num_threads=chosen.threads)
        seconds = time.perf_counter() - began
        validation = quality(factors(model, arrays, "validation"), arrays, "validation")
        if validation > highest:
            highest, kept = validation, factors(model, arrays, "test")
        say(epoch=epoch, seconds=seconds, pairs=labels.nnz, validation=validation)
    if kept is None:
        sys.exit("--epochs must be 1 or more")
    best, truth = best_of(kept, arrays, "test"), csr_of(arrays, "test.labels")
    say(test=recall(best, truth), **{f"p@{k}": precision(best[:, :k], truth) for k in (1, int(arrays["k"]))})


if __name__ == "__main__":
    main()
