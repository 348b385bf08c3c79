"""The HTTP libraries' exceptions, translated in one place."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests.exceptions as rq
import urllib3.exceptions as u3

from airflow_s3stream.exceptions import (
    ConfigError,
    S3StreamError,
    SourceDenied,
    SourceMisbehaved,
    SourceMissing,
    SourceTruncated,
    SourceUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def translated(op: str, target: str, on_error: Callable[[], None] | None = None) -> Iterator[None]:
    """Turn what the HTTP libraries raise inside into this package's errors, and name the operation in them."""
    try:
        yield
    except S3StreamError as error:
        if on_error:
            on_error()
        error.op, error.target = error.op or op, error.target or target
        raise
    except (rq.RequestException, u3.HTTPError, http.client.HTTPException, OSError, ValueError) as exc:
        if on_error:
            on_error()
        found = translate(exc)
        found.op, found.target = op, target
        # Without its cause: the libraries quote the whole URL, secrets and all, and tracebacks print what they say.
        raise found from None


def translate(exc: BaseException) -> S3StreamError:
    """Say what a library's exception means, the most specific cause first. Never quotes a URL."""
    if isinstance(exc, rq.InvalidURL | u3.LocationParseError):
        return ConfigError("url cannot be sent: its host is not one that DNS knows how to write")
    chain = list(_causes(exc))
    for cause in chain:
        found = _by_root(cause)
        if found:
            return found
    if isinstance(exc, rq.MissingSchema | rq.InvalidSchema | rq.InvalidHeader):
        return ConfigError(f"url or headers cannot be sent: {type(exc).__name__}")
    if type(exc) is ValueError:  # http.client's, of a header that got past requests; it quotes the value
        return ConfigError("url or headers cannot be sent: ValueError")
    if any(isinstance(c, rq.ProxyError | u3.ProxyError) for c in chain):
        return SourceUnavailable("the HTTP proxy refused or broke the connection")
    if any(isinstance(c, rq.ConnectTimeout | u3.ConnectTimeoutError) for c in chain):
        return SourceUnavailable("the source did not accept a connection in time (connect_timeout)")
    if any(isinstance(c, rq.ReadTimeout | u3.ReadTimeoutError | TimeoutError) for c in chain):
        return SourceUnavailable("the source sent nothing for read_timeout")
    if any(isinstance(c, http.client.IncompleteRead | u3.IncompleteRead | u3.InvalidChunkLength) for c in chain):
        return SourceTruncated("the source's body broke off")
    return SourceUnavailable(f"the connection to the source failed: {_word(chain[-1])}")


def _by_root(cause: BaseException) -> S3StreamError | None:
    """Say what a cause means that is the same whatever it is wrapped in; None for others."""
    text = str(cause)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SourceDenied(f"the source's TLS certificate was refused: {cause.verify_message or cause.reason}")
    if isinstance(cause, ssl.SSLError):
        return SourceUnavailable(f"TLS with the source failed: {cause.reason or 'connection closed'}")
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return SourceUnavailable("the source's host name could not be resolved just now")
        return SourceMissing("the source's host was not found")
    if isinstance(cause, UnicodeError):
        return ConfigError("headers must be text that HTTP can carry (Latin-1)")
    if "Tunnel connection failed: 407" in text:
        return SourceDenied("the HTTP proxy wants credentials")
    if isinstance(cause, ConnectionRefusedError):
        return SourceUnavailable("the source's host refused the connection")
    return _bad_answer(cause, text)


def _bad_answer(cause: BaseException, text: str) -> S3StreamError | None:
    if isinstance(cause, http.client.LineTooLong) or "got more than" in text:
        return SourceMisbehaved("the source sent more headers than HTTP clients accept")
    if isinstance(cause, u3.InvalidHeader):
        return SourceMisbehaved("the source sent headers that contradict each other")
    if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, http.client.RemoteDisconnected):
        return SourceMisbehaved("the source does not speak HTTP/1.1")
    return None


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Walk to the root: explicit causes, contexts, and the exceptions that requests and urllib3 keep as arguments."""
    seen: set[int] = set()
    pending: list[BaseException] = [exc]
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
        pending.extend(item for item in inner if isinstance(item, BaseException))


def _word(cause: BaseException) -> str:
    if isinstance(cause, ConnectionResetError):
        return "connection reset"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(cause).__name__
