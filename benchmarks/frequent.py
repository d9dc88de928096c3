"""Gowalla's files with the places alone that most users were at: what models of a full d × Y matrix can hold.

    AWE_DATA=DATA python -m benchmarks.frequent --items=2500 --output=runs/gowalla-2500

writes gowalla/{train,valid,test}.txt below the output, split and ids as they were. Places are counted in train and
valid together. A user who has nothing left in these has no line, and one of whom nothing is left in test none there.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import click

from benchmarks.datasets import GOWALLA, read_lists

Lists = dict[int, list[int]]


def frequent(splits: list[Lists], fitted: int, items: int) -> list[Lists]:
    """The lists of every split without all but `items` items: the most frequent of the first `fitted` splits.

    Of equals the smallest ids stay. Users of whom nothing stays in the first splits are left out of all.
    """
    counts = Counter(item for lists in splits[:fitted] for own in lists.values() for item in set(own))
    kept = set(sorted(counts, key=lambda item: (-counts[item], item))[:items])
    cut = [{user: [item for item in own if item in kept] for user, own in lists.items()} for lists in splits]
    known = {user for lists in cut[:fitted] for user, own in lists.items() if own}
    return [{user: own for user, own in lists.items() if own and user in known} for lists in cut]


@click.command(help=__doc__)
@click.option("--items", type=click.IntRange(min=1), required=True, help="Places that stay.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for the files.")
def main(items: int, output: Path) -> None:
    root = Path(os.environ["AWE_DATA"])
    for name, lists in zip(GOWALLA, frequent([read_lists(root / name) for name in GOWALLA], 2, items), strict=True):
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(f"{user} {' '.join(map(str, own))}\n" for user, own in lists.items()))


if __name__ == "__main__":
    main()
