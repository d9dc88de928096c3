"""`data.hierarchy`: lines of label and parent, tab between them; labels with one parent are siblings."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import ConfigError, DataError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.text import numbered_lines
from pipelines.ingestion.raw_files import reading


@dataclass(frozen=True)
class Hierarchy:
    """(label, parent) pairs in the order of the file, its path, and the checksum of its lines."""

    path: str
    pairs: tuple[tuple[str, str], ...]
    sha256: str

    def check(self, names: Sequence[str]) -> None:
        """Raises DataError where no label of the list is in the hierarchy: it belongs to other data."""
        if not {label for label, _ in self.pairs} & set(names):
            raise DataError(
                f"{self.path}: it names none of the labels ({names[0]!r}, …); give the hierarchy of these labels"
            )

    def siblings(self, names: Sequence[str]) -> list[list[int]]:
        """For each label of a list, the ids of the other labels that share a parent with it, sorted.

        Labels of the hierarchy that are not in the list are left out; a label without a parent has no siblings.
        """
        id_of = {name: i for i, name in enumerate(names)}
        children: dict[str, set[int]] = defaultdict(set)
        for label, parent in self.pairs:
            if label in id_of:
                children[parent].add(id_of[label])
        siblings: list[set[int]] = [set() for _ in names]
        for family in children.values():
            for label_id in family:
                siblings[label_id] |= family - {label_id}
        return [sorted(family) for family in siblings]


def read(fs: BeamFileSystem, path: str) -> Hierarchy:
    """Read the file.

    Raises
    ------
    ConfigError
        There is no such file.
    DataError
        A line that is not label, tab, parent.
    """
    if not fs.exists(path):
        raise ConfigError(f"data.hierarchy: {path}: no such file; correct the path, data.root or AWE_DATA")
    pairs = []
    with reading(fs, path) as file:
        for line, content in numbered_lines(file, path):
            try:
                label, parent = (field.strip() for field in content.decode().split("\t"))
            except ValueError:  # a decoding error is one too
                raise DataError(f"{path}: line {line} is not 'label TAB parent' in UTF-8; mend the line") from None
            pairs.append((label, parent))
    return Hierarchy(path, tuple(pairs), hashlib.sha256(repr(pairs).encode()).hexdigest())
