"""Manifests: what a dataset consists of and what it was made from. A directory without one does not exist.

A stage that is launched leaves `pending.json` with the recipe that it follows; its last step writes `manifest.json`, in
one put, only while that still stands, and then removes the parts that it does not list. So a killed stage leaves
nothing that can be read, and of two launches the later one wins.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas.errors import DataError
from schemas.filesystem import DRAFT, FileSystem, read_bytes
from schemas.parts import Part

MANIFEST = "manifest.json"
PENDING = "pending.json"
COUNTERS = "counters.json"
"""What the job that wrote a dataset counted, beside it."""
_PART_NAME = re.compile(r"part-\d{5,}-[0-9a-f]+\.parquet")


def digest(content: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces, infinities by name)."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def recipe_of(stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What is known of a dataset before it is made.

    Parameters
    ----------
    stage, version : the stage and the version of what it computes and writes.
    settings : the configuration keys that the stage reads, with their values.
    inputs : fingerprints of its inputs by their path in the run directory.
    """
    return digest({"stage": stage, "version": version, "settings": dict(settings), "inputs": dict(inputs)})


@dataclass(frozen=True)
class Manifest:
    """A dataset as its readers see it.

    Attributes
    ----------
    recipe : hash of stage, format version, configuration keys read and inputs' fingerprints (`recipe_of`).
    parts : in order of their index.
    schema : (name, Arrow type) of every column.
    facts : what readers need beyond the parts (labels, dimension, median distance …); part of the fingerprint.
    inputs : fingerprints of the datasets and models of the run that it was made from, by their path in it (`recipe`
        hashes them too). What stands there now may be another: see `pipelines.stage.Context.fresh`.
    """

    recipe: str
    parts: tuple[Part, ...]
    schema: tuple[tuple[str, str], ...]
    facts: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: str,
        parts: Iterable[Part],
        schema: pa.Schema,
        facts: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
    ) -> Manifest:
        columns = tuple((f.name, str(f.type)) for f in schema)
        # The longer names are those of the larger indices, where five digits are not enough.
        ordered = sorted(parts, key=lambda part: (len(part.name), part.name))
        return cls(recipe, tuple(ordered), columns, dict(facts), dict(inputs or {}))

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """hash(recipe, part checksums, schema, facts): what a later stage depends on."""
        parts = [[part.rows, part.sha256, part.sums] for part in self.parts]
        return digest([self.recipe, parts, [list(column) for column in self.schema], self.facts])

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns."""
        return frozenset(name for name, _ in self.schema)

    def to_bytes(self) -> bytes:
        content = {
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "parts": [part.as_json() for part in self.parts],
            "schema": [{"name": name, "type": kind} for name, kind in self.schema],
            "facts": self.facts,
            "inputs": self.inputs,
        }
        return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Manifest:
        """Parse and check. Raises DataError where the content is no manifest or was edited."""
        try:
            raw = json.loads(content)
            schema = tuple((column["name"], column["type"]) for column in raw["schema"])
            parts = tuple(Part(**part) for part in raw["parts"])
            manifest = cls(raw["recipe"], parts, schema, raw["facts"], dict(raw["inputs"]))
            fingerprint = raw["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where}: not a manifest ({error}); remove it and run its stage again") from error
        if not all(isinstance(part.name, str) and _PART_NAME.fullmatch(part.name) for part in manifest.parts):
            raise DataError(f"{where}: a part has a name that no part can have; remove it and run its stage again")
        if manifest.fingerprint != fingerprint:
            raise DataError(f"{where}: the fingerprint does not fit the content; remove it and run its stage again")
        return manifest


def find_manifest(fs: FileSystem, directory: str) -> Manifest | None:
    """The manifest of a dataset, or None where the dataset does not exist."""
    path = fs.join(directory, MANIFEST)
    try:
        content = read_bytes(fs, path)
    except FileNotFoundError:
        return None
    return Manifest.from_bytes(content, path)


def read_manifest(fs: FileSystem, directory: str, made_by: str) -> Manifest:
    """The manifest of a dataset that has to be there. Raises DataError that names the stage to run."""
    manifest = find_manifest(fs, directory)
    if manifest is None:
        raise DataError(f"{directory}: there is no such dataset yet; run 'awe {made_by}' first")
    return manifest


def launch(fs: FileSystem, directory: str, recipe: str) -> None:
    """Announce that a dataset is being made after this recipe; an earlier launch loses its right to commit."""
    fs.put(fs.join(directory, PENDING), json.dumps({"recipe": recipe}).encode())


def commit(fs: FileSystem, directory: str, manifest: Manifest) -> None:
    """Make the dataset exist: write its manifest in one put, then remove what launches and attempts before it left.

    Files of others in the directory stay. Calling it twice with the same manifest is harmless. Raises DataError if
    another launch took the directory over.
    """
    pending = fs.join(directory, PENDING)
    try:
        expected = json.loads(read_bytes(fs, pending))["recipe"]
    except FileNotFoundError:
        committed = find_manifest(fs, directory)
        expected = committed.recipe if committed else None
    if expected != manifest.recipe:
        raise DataError(f"{directory}: another launch with other inputs or settings took over; nothing was changed")
    fs.put(fs.join(directory, MANIFEST), manifest.to_bytes())
    stale = {name for name in fs.names(directory) if _is_left_over(name)} - {part.name for part in manifest.parts}
    fs.delete([fs.join(directory, name) for name in sorted(stale)])


def _is_left_over(name: str) -> bool:
    return name in (PENDING, COUNTERS) or name.startswith(DRAFT) or _PART_NAME.fullmatch(name) is not None
