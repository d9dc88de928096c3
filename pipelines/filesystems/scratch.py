"""Files of this machine that stand for objects of a store, which has them whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from schemas.filesystem import FileSystem, saying_where


class ScratchDraft:
    """`schemas.filesystem.Draft`: written here, and sent when it is whole.

    Parameters
    ----------
    send : takes the path of the file here and the path that it will have.
    """

    def __init__(self, send: Callable[[str, str], None]) -> None:
        self._send = send
        self._file = tempfile.NamedTemporaryFile(prefix="awe-draft-")  # noqa: SIM115

    def write(self, content: bytes) -> int:
        with saying_where(tempfile.gettempdir()):
            return self._file.write(content)

    def keep(self, path: str) -> None:
        with saying_where(tempfile.gettempdir()):
            self._file.flush()
        self._send(self._file.name, path)
        self._file.close()

    def discard(self) -> None:
        self._file.close()


class ScratchCopies:
    """Files that are opened again and again, in any order: each is fetched once and kept until the process ends.

    Parameters
    ----------
    fs : where they are; what lies there must not change.
    """

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._folder = tempfile.TemporaryDirectory(prefix="awe-copies-")

    def join(self, directory: str, *names: str) -> str:
        return self._fs.join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        copy = Path(self._folder.name) / hashlib.sha256(path.encode()).hexdigest()
        if not copy.exists():
            fetched = copy.with_name(uuid4().hex)
            with self._fs.open(path) as source, fetched.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            fetched.replace(copy)
        return copy.open("rb")
