"""The reader for what libcurl cannot ask for: boto3 on a few threads, behind the same protocol."""

from __future__ import annotations

import threading
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError, FlexibleChecksumError

from airflow_s3stream.config import KiB
from airflow_s3stream.engine.mailbox import Mailbox
from airflow_s3stream.engine.reader import ANSWER_LIMIT, ATTRIBUTES
from airflow_s3stream.engine.s3errors import translate
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import (
    IntegrityError,
    LocalError,
    S3StreamError,
    SinkDenied,
    SourceDenied,
    SourceMisbehaved,
    SourceTruncated,
    SourceUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.reader import Get

BOTO3_CONNECTIONS = 16
"""GETs under way at once at most; a client for it needs a pool of as many."""
_CHUNK = 256 * KiB
_RAW = ("ListObjectsV2", "GetObjectAttributes")  # of which what the store sent is kept as it is
_CANCELLED, _PAUSED = object(), object()


class Boto3Reader:
    """
    A :class:`~airflow_s3stream.engine.reader.Reader` over boto3, for any key and any store that boto3 can talk to.

    :param notify: called from a thread of its own whenever a GET has ended.
    """

    def __init__(self, client: S3Client, bucket: str, *, notify: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._bucket = bucket
        self._notify = notify
        self._asked: SimpleQueue[Get | None] = SimpleQueue()
        self._ended: Mailbox[Get | None] = Mailbox()
        self._threads = 0
        self._open: set[Get] = set()
        self._closed = False
        self._moved = threading.Condition()  # when a GET is resumed or dropped
        self._local = threading.local()
        for operation in _RAW:
            client.meta.events.register(f"before-parse.s3.{operation}", self._keep_page)

    def submit(self, get: Get) -> None:
        """Begin a GET."""
        self._open.add(get)
        if self._threads < min(len(self._open), BOTO3_CONNECTIONS):
            self._threads += 1
            threading.Thread(target=self._work, name=f"s3stream-boto3-{self._threads}", daemon=True).start()
        self._asked.put(get)

    def poll(self, timeout: float) -> list[Get]:
        """Give those that ended."""
        ended: list[Get] = []
        try:
            got = self._ended.get(timeout=timeout) if timeout > 0 else self._ended.get_nowait()
            while True:
                if got is not None:
                    self._open.discard(got)
                    if got.line is not _CANCELLED:
                        ended.append(got)
                got = self._ended.get_nowait()
        except Empty:
            return ended

    def cancel(self, get: Get) -> None:
        """Forget a GET; its thread ends it in its own time."""
        with self._moved:
            get.line = _CANCELLED
            self._moved.notify_all()

    def pause(self, get: Get) -> None:
        """Read no more of it after the piece at hand."""
        if get.line is None:
            get.line = _PAUSED

    def resume(self, get: Get) -> None:
        """Read on."""
        with self._moved:
            if get.line is _PAUSED:
                get.line = None
                self._moved.notify_all()

    def wake(self) -> None:
        """Make ``poll`` return."""
        self._ended.put(None)

    def close(self) -> None:
        """Let the threads end, after the piece of a body that each is waiting for. More than once does no harm."""
        if self._closed:
            return
        self._closed = True
        for get in self._open:
            self.cancel(get)
        for _ in range(self._threads):
            self._asked.put(None)
        for operation in _RAW:
            self._client.meta.events.unregister(f"before-parse.s3.{operation}", self._keep_page)

    def _work(self) -> None:
        while (get := self._asked.get()) is not None:
            if get.line is not _CANCELLED:
                self._run(get)
            self._ended.put(get)
            self._notify()

    def _run(self, get: Get) -> None:
        try:
            if get.key is None:
                self._list(get)
            else:
                self._read(get, get.key)
        except ClientError as error:
            _take_refusal(get, error)
        except FlexibleChecksumError:
            get.error = IntegrityError("the body differs from the checksum sent with it", retryable=True)
        except S3StreamError as error:
            get.error = error
        except Exception as error:  # noqa: BLE001 - the one who asked gets it
            get.error = _as_source(error)

    def _read(self, get: Get, key: str) -> None:
        if get.query == ATTRIBUTES:
            self._attributes(get, key)
            return
        asked: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "ChecksumMode": "ENABLED"}
        if get.etag:
            asked["IfMatch"] = f'"{get.etag}"'
        if get.span:
            asked["Range"] = f"bytes={get.span[0]}-{get.span[1] - 1}"
        if get.head:
            _take_head(get, self._client.head_object(**asked))
            return
        answer = self._client.get_object(**asked)
        _take_head(get, answer)
        with closing(answer["Body"]) as body:
            self._take_body(get, body)

    def _take_body(self, get: Get, body: Any) -> None:
        if get.begin is not None:
            get.error = get.begin(get)
        size = 0
        while get.error is None and (chunk := body.read(_CHUNK)) and get.line is not _CANCELLED:
            size += len(chunk)
            if size > max(get.limit, ANSWER_LIMIT):
                get.error = SourceMisbehaved("the store sent more bytes than were asked for")
            elif get.write is None:
                get.body.append(chunk)
            elif get.write([chunk]):
                return
            with self._moved:
                while get.line is _PAUSED:
                    self._moved.wait(POLL)

    def _list(self, get: Get) -> None:
        names = {"prefix": "Prefix", "start-after": "StartAfter", "max-keys": "MaxKeys", "delimiter": "Delimiter",
                 "continuation-token": "ContinuationToken", "encoding-type": "EncodingType"}  # fmt: skip
        asked: dict[str, Any] = {
            names[name]: int(value) if name == "max-keys" else value
            for name, value in parse_qsl(get.query, keep_blank_values=True)
            if name in names
        }
        answer = self._client.list_objects_v2(Bucket=self._bucket, **asked)
        _take_head(get, answer)
        get.body = [self._local.page]

    def _attributes(self, get: Get, key: str) -> None:
        names = {"x-amz-max-parts": "MaxParts", "x-amz-part-number-marker": "PartNumberMarker"}
        fields = dict(line.split(": ") for line in get.fields)
        asked: Any = {names[name]: int(value) for name, value in fields.items() if name in names}
        wanted: Any = [fields["x-amz-object-attributes"]]
        answer = self._client.get_object_attributes(Bucket=self._bucket, Key=key, ObjectAttributes=wanted, **asked)
        _take_head(get, answer)
        get.body = [self._local.page]

    def _keep_page(self, response_dict: dict[str, Any], **_: Any) -> None:
        # What the store sent, for one parser reads the pages of both readers.
        self._local.page = response_dict["body"]


def _take_head(get: Get, answer: Any) -> None:
    meta = answer["ResponseMetadata"]
    get.status = int(meta["HTTPStatusCode"])
    get.head_lines = [
        f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in meta["HTTPHeaders"].items()
    ]


def _take_refusal(get: Get, error: ClientError) -> None:
    """Put S3's answer back into the words in which the other reader gets it."""
    _take_head(get, error.response)
    said = error.response.get("Error", {})
    code, message = escape(str(said.get("Code", ""))), escape(str(said.get("Message", "")))
    if not code.isdigit():  # for a HEAD botocore makes up a code from the status
        get.body = [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]


def _as_source(error: Exception) -> S3StreamError:
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return LocalError(f"the body could not be written: {error}")
    found = translate(error)
    if isinstance(found, SinkDenied):
        return SourceDenied(found.message)
    if type(error).__name__ in ("IncompleteReadError", "ResponseStreamingError"):
        return SourceTruncated("the body ended early")
    return SourceUnavailable(found.message if found else f"the read failed: {type(error).__name__}")
