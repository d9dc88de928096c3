"""Shards of a base as files on this worker's scratch: written once, mapped by all processes of the machine.

A file is the numbers of rows and of columns, the ids, and at the next cache line the vectors. It is not numpy's own
format: that has its shape as a literal of Python's, and CPython 3.11 cannot parse two of them in two threads at one
time (gh-106905: SystemError, "AST constructor recursion depth mismatch").

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
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

_OPEN: dict[str, ShardFiles] = {}
_GUARD = threading.Lock()

_SHAPE_BYTES, _CACHE_LINE = 16, 64

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
            try:
                self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:  # removed since by the last who held it
                continue
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
            # Who comes just now makes files while they are removed; then the folder is theirs.
            shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            os.close(self._lock)

    def get(self, key: tuple[str, ...], load: Callable[[], Arrays]) -> Arrays:
        """(ids, vectors) of a shard, mapped; `load` is called where they are not there yet."""
        path = self._folder / f"{hashlib.sha256('/'.join(key).encode()).hexdigest()[:32]}.shard"
        while True:
            try:
                return self._mapped(path)
            except FileNotFoundError:  # not there yet, or gone again to make room for another's
                self._write(path, *load())

    def _write(self, path: Path, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self._make_room(ids.nbytes + vectors.nbytes)
        temporary = path.with_name(f"{uuid4().hex}.writing")
        with temporary.open("wb") as file:
            file.write(np.array(vectors.shape, np.int64).tobytes())
            file.write(np.ascontiguousarray(ids, np.int64).data)
            file.seek(_vectors_at(len(ids)))
            file.write(np.ascontiguousarray(vectors, np.float32).data)
        temporary.replace(path)

    def _mapped(self, path: Path) -> Arrays:
        # As plain arrays on the mapping: slices of numpy's own class for it are slow to make.
        content = np.asarray(np.memmap(path, np.uint8, "r"))
        rows, columns = content[:_SHAPE_BYTES].view(np.int64)
        ids = content[_SHAPE_BYTES:][: 8 * rows].view(np.int64)
        vectors = content[_vectors_at(rows) :].view(np.float32).reshape(rows, columns)
        os.utime(path)
        return ids, vectors

    def _make_room(self, wanted: int) -> None:
        with os.scandir(self._folder) as entries:
            held = [(stat.st_mtime_ns, stat.st_size, entry.path) for entry in entries if (stat := _of_shard(entry))]
        total = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if total + wanted <= self._most:
                return
            Path(path).unlink(missing_ok=True)
            total -= size


def _of_shard(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What is known of a shard's file; None of another, and of one that another process has removed meanwhile."""
    try:
        return entry.stat() if entry.name.endswith(".shard") else None
    except FileNotFoundError:
        return None


def _vectors_at(rows: int) -> int:
    """Where the vectors begin in a file of so many rows."""
    return -(-(_SHAPE_BYTES + 8 * rows) // _CACHE_LINE) * _CACHE_LINE
