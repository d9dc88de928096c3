"""`s3://` as the datasets' filesystem: a client a process, a request a file, and patience with a store that is away.

Beam's own filesystem makes a client for every call, asks for an object before it opens it, uploads the smallest file in
three requests, and on a connection that is refused either gives up at once or goes on for ten minutes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, BinaryIO, TypeVar, cast

import boto3
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from apache_beam.utils.retry import with_exponential_backoff
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError

from pipelines import log
from pipelines.filesystems.scratch import ScratchDraft
from schemas.errors import StoreError

T = TypeVar("T")

WAIT_SECONDS = 60
"""How long a store may be away."""

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=32,
    retries={"mode": "standard", "total_max_attempts": 2},  # the longer patience is `_waiting`
)
# A file's pieces are sent one after the other: its worker works beside others.
_PIECES = TransferConfig(multipart_threshold=64 * 2**20, multipart_chunksize=64 * 2**20, use_threads=False)
_MOST_DELETED = 1000


class _Lost:
    """A store's mark on this machine's scratch: somebody has just waited for it in vain.

    Until it answers again what else is asked of it is asked once, by other processes too: a runner that starts a failed
    task anew, as Flink does, starts it in new ones. A mark counts as long as a store is waited for; where none can be
    left, the store is waited for again.
    """

    def __init__(self, store: str) -> None:
        name = hashlib.sha256(store.encode()).hexdigest()[:16]
        self._path = os.path.join(tempfile.gettempdir(), f"awe-lost-{os.getuid()}-{name}")

    def __bool__(self) -> bool:
        try:
            found = os.lstat(self._path)
        except OSError:
            return False
        return found.st_uid == os.getuid() and time.time() - found.st_mtime < WAIT_SECONDS

    def mark(self) -> None:
        with suppress(OSError):
            file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            os.utime(file)
            os.close(file)

    def clear(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)


@lru_cache(4)
def _client(given: tuple[tuple[str, Any], ...]) -> Any:
    """A client for all threads of the process. What Beam's options leave open, AWS's ordinary chain finds."""
    return boto3.session.Session().client("s3", config=_CONFIG, **dict(given))


def _connected(path: str) -> Any:
    """The client that Beam's options ask for. Raises StoreError where there can be none."""
    options = (FileSystems._pipeline_options or PipelineOptions([])).view_as(S3Options)
    given = {
        "endpoint_url": options.s3_endpoint_url,
        "region_name": options.s3_region_name,
        "api_version": options.s3_api_version,
        "verify": options.s3_verify,
        "use_ssl": not options.s3_disable_ssl,
        "aws_access_key_id": options.s3_access_key_id,
        "aws_secret_access_key": options.s3_secret_access_key,
        "aws_session_token": options.s3_session_token,
    }
    try:
        return _client(tuple(given.items()))
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"{path}: {error}; correct the --s3_… options or AWS's own settings") from error


def _cause(error: BaseException) -> BaseException:
    """What botocore raised: the upload of a file wraps it."""
    return error.__context__ or error if isinstance(error, S3UploadFailedError) else error


def _answer(error: BaseException) -> tuple[int, str]:
    """HTTP status and S3's code of a refusal; 0 and nothing where there was no answer."""
    if not isinstance(error, ClientError):
        return 0, ""
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0)), str(error.response["Error"]["Code"])


def _may_pass(error: BaseException) -> bool:
    """Whether the store may answer otherwise a little later."""
    error = _cause(error)
    status, _ = _answer(error)
    away = isinstance(error, (ConnectionError, HTTPClientError, IncompleteReadError))
    return away or status in (408, 429) or status >= 500


def _say(_: str, seconds: float, *__: object) -> None:
    log.detail(f"the store does not answer, asking again in {seconds:.1f} s")


_waiting = with_exponential_backoff(
    num_retries=100,
    initial_delay_secs=0.5,
    max_delay_secs=8,
    stop_after_secs=WAIT_SECONDS,
    retry_filter=_may_pass,
    logger=_say,
)


def _asked(path: str, request: Callable[[Any], T]) -> T:
    """Ask the store, and wait for it where it is away.

    Raises
    ------
    FileNotFoundError : there is no such object.
    StoreError : it stayed away, or refused.
    """
    client = _connected(path)
    store = str(client.meta.endpoint_url)
    lost = _Lost(store)
    try:
        found = request(client) if lost else _waiting(request)(client)
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        if _may_pass(error):
            lost.mark()
        else:
            lost.clear()
        raise _worded(path, store, _cause(error)) from error
    lost.clear()
    return cast(T, found)


def _worded(path: str, store: str, error: BaseException) -> Exception:
    """What a caller is told of an error."""
    status, code = _answer(error)
    if code == "NoSuchBucket":
        return StoreError(f"{path}: the store {store} has no such bucket; name one that is there")
    if status == 404:
        return FileNotFoundError(path)
    if _may_pass(error):
        return StoreError(f"{path}: the store {store} does not answer ({error}); run the same command when it does")
    return StoreError(f"{path}: the store {store} refuses ({error}); see to the credentials and their rights")


def _parted(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return bucket, key


class S3FileSystem:
    """`schemas.filesystem.FileSystem` of a bucket. Has no state, so that it can travel to workers."""

    def join(self, directory: str, *names: str) -> str:
        return "/".join([directory.rstrip("/"), *(name.lstrip("/") for name in names)])

    def open(self, path: str) -> BinaryIO:
        """A copy of the object on this machine's scratch, which is gone when it is closed."""
        bucket, key = _parted(path)
        file = tempfile.NamedTemporaryFile(prefix="awe-object-")  # noqa: SIM115
        try:
            _asked(path, partial(_fetch, bucket=bucket, key=key, file=cast(BinaryIO, file)))
        except BaseException:
            file.close()
            raise
        return cast(BinaryIO, file)

    def draft(self, directory: str) -> ScratchDraft:
        return ScratchDraft(_send)

    def put(self, path: str, content: bytes) -> None:
        bucket, key = _parted(path)
        _asked(path, lambda client: client.put_object(Bucket=bucket, Key=key, Body=content))

    def exists(self, path: str) -> bool:
        bucket, key = _parted(path)
        try:
            _asked(path, lambda client: client.head_object(Bucket=bucket, Key=key))
        except FileNotFoundError:
            return False
        return True

    def names(self, directory: str) -> list[str]:
        bucket, prefix = _parted(self.join(directory, ""))

        def listed(client: Any) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]

        return sorted(filter(None, _asked(directory, listed)))

    def delete(self, paths: Sequence[str]) -> None:
        buckets: dict[str, list[str]] = {}
        for bucket, key in map(_parted, paths):
            buckets.setdefault(bucket, []).append(key)
        for bucket, keys in buckets.items():
            for at in range(0, len(keys), _MOST_DELETED):
                _delete(bucket, keys[at : at + _MOST_DELETED])


def _fetch(client: Any, bucket: str, key: str, file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
    for piece in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
        file.write(piece)
    file.seek(0)


def _send(scratch: str, path: str) -> None:
    bucket, key = _parted(path)
    _asked(path, lambda client: client.upload_file(scratch, bucket, key, Config=_PIECES))


def _delete(bucket: str, keys: list[str]) -> None:
    """Remove objects of a bucket; the store counts one that is gone as removed."""
    wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
    path = f"s3://{bucket}/{keys[0]}"
    answer = _asked(path, lambda client: client.delete_objects(Bucket=bucket, Delete=wanted))
    for refused in answer.get("Errors", []):
        raise StoreError(
            f"s3://{bucket}/{refused['Key']}: not removed ({refused['Message']}); see to your rights there"
        )
