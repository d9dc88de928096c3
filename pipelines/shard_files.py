"""Shards of a base as .npy files on this worker's scratch: written once, mapped by all processes of the machine.

The folder belongs to one job. A file is named by the checksums of what is in it and appears whole, by one rename.
Beyond the bound the files least recently asked for go; who has one mapped keeps it, as POSIX has it. The folder goes
with the last process that holds it; what a killed one left is found, and then removed, by the next job of that name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

_OPEN: dict[str, ShardFiles] = {}
_GUARD = threading.Lock()

Arrays = tuple[NDArray[np.int64], NDArray[np.float32]]


def hold_shard_files(job: str, most_bytes: int) -> ShardFiles:
    """The folder of a job, one for all threads of this process; each who asks has to close it once."""
    with _GUARD:
        files = _OPEN.get(job)
        if files is None:
            files = _OPEN[job] = ShardFiles(job, most_bytes)
        files._holders += 1
        return files


class ShardFiles:
    """The folder of a job, held by this process; see `hold_shard_files`.

    Parameters
    ----------
    job : names it among all jobs of this machine.
    most_bytes : bound on the files; one shard may be larger by itself.
    """

    def __init__(self, job: str, most_bytes: int) -> None:
        self._job, self._holders = job, 0
        name = hashlib.sha256(job.encode()).hexdigest()[:16]
        self._folder = Path(tempfile.gettempdir()) / f"awe-join-{os.getuid()}-{name}"
        self._most = most_bytes
        self._hold()

    def _hold(self) -> None:
        """Take a share of the folder's lock; whoever removes the folder has it alone, so look whether it still is."""
        while True:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._folder.is_symlink() or self._folder.stat().st_uid != os.getuid():
                raise DataError(f"{self._folder}: belongs to somebody else; remove it, or set TMPDIR to another folder")
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            if (self._folder / "lock").exists() and os.path.samestat(
                os.fstat(self._lock), os.stat(self._folder / "lock")
            ):
                return
            os.close(self._lock)

    def close(self) -> None:
        """Let go of the folder; the last of this process's holders does, and the last process removes it."""
        with _GUARD:
            self._holders -= 1
            if self._holders:
                return
            del _OPEN[self._job]
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            shutil.rmtree(self._folder)
        finally:
            os.close(self._lock)

    def get(self, key: tuple[str, ...], load: Callable[[], Arrays]) -> Arrays:
        """(ids, vectors) of a shard, mapped; `load` is called where they are not there yet."""
        stem = hashlib.sha256("/".join(key).encode()).hexdigest()[:32]
        paths = [self._folder / f"{stem}-{name}.npy" for name in ("ids", "vectors")]
        try:
            return self._mapped(paths)
        except FileNotFoundError:
            arrays = load()
        self._make_room(sum(array.nbytes for array in arrays))
        contents: tuple[NDArray[Any], ...] = arrays
        for path, array in zip(paths, contents, strict=True):
            temporary = path.with_name(f"{uuid4().hex}.writing")
            with temporary.open("wb") as file:
                np.save(file, array)
            temporary.replace(path)
        return self._mapped(paths)

    def _mapped(self, paths: list[Path]) -> Arrays:
        # As plain arrays on the mapping: slices of numpy's own class for it are slow to make.
        ids, vectors = (np.asarray(np.load(path, mmap_mode="r")) for path in paths)
        for path in paths:
            os.utime(path)
        return ids, vectors

    def _make_room(self, wanted: int) -> None:
        shards: dict[str, list[Path]] = {}
        for path in self._folder.glob("*.npy"):
            shards.setdefault(path.name.partition("-")[0], []).append(path)
        held = {stem: sum(path.stat().st_size for path in paths) for stem, paths in shards.items()}
        for stem in sorted(shards, key=lambda stem: max(path.stat().st_mtime_ns for path in shards[stem])):
            if sum(held.values()) + wanted <= self._most:
                return
            for path in shards[stem]:
                path.unlink(missing_ok=True)
            del held[stem]
