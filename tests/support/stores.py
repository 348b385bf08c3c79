"""A store under test: an S3 server, a bucket of the test's own, and questions to ask of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tests.support.content import Content


@dataclass(frozen=True)
class Store:
    """One bucket on one server, seen through a client that owes nothing to the package under test."""

    name: str
    endpoint_url: str
    client: Any
    bucket: str

    def put(self, key: str, body: bytes, **about: Any) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **about)

    def get(self, key: str) -> bytes:
        with self.client.get_object(Bucket=self.bucket, Key=key)["Body"] as body:
            return bytes(body.read())

    def head(self, key: str) -> dict[str, Any]:
        answer = dict(self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED"))
        # Names of metadata are header names, which Go's servers send with capitals.
        answer["Metadata"] = {name.lower(): value for name, value in answer["Metadata"].items()}
        return answer

    def sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        with self.client.get_object(Bucket=self.bucket, Key=key)["Body"] as body:
            while piece := body.read(1024 * 1024):
                digest.update(piece)
        return digest.hexdigest()

    def keys(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def uploads(self) -> list[str]:
        """Return the ids of multipart uploads neither completed nor aborted."""
        try:
            answer = self.client.list_multipart_uploads(Bucket=self.bucket)
        except self.client.exceptions.NoSuchUpload:
            return []  # how rclone says that this bucket never had one
        return [upload["UploadId"] for upload in answer.get("Uploads", [])]

    def assert_holds(self, key: str, content: Content) -> None:
        """Fail unless the key holds exactly this content and no upload is left behind."""
        assert self.head(key)["ContentLength"] == content.size
        assert self.sha256(key) == content.sha256()
        assert self.uploads() == []

    def assert_clean(self) -> None:
        """Fail if anything at all is visible or left behind."""
        assert self.keys() == []
        assert self.uploads() == []
