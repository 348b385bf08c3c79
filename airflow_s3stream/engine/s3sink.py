"""An S3 key as a Sink. Every method is one request, through boto3."""

from __future__ import annotations

import shlex
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from botocore.exceptions import ClientError

from airflow_s3stream.config import ObjectOptions
from airflow_s3stream.engine.checksums import crc64nvme_text, crc64nvme_value
from airflow_s3stream.engine.framing import RequestBody
from airflow_s3stream.engine.protocols import (
    CompletedPart,
    ListedPart,
    ListedUpload,
    ObjectHeaders,
    PartBody,
    StoredObject,
    Upload,
)
from airflow_s3stream.engine.s3errors import translated
from airflow_s3stream.engine.s3parts import send_parts_as_given
from airflow_s3stream.engine.tls import read_bundle_once
from airflow_s3stream.exceptions import (
    IntegrityError,
    SinkConflict,
    SinkError,
    SinkMissing,
    SinkRejected,
    UploadVanished,
)
from airflow_s3stream.plan.names import parse_s3_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client


class S3Sink:
    """
    One key of one bucket.

    :param client: from :func:`~airflow_s3stream.engine.s3client.new_client` or with the same settings.
    :param options: what is stored with the object.
    """

    def __init__(self, client: S3Client, bucket: str, key: str, *, options: ObjectOptions | None = None) -> None:
        self._client = client
        self._where: dict[str, Any] = {"Bucket": bucket, "Key": key}
        self._options = options or ObjectOptions()
        send_parts_as_given(client)
        read_bundle_once(client)

    @property
    def name(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self._where['Bucket']}/{self._where['Key']}"

    def head(self) -> StoredObject | None:
        """Describe what is at the key; None when nothing is."""
        with translated("HeadObject", self.name):
            try:
                answer = self._client.head_object(**self._where, ChecksumMode="ENABLED")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise
        return _stored(answer)

    def put(self, body: bytes | bytearray, crc: int, headers: ObjectHeaders, *, replaces: str | None) -> StoredObject:
        """Store a small object in one request."""
        condition = _condition(replaces)
        try:
            return self._put(body, headers, ChecksumCRC64NVME=crc64nvme_text(crc), **condition)
        except SinkRejected as error:  # perhaps of the checksum: some stores refuse what they do not know
            if not condition or "NotImplemented" not in error.message:
                return self._put(body, headers, **condition)
            # Or of the condition; what was there when we looked is all that is known.
            return replace(self._put(body, headers), conditional=False)
        except SinkConflict as error:
            # Another request for the key was under way; this one may be made again (API Reference, PutObject).
            error.retryable = "ConditionalRequestConflict" in error.message
            raise

    def _put(self, body: bytes | bytearray, headers: ObjectHeaders, **extra: Any) -> StoredObject:
        with translated("PutObject", self.name), _conflicts(extra):
            answer = self._client.put_object(
                **self._where, **self._headers(headers), **extra, Body=cast("Any", body), ContentLength=len(body)
            )
        return _stored(answer)

    def begin(self, headers: ObjectHeaders) -> Upload:
        """Begin a multipart upload with a full-object CRC-64/NVME; without, on a store that knows none."""
        try:
            answer = self._create(headers, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
        except SinkRejected:
            answer = self._create(headers)
        return Upload(upload_id=answer["UploadId"], checksums=answer.get("ChecksumAlgorithm") == "CRC64NVME")

    def _create(self, headers: ObjectHeaders, **checksum: Any) -> Any:
        with translated("CreateMultipartUpload", self.name):
            return self._client.create_multipart_upload(**self._where, **self._headers(headers), **checksum)

    def put_part(self, upload: Upload, number: int, body: PartBody, *, ask_first: bool = False) -> CompletedPart:
        """
        Store one part.

        A store that refuses a part while its bytes still come closes the connection, and its reason may be lost. So a
        part that failed is announced with ``Expect: 100-continue``, and its bytes wait for the store's word.

        A store that said it keeps checksums gets the CRC-64/NVME as a trailer and refuses bytes that do not match it.
        Any other gets plain bytes: it could not check a trailer, and might keep the framing as content.
        """
        request = RequestBody(body, trailer=upload.checksums, ask_first=ask_first)
        with translated("UploadPart", self.name, failure=lambda: request.failure):
            answer = self._client.upload_part(
                **self._where, UploadId=upload.upload_id, PartNumber=number, Body=cast("Any", request)
            )
            told, ours = answer.get("ChecksumCRC64NVME"), crc64nvme_text(body.crc)
            if told and told != ours:
                raise IntegrityError(f"part {number}: the store has CRC64NVME {told}, sent was {ours}", retryable=True)
            etag = answer.get("ETag", "")
            if not etag:
                raise SinkError(f"part {number}: the store's answer has no ETag", retryable=True)
            if body.md5 and etag.strip('"') != body.md5.hex():
                raise IntegrityError(
                    f"part {number}: strict is set, this store keeps no checksums, and its ETag {etag} is not the MD5 "
                    "of the bytes sent",
                    retryable=True,
                )
        return CompletedPart(number=number, size=body.size, etag=etag, crc=body.crc, md5=body.md5)

    def complete(
        self, upload: Upload, parts: list[CompletedPart], *, size: int, crc: int, replaces: str | None
    ) -> StoredObject:
        """Publish the object, on condition of its size, its checksum and what is at the key."""
        listed: list[dict[str, Any]] = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        extra: dict[str, Any] = {}
        if upload.checksums:
            for item, part in zip(listed, parts, strict=True):
                item["ChecksumCRC64NVME"] = crc64nvme_text(part.crc)
            extra.update(ChecksumCRC64NVME=crc64nvme_text(crc), ChecksumType="FULL_OBJECT", MpuObjectSize=size)
        condition = _condition(replaces)
        try:
            return self._complete(upload, listed, {**extra, **condition})
        except SinkRejected as error:
            if not condition or "NotImplemented" not in error.message:
                raise
            # A store without conditions; what was there when we looked is all that is known.
            return replace(self._complete(upload, listed, extra), conditional=False)

    def _complete(self, upload: Upload, listed: list[dict[str, Any]], extra: dict[str, Any]) -> StoredObject:
        with translated("CompleteMultipartUpload", self.name), _conflicts(extra):
            answer = self._client.complete_multipart_upload(
                **self._where,
                **extra,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": cast("Any", listed)},
            )
        return _stored(answer)

    def abort(self, upload: Upload) -> None:
        """Remove the upload and its parts; one that is gone already is fine."""
        with suppress(UploadVanished, SinkMissing), translated("AbortMultipartUpload", self.name):
            self._client.abort_multipart_upload(**self._where, UploadId=upload.upload_id)

    def list_parts(self, upload: Upload) -> list[ListedPart]:
        """Name all parts, asking for page after page."""
        found: list[ListedPart] = []
        with translated("ListParts", self.name):
            pages = self._client.get_paginator("list_parts").paginate(**self._where, UploadId=upload.upload_id)
            for page in pages:
                found += [
                    ListedPart(
                        number=part["PartNumber"],
                        size=part["Size"],
                        etag=part.get("ETag", ""),
                        crc=crc64nvme_value(part.get("ChecksumCRC64NVME")),
                    )
                    for part in page.get("Parts", [])
                ]
        return found

    def list_uploads(self) -> list[ListedUpload]:
        """Name the uploads under way to this key; on the first page, for there are never many to one key."""
        bucket, key = self._where["Bucket"], self._where["Key"]
        with translated("ListMultipartUploads", self.name):
            try:
                answer: Any = self._client.list_multipart_uploads(Bucket=bucket, Prefix=key)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return []  # how some stores say that the bucket has none
                raise
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(said) if said else datetime.now(UTC)
        return [
            ListedUpload(
                upload_id=upload["UploadId"],
                age=(now - upload["Initiated"]).total_seconds(),
                checksums=(upload.get("ChecksumAlgorithm"), upload.get("ChecksumType")) == ("CRC64NVME", "FULL_OBJECT"),
            )
            for upload in answer.get("Uploads", [])
            if upload["Key"] == key
        ]

    def elsewhere(self, name: str) -> S3Sink:
        """Give the sink of another key, with the same client."""
        bucket, key = parse_s3_uri(name)
        return S3Sink(self._client, bucket, key, options=self._options)

    def how_to_abort(self, upload: Upload) -> str:
        """Tell a person the command that removes the upload."""
        words = [
            "aws",
            "s3api",
            "abort-multipart-upload",
            "--bucket",
            self._where["Bucket"],
            "--key",
            self._where["Key"],
        ]
        words += ["--upload-id", upload.upload_id, "--endpoint-url", self._client.meta.endpoint_url]
        return shlex.join(words)

    def _headers(self, headers: ObjectHeaders) -> dict[str, Any]:
        options = self._options
        given = {
            "ContentType": options.content_type or headers.content_type,
            "ContentEncoding": headers.content_encoding,
            "Metadata": {**options.metadata, **headers.metadata},
            "Tagging": urlencode(options.tags) or None,
            "StorageClass": options.storage_class,
            "ServerSideEncryption": options.server_side_encryption,
            "SSEKMSKeyId": options.kms_key_id,
        }
        return {name: value for name, value in given.items() if value}


def _condition(replaces: str | None) -> dict[str, Any]:
    """Give the condition on what is at the key (Amazon S3 User Guide, "Conditional writes")."""
    if replaces is None:
        return {}
    return {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}


@contextmanager
def _conflicts(request: dict[str, Any]) -> Iterator[None]:
    """Say what a 404 to If-Match means: what was to be replaced is not there any more."""
    try:
        yield
    except ClientError as error:
        if "IfMatch" in request and error.response.get("Error", {}).get("Code") == "NoSuchKey":
            raise SinkConflict("the object that was to be replaced is gone: another writer removed it") from error
        raise


def _stored(answer: Any) -> StoredObject:
    checksum = answer.get("ChecksumCRC64NVME")
    if answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        checksum = None
    return StoredObject(
        etag=answer.get("ETag", ""),
        version_id=answer.get("VersionId"),
        size=answer.get("ContentLength"),
        checksum=checksum,
        # Names of metadata are header names, and some stores change their case.
        metadata={name.lower(): value for name, value in answer["Metadata"].items()} if "Metadata" in answer else None,
    )
