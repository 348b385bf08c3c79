"""Tools that send a file to S3 in parts, and this project's command, which copies the same bytes from a URL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_s3stream.config import MiB
from benchmarks.peers import ACCESS_KEY, SECRET_KEY, environ, module_missing, program

PART = 5 * MiB
KEY = "key"
OURS = "s3stream"
CONNECTIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is to be sent where."""

    file: Path
    url: str
    """Has the bytes of ``file``."""
    endpoint: str
    bucket: str
    state: Path
    """Where ``s3stream --resume`` keeps its state."""
    resume: bool = False
    """Whether the tool is to go on where it was, if it can."""

    @property
    def target(self) -> str:
        return f"s3://{self.bucket}/{KEY}"

    def environ(self) -> Mapping[str, str]:
        return environ(self.file.parent)


@dataclass(frozen=True, slots=True)
class Tool:
    """One of them."""

    missing: Callable[[], str]
    """Tells what it lacks on this machine; empty when it can run."""
    command: Callable[[Upload], Sequence[str]]


def _s3stream(upload: Upload) -> Sequence[str]:
    command = [sys.executable, "-m", "airflow_s3stream.cli", "copy", upload.url, upload.target, "--quiet"]
    command += ["--endpoint-url", upload.endpoint, "--part-size", str(PART), "--connections", str(CONNECTIONS)]
    return [*command, *(["--resume", "--state", str(upload.state)] if upload.resume else [])]


def _s5cmd(upload: Upload) -> Sequence[str]:
    sizes = ["--part-size", str(PART // MiB), "--concurrency", str(CONNECTIONS)]
    return [
        program("s5cmd") or "s5cmd",
        "--endpoint-url",
        upload.endpoint,
        "cp",
        *sizes,
        str(upload.file),
        upload.target,
    ]


def _rclone(upload: Upload) -> Sequence[str]:
    s3 = ["--s3-provider", "Other", "--s3-endpoint", upload.endpoint, "--s3-region", "us-east-1"]
    s3 += ["--s3-access-key-id", ACCESS_KEY, "--s3-secret-access-key", SECRET_KEY, "--s3-no-check-bucket"]
    sizes = ["--s3-chunk-size", f"{PART // MiB}M", "--s3-upload-cutoff", f"{PART // MiB}M"]
    sizes += ["--s3-upload-concurrency", str(CONNECTIONS)]
    name = f":s3:{upload.bucket}/{KEY}"
    # An http proxy that is slow must not be taken for a file that is there already, nor be asked three times over.
    return [
        program("rclone") or "rclone",
        "copyto",
        str(upload.file),
        name,
        *s3,
        *sizes,
        "--config",
        "",
        "--retries",
        "1",
    ]


def _library(name: str) -> Callable[[Upload], Sequence[str]]:
    def command(upload: Upload) -> Sequence[str]:
        return [sys.executable, "-m", f"{__name__}", name, str(upload.file), upload.endpoint, upload.bucket]

    return command


def _boto3(file: Path, endpoint: str, bucket: str) -> None:
    import boto3
    from boto3.s3.transfer import TransferConfig

    sizes = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=CONNECTIONS)
    boto3.client("s3", endpoint_url=endpoint).upload_file(str(file), bucket, KEY, Config=sizes)


def _obstore(file: Path, endpoint: str, bucket: str) -> None:
    import obstore
    from obstore.store import S3Store

    store = S3Store(bucket, endpoint=endpoint, client_options={"allow_http": True})
    obstore.put(store, KEY, file, use_multipart=True, chunk_size=PART, max_concurrency=CONNECTIONS)


TOOLS: Mapping[str, Tool] = {
    OURS: Tool(lambda: "", _s3stream),
    "boto3": Tool(lambda: module_missing("boto3"), _library("boto3")),
    "s5cmd": Tool(lambda: "" if program("s5cmd") else "s5cmd not installed", _s5cmd),
    "rclone": Tool(lambda: "" if program("rclone") else "rclone not installed", _rclone),
    "obstore": Tool(lambda: module_missing("obstore"), _library("obstore")),
}

if __name__ == "__main__":
    {"boto3": _boto3, "obstore": _obstore}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
