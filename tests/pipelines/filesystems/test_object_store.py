"""Buckets without a store: which requests are made, what is waited for, and how a refusal is worded."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import pytest

pytest.importorskip("boto3", reason="boto3 is missing: install affinity-weighted-embedding[aws]")

from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from pipelines.filesystems import object_store
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.filesystems.object_store import S3FileSystem
from pipelines.filesystems.scratch import ScratchCopies
from schemas.errors import StoreError
from schemas.filesystem import read_bytes

URL = "http://store.example:9000"
FS = S3FileSystem()


class Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Any:
        return iter(lambda: self.read(size), b"")


class Bucket:
    """A client of boto3 over a dictionary. `errors` are raised, one a request, before it answers."""

    class meta:
        endpoint_url = URL

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.errors: list[Exception] = []
        self.requests: Counter[str] = Counter()

    def _asked(self, name: str) -> None:
        self.requests[name] += 1
        if self.errors:
            raise self.errors.pop(0)

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self._asked("get")
        if Key not in self.objects:
            raise refusal(404, "NoSuchKey")
        return {"Body": Body(self.objects[Key])}

    def head_object(self, Bucket: str, Key: str) -> None:
        self._asked("head")
        if Key not in self.objects:
            raise refusal(404, "404")

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self._asked("put")
        self.objects[Key] = Body

    def upload_file(self, name: str, bucket: str, key: str, Config: object) -> None:
        self._asked("put")
        self.objects[key] = Path(name).read_bytes()

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        self._asked("delete")
        for each in Delete["Objects"]:
            self.objects.pop(each["Key"], None)
        return {}

    def get_paginator(self, name: str) -> Bucket:
        return self

    def paginate(self, Bucket: str, Prefix: str, Delimiter: str) -> list[dict[str, Any]]:
        self._asked("list")
        here = [key for key in self.objects if key.startswith(Prefix) and Delimiter not in key.removeprefix(Prefix)]
        return [{"Contents": [{"Key": key} for key in here]}] if here else [{}]


def refusal(status: int, code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "so it is"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Some"
    )


AWAY = EndpointConnectionError(endpoint_url=URL)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bucket:
    made = Bucket()
    monkeypatch.setattr(object_store, "_client", lambda given: made)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return made


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every wait, none of which is waited."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def test_a_file_is_one_request_whatever_is_done_with_it(bucket: Bucket) -> None:
    draft = FS.draft("s3://b/data")
    assert draft.write(b"some ") + draft.write(b"content") == 12
    assert bucket.requests == {}
    draft.keep("s3://b/data/file")
    draft.discard()
    assert bucket.objects == {"data/file": b"some content"}
    with FS.open("s3://b/data/file") as file:
        assert file.read(4) == b"some"
        file.seek(-3, io.SEEK_END)
        assert file.read() == b"ent"
    FS.put("s3://b/data/small", b"1")
    assert bucket.requests == {"put": 2, "get": 1}


def test_a_draft_that_is_given_up_never_reaches_the_store(bucket: Bucket) -> None:
    draft = FS.draft("s3://b/data")
    draft.write(b"half")
    draft.discard()
    assert bucket.requests == {}


def test_names_are_those_of_the_directory_itself(bucket: Bucket) -> None:
    for key in ("run/b", "run/a", "run/below/c", "running", "run/"):
        bucket.objects[key] = b""
    assert FS.names("s3://b/run") == ["a", "b"]
    assert FS.names("s3://b/nothing") == []
    assert FS.exists("s3://b/run/a")
    assert not FS.exists("s3://b/run/c")


def test_files_are_deleted_in_one_request_and_one_that_is_gone_is_no_error(bucket: Bucket) -> None:
    bucket.objects = {"a": b"", "b": b"", "c": b""}
    BeamFileSystem().delete(["s3://b/a", "s3://b/b", "s3://b/never"])
    assert list(bucket.objects) == ["c"]
    assert bucket.requests == {"delete": 1}
    FS.delete([])
    assert bucket.requests == {"delete": 1}


@pytest.mark.parametrize("error", [AWAY, refusal(503, "SlowDown"), refusal(500, "InternalError"), refusal(429, "Busy")])
def test_a_store_that_is_away_is_waited_for(bucket: Bucket, slept: list[float], error: Exception) -> None:
    bucket.errors = [error] * 5
    FS.put("s3://b/file", b"content")
    assert bucket.objects == {"file": b"content"}
    assert len(slept) == 5


def test_an_object_that_breaks_off_is_read_again_from_its_start(
    bucket: Bucket, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.objects["file"] = b"all of it"
    bodies = iter([True, False])

    def breaks(self: Body, size: int) -> Any:
        yield self.read(3)
        if next(bodies):
            raise object_store.IncompleteReadError(actual_bytes=3, expected_bytes=9)
        yield self.read()

    monkeypatch.setattr(Body, "iter_chunks", breaks)
    assert read_bytes(FS, "s3://b/file") == b"all of it"


def test_a_store_that_is_gone_is_named_after_a_minute_and_not_waited_for_again(
    bucket: Bucket, slept: list[float]
) -> None:
    bucket.errors = [AWAY] * 1000
    with pytest.raises(StoreError, match=f"s3://b/file: the store {URL} does not answer .*; run the same command"):
        FS.put("s3://b/file", b"content")
    assert object_store.WAIT_SECONDS / 2 < sum(slept) <= object_store.WAIT_SECONDS
    waited = len(slept)
    with pytest.raises(StoreError, match="does not answer"):
        FS.delete(["s3://b/file"])
    assert len(slept) == waited
    bucket.errors = []
    assert not FS.exists("s3://b/file")
    bucket.errors = [AWAY]
    assert not FS.exists("s3://b/file")
    assert len(slept) == waited + 1


def _ask_in_vain(scratch: Path) -> list[float]:
    """The seconds that a process waits which finds its store away."""
    done = subprocess.run([sys.executable, "-c", _IN_VAIN, str(scratch)], capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


_IN_VAIN = """
import json, sys, tempfile, time
from tests.pipelines.filesystems.test_object_store import AWAY, FS, Bucket, StoreError, object_store
tempfile.tempdir, made, slept = sys.argv[1], Bucket(), []
object_store._client, time.sleep, made.errors = (lambda given: made), slept.append, [AWAY] * 1000
try:
    FS.exists("s3://b/file")
except StoreError:
    print(json.dumps(slept))
"""


def test_a_process_that_is_started_anew_does_not_wait_for_a_store_that_is_gone(
    bucket: Bucket, slept: list[float], tmp_path: Path
) -> None:
    assert sum(_ask_in_vain(tmp_path)) > object_store.WAIT_SECONDS / 2
    assert _ask_in_vain(tmp_path) == []
    bucket.errors = [AWAY]
    with pytest.raises(StoreError, match="does not answer"):
        FS.exists("s3://b/file")
    assert slept == []
    assert not FS.exists("s3://b/file")  # it is back
    bucket.errors = [AWAY]
    assert not FS.exists("s3://b/file")
    assert len(slept) == 1


def test_what_was_waited_for_in_vain_long_ago_is_waited_for(bucket: Bucket, slept: list[float], tmp_path: Path) -> None:
    bucket.errors = [AWAY] * 1000
    with pytest.raises(StoreError, match="does not answer"):
        FS.exists("s3://b/file")
    (mark,) = tmp_path.iterdir()
    then = time.time() - object_store.WAIT_SECONDS - 1
    os.utime(mark, (then, then))
    slept.clear()
    bucket.errors = [AWAY]
    assert not FS.exists("s3://b/file")
    assert len(slept) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refusal(403, "InvalidAccessKeyId"), "refuses .*InvalidAccessKeyId.*; see to the credentials"),
        (refusal(403, "AccessDenied"), "refuses .*AccessDenied"),
        (NoCredentialsError(), "refuses .*Unable to locate credentials"),
        (refusal(404, "NoSuchBucket"), "has no such bucket"),
    ],
)
def test_a_refusal_is_not_asked_for_twice(bucket: Bucket, slept: list[float], error: Exception, words: str) -> None:
    bucket.errors = [error]
    with pytest.raises(StoreError, match=f"s3://b/file: the store {URL} {words}"):
        read_bytes(FS, "s3://b/file")
    assert slept == []
    assert bucket.requests == {"get": 1}


def test_a_missing_object_is_a_missing_file(bucket: Bucket, slept: list[float]) -> None:
    with pytest.raises(FileNotFoundError, match="s3://b/file"):
        FS.open("s3://b/file")
    assert slept == []


def test_what_is_read_again_and_again_is_fetched_once(bucket: Bucket, tmp_path: Path) -> None:
    bucket.objects = {"run/one": b"1", "run/two": b"22"}
    near = BeamFileSystem().near("s3://b/run")
    for _ in range(3):
        for name, content in {"one": b"1", "two": b"22"}.items():
            assert read_bytes(near, near.join("s3://b/run", name)) == content
    assert bucket.requests == {"get": 2}
    assert isinstance(BeamFileSystem().near(str(tmp_path)), BeamFileSystem)
    with pytest.raises(FileNotFoundError):
        near.open("s3://b/run/three")


def test_copies_are_files_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    copies = ScratchCopies(BeamFileSystem())
    with copies.open(str(tmp_path / "file")) as file:
        assert _is_of_this_machine(file)
        assert file.read() == b"content"


def _is_of_this_machine(file: BinaryIO) -> bool:
    return isinstance(getattr(file, "raw", None), io.FileIO)
