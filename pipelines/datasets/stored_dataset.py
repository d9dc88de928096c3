"""A dataset as a job names it: small wherever it travels, however many parts it has."""

from __future__ import annotations

from functools import cached_property

from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.process_cache import ProcessCache
from schemas.errors import DataError
from schemas.manifest import Manifest, find_manifest

_MANIFESTS = ProcessCache[Manifest](64)


class StoredDataset:
    """A directory and the manifest that stood there when the job was planned.

    To workers go the directory and the fingerprint alone: a manifest of 10,000 parts is 2 MB, a job holds a dozen
    copies of several, and Dataflow takes no job above 10 MB. A process reads the manifest when it first asks for it.

    Parameters
    ----------
    directory : where the dataset lies.
    manifest : what was found there.
    """

    def __init__(self, directory: str, manifest: Manifest) -> None:
        self.directory, self.fingerprint = directory, manifest.fingerprint
        _MANIFESTS.get(self._key, lambda: manifest)

    @cached_property
    def manifest(self) -> Manifest:
        """Raises DataError, on a worker, where another dataset took this one's place."""
        return _MANIFESTS.get(self._key, self._read)

    @property
    def _key(self) -> tuple[str, str]:
        return self.directory, self.fingerprint

    def _read(self) -> Manifest:
        found = find_manifest(BeamFileSystem(), self.directory)
        if found is None or found.fingerprint != self.fingerprint:
            raise DataError(f"{self.directory}: the dataset was replaced while a job read it; run it again")
        return found

    def __getstate__(self) -> dict[str, str]:
        return {"directory": self.directory, "fingerprint": self.fingerprint}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredDataset) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
