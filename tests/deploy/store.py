"""MinIO as an object store of this machine, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCESS_KEY, SECRET_KEY = "awe-tests", "not-a-secret-but-to-be-found-nowhere"
BUCKET = "awe"


class Store:
    """A server that can be stopped and started again with what it holds.

    Parameters
    ----------
    program : the file `minio`.
    directory : where it keeps its objects.
    port : on which it listens, on this machine only.
    """

    def __init__(self, program: Path, directory: Path, port: int) -> None:
        self._program, self._directory, self._port = program, directory, port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def flags(self) -> tuple[str, ...]:
        """What Beam has to be told; the credentials come from the environment."""
        return (f"--s3_endpoint_url={self.url}", "--s3_region_name=us-east-1")

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [self._program, "server", self._directory, f"--address=127.0.0.1:{self._port}", "--quiet"],
            env={
                **os.environ,
                "MINIO_ROOT_USER": ACCESS_KEY,
                "MINIO_ROOT_PASSWORD": SECRET_KEY,
                "MINIO_BROWSER": "off",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/minio/health/ready", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def holds(self, prefix: str) -> bool:
        """Whether there is an object below a prefix."""
        return self.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix, MaxKeys=1)["KeyCount"] > 0

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix, by the rest of its key."""
        client, found = self.client(), dict[str, bytes]()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for entry in page.get("Contents", []):
                body = client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
                found[entry["Key"].removeprefix(prefix)] = body
        return found
