"""The server under the benchmark: one started for a scenario, or one that runs already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import certificate, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

# S3 and most origins choose AES-128, OpenSSL's default is AES-256; Python 3.11 cannot set TLS 1.3's suites itself.
_OPENSSL_CONF = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = suites
[suites]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The server's link model; 0: none."""

    latency: float = 0.0
    """Seconds."""
    conn_mbps: float = 0.0
    total_mbps: float = 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What the server has of an object."""

    size: int
    crc64nvme: str | None
    """Base64; taken by the server itself when it checks, else None."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the origin and the S3 endpoint are."""

    http: str
    https: str | None
    ca: Path | None
    own: bool
    """Started by this benchmark, so exact: it decodes S3's framing, and its CPU can be seen."""
    pid: int | None = None

    def base(self, *, tls: bool) -> str:
        if not tls:
            return self.http
        if not self.https:
            raise SystemExit("this scenario needs --tls-base-url and --ca-file beside --base-url")
        return self.https

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.http}/_stats", timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def reset(self) -> None:
        urllib.request.urlopen(f"{self.http}/_reset", timeout=10).close()

    def stored(self, key: str) -> Stored | None:
        """Ask what was stored; None if nothing was."""
        request = urllib.request.Request(f"{self.http}/bench/{key}", method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Stored(int(answer.headers["Content-Length"]), answer.headers.get("x-bench-crc64nvme"))
        except urllib.error.HTTPError:
            return None

    def cpu_seconds(self) -> float:
        """CPU seconds that the server's processes have used; 0 for a server that is not ours."""
        return measure.tree_cpu_seconds(self.pid) if self.pid else 0.0


@contextmanager
def started(link: LinkOptions, *, check: bool = False) -> Iterator[Endpoint]:
    """Run a server of our own, as processes of its own, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        certificates = certificate.make(Path(folder))
        openssl_conf = Path(folder) / "openssl.cnf"
        openssl_conf.write_text(_OPENSSL_CONF)
        command = [sys.executable, "-m", "benchmarks.server"]
        command += ["--cert", str(certificates.chain), "--key", str(certificates.key)]
        command += ["--latency", str(link.latency), "--conn-mbps", str(link.conn_mbps)]
        command += ["--total-mbps", str(link.total_mbps), *(["--check"] if check else [])]
        environ = {**os.environ, "OPENSSL_CONF": str(openssl_conf)}
        server = subprocess.Popen(
            command, cwd=measure.ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield _ready(server, certificates.ca)
        finally:
            server.communicate()  # Closes its standard input, which ends it.


def _ready(server: subprocess.Popen[str], ca: Path) -> Endpoint:
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise SystemExit("the benchmark's server did not start; see the message above")
    ports = json.loads(line)
    return Endpoint(
        f"http://127.0.0.1:{ports['http']}", f"https://127.0.0.1:{ports['https']}", ca, own=True, pid=server.pid
    )
