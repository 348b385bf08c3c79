"""libcurl's result codes, translated in one place. Its texts are not quoted where they may hold a URL."""

from __future__ import annotations

import pycurl

from airflow_s3stream.exceptions import (
    ConfigError,
    S3StreamError,
    SourceDenied,
    SourceMisbehaved,
    SourceStalled,
    SourceTruncated,
    SourceUnavailable,
)
from airflow_s3stream.plan.names import redact_text

_TOO_LARGE = 100  # CURLE_TOO_LARGE, which pycurl has no name for

_BY_CODE: dict[int, tuple[type[S3StreamError], str]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: (SourceUnavailable, "the store's host name cannot be resolved"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (SourceUnavailable, "the proxy's host name cannot be resolved"),
    pycurl.E_COULDNT_CONNECT: (SourceUnavailable, "the store cannot be reached"),
    pycurl.E_PARTIAL_FILE: (SourceTruncated, "the body ended early"),
    pycurl.E_GOT_NOTHING: (SourceUnavailable, "the store closed the connection without an answer"),
    pycurl.E_RECV_ERROR: (SourceUnavailable, "the connection to the store broke"),
    pycurl.E_SEND_ERROR: (SourceUnavailable, "the connection to the store broke"),
    pycurl.E_SSL_CONNECT_ERROR: (SourceUnavailable, "the TLS handshake with the store failed"),
    pycurl.E_PEER_FAILED_VERIFICATION: (
        SourceDenied,
        "the store's TLS certificate was refused; verify may name a CA bundle",
    ),
    pycurl.E_SSL_CACERT_BADFILE: (ConfigError, "verify names a CA bundle that cannot be read"),
    pycurl.E_SSL_CERTPROBLEM: (ConfigError, "the client certificate cannot be used"),
    pycurl.E_FILESIZE_EXCEEDED: (SourceMisbehaved, "the store sent more bytes than were asked for"),
    _TOO_LARGE: (SourceMisbehaved, "the store's answer has a header that is too large"),
    pycurl.E_FTP_WEIRD_SERVER_REPLY: (SourceMisbehaved, "the store's answer is not HTTP"),
    pycurl.E_UNSUPPORTED_PROTOCOL: (SourceMisbehaved, "the store's answer is not HTTP"),
    pycurl.E_BAD_CONTENT_ENCODING: (SourceMisbehaved, "the store's answer has an encoding that nobody asked for"),
}


def translate(code: int, text: str, *, connected: bool) -> S3StreamError:
    """
    Say what a failed transfer means.

    :param code: ``CURLE_...``.
    :param text: libcurl's words for it.
    :param connected: whether a connection, with its TLS, had been made.
    """
    if code == pycurl.E_OPERATION_TIMEDOUT:
        if connected:
            return SourceStalled("the store sent less than 1 KiB per second for stall_timeout or read_timeout")
        return SourceUnavailable("the store did not accept a connection in time (connect_timeout)")
    kind, said = _BY_CODE.get(
        code, (SourceUnavailable, f"the transfer failed (libcurl error {code}: {redact_text(text)})")
    )
    return kind(said)
