"""How a source is connected to: through a gate, and with the CA bundle read once, not once for each connection."""

from __future__ import annotations

import os
import ssl
import threading
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util.ssl_ import create_urllib3_context

from airflow_s3stream.engine.gate import pools

if TYPE_CHECKING:
    from airflow_s3stream.engine.gate import Gate

# Parsing a bundle of the usual size takes milliseconds of CPU and some memory each time, and a transfer opens many
# connections at once, at its beginning. `python -m benchmarks memory` shows it over https.


class SharedTlsAdapter(HTTPAdapter):
    """An adapter whose connections go through one gate and share one TLS context."""

    def __init__(self, *, connections: int, gate: Gate) -> None:
        self._gate = gate
        self._contexts: dict[tuple[bool | str, Any], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        # One connection more than parts: the next range is opened while the last one's is given back.
        super().__init__(pool_connections=4, pool_maxsize=connections + 1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Have every connection without a proxy opened by the gate; a proxy's own address is not its business."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = pools(self._gate)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Ask the gate before a proxy is."""
        if select_proxy(request.url, proxies):
            self._gate.check_proxied(request.url)
        return super().get_connection_with_tls_context(request, verify, proxies, cert)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Put the shared context where requests would put the bundle's path."""
        host: Any
        pool: Any
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https" and verify is not False:
            pool.pop("ca_certs", None)
            pool.pop("ca_cert_dir", None)
            pool["ssl_context"] = self._context(verify, cert)
        return host, pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Keep requests from giving the pool the path again, for then each connection would read it."""
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if url.lower().startswith("https") and verify is not False:
            conn.ca_certs = conn.ca_cert_dir = None

    def _context(self, verify: bool | str, cert: Any) -> ssl.SSLContext:
        # One for each client certificate: urllib3 loads it into the context, and a host that the source redirects to
        # must not be shown it.
        key = (verify, tuple(cert) if isinstance(cert, list) else cert)
        with self._lock:
            if key not in self._contexts:
                self._contexts[key] = self._new_context(DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify))
            return self._contexts[key]

    def _new_context(self, bundle: str) -> ssl.SSLContext:
        context = create_urllib3_context()
        is_folder = os.path.isdir(bundle)
        context.load_verify_locations(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
        return context


class _ReadsOnce(ssl.SSLContext):
    """A context that remembers which bundles it has read."""

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        with _reading:
            read = self.__dict__.setdefault("_read", set())
            if (cafile, capath, cadata) not in read:
                super().load_verify_locations(cafile, capath, cadata)
                read.add((cafile, capath, cadata))


_reading = threading.Lock()


def read_bundle_once(client: Any) -> bool:
    """
    Keep a boto3 client from reading its CA bundle again for every connection.

    botocore shares one TLS context among its connections and yet has each of them load the bundle into it, and has no
    public way to stop that. Where its insides have changed, this changes nothing and returns False.
    """
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    manager = getattr(session, "_manager", None)
    context = getattr(manager, "connection_pool_kw", {}).get("ssl_context")
    if type(context) not in (ssl.SSLContext, _ReadsOnce):
        return False
    context.__class__ = _ReadsOnce
    return True
