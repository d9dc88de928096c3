"""Interactions of users that are new to a run become rows of x, where x is the history: 1 at every item of the user."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipelines.formats.rows import InteractionBlock, RawBlock, ids_of_keys, integers_if_all, reject
from pipelines.ingestion.example_rows import csr
from pipelines.ingestion.vocabulary import Vocabulary
from schemas.errors import DataError


def history_block(blocks: Iterable[InteractionBlock], path: str, items: Vocabulary) -> RawBlock:
    """The users of one file as the rows of one block, in the order in which the file names them first.

    A user's lines may stand anywhere in a file, so that all of it is held at once: cut files that are large by users.
    Items that the run does not know are among its rejects. Users that are text are keys, as in ingest. Raises DataError
    where there is nobody.
    """
    met = list(blocks)
    if not met:
        raise DataError(f"{path}: there is no row; give users and what they have")
    users = np.concatenate([block.users for block in met])
    sizes = np.concatenate([np.diff(block.indptr) for block in met])
    lines = np.concatenate([block.lines for block in met])
    labels = np.concatenate([items.find(block.items) for block in met])
    distinct, first, place = np.unique(users, return_index=True, return_inverse=True)
    order = np.argsort(first)
    row_of_pair = np.repeat(np.argsort(order)[place], sizes)
    # A pair that stands twice is one pair.
    pairs = np.unique(np.stack([row_of_pair, labels])[:, labels >= 0], axis=1)
    indptr = np.searchsorted(pairs[0], np.arange(len(order) + 1))
    ids = integers_if_all(distinct[order])
    keys = ids if ids.dtype == object else None
    unknown = np.flatnonzero(labels < 0)
    names = np.concatenate([block.items for block in met])[unknown]
    rejects = [
        reject(path, line, f"item {str(name)!r} is no label of the run, which knows nothing of it", str(name))
        for line, name in zip(np.repeat(lines, sizes)[unknown], names, strict=True)
    ]
    return RawBlock(
        source=path,
        rows=np.arange(len(order), dtype=np.int64),
        lines=lines[first[order]],
        features=csr(np.ones(pairs.shape[1], np.float32), pairs[1].astype(np.int32), indptr, len(items)),
        labels=np.zeros(0, np.int32),
        indptr=np.zeros(len(order) + 1, np.int64),
        ids=ids if keys is None else ids_of_keys(keys),
        keys=keys,
        rejects=(*(rejected for block in met for rejected in block.rejects), *rejects),
    )
