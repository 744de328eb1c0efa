"""An S3 server on this machine, and what is put there for the tests to read."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SECRET = "NeverToBeSeen/4q7"


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own for a test."""

    url: str
    system: Any  # s3fs, asked without our own code

    @property
    def name(self) -> str:
        return self.url.removeprefix("s3://")

    def upload(self, local: Path, name: str) -> str:
        """Put a file or folder there and return its URL."""
        self.system.put(str(local), f"{self.name}/{name}", recursive=local.is_dir())
        return f"{self.url}/{name}"

    def files(self, folder: str = "") -> dict[str, bytes]:
        """The content of everything below a folder, by the name in there."""
        self.system.invalidate_cache()
        root = f"{self.name}/{folder}".rstrip("/")
        return {key.removeprefix(root + "/"): self.system.cat_file(key) for key in self.system.find(root)}


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an S3 server; fsspec finds it, and the keys, in the environment as anywhere else."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield address
    running.stop()


@pytest.fixture
def bucket(server: str) -> Bucket:
    import fsspec

    system = fsspec.filesystem("s3")
    name = "test-" + secrets.token_hex(6)
    system.mkdir(name)
    return Bucket(f"s3://{name}", system)
