"""A server that enforces IAM, users of it with a policy each, and the policies that the documentation shows."""

from __future__ import annotations

import itertools
import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from airflow_s3stream.engine.s3client import transfer_config
from tests.support.servers import REGION, REPOSITORY, Moto
from tests.support.transfers import PATIENT

DOCUMENT = REPOSITORY / "docs" / "iam.md"
BUCKET, PREFIX = "my-bucket", "incoming/"
"""As the document calls them, so that its policies hold here word for word."""
_NOTHING = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}  # a policy must not be empty
_NUMBERS = itertools.count(1)
_PLAIN = Config(retries={"total_max_attempts": 1}, request_checksum_calculation="when_required")


@dataclass(frozen=True)
class Documented:
    """One operation's section."""

    title: str
    policies: list[dict[str, Any]]
    without: dict[str, str]
    """What the table says of each action that is taken out."""

    @property
    def policy(self) -> dict[str, Any]:
        (policy,) = self.policies
        return policy

    def fails_with(self, action: str) -> str | None:
        """Name the error that the table says; None where the operation works all the same."""
        named = re.match(r"`(\w+)`", self.without[action])
        return named[1] if named else None


def documented() -> dict[str, Documented]:
    """Read the document's sections, by title."""
    sections = {}
    for text in DOCUMENT.read_text().split("\n## ")[1:]:
        title, _, rest = text.partition("\n")
        policies = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", rest, re.DOTALL)]
        rows = re.findall(r"^\| `([a-z0-9]+:\w+)` \|[^|\n]*\| ([^|\n]*) \|$", rest, re.MULTILINE)
        sections[title] = Documented(title, policies, dict(rows))
    return sections


def actions_of(policy: dict[str, Any]) -> set[str]:
    return {action for statement in policy["Statement"] for action in _listed(statement["Action"])}


def without(policy: dict[str, Any], action: str) -> dict[str, Any]:
    """Take an action out of a policy."""
    kept = [
        {**statement, "Action": [each for each in _listed(statement["Action"]) if each != action]}
        for statement in policy["Statement"]
    ]
    left = [statement for statement in kept if statement["Action"]]
    return {**policy, "Statement": left or [_NOTHING]}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


class Guarded:
    """moto with IAM switched on: whoever asks is a user, and may do what the user's policy says."""

    def __init__(self, server: Moto) -> None:
        self.endpoint_url = server.endpoint_url
        self._root = boto3.session.Session(aws_access_key_id="r", aws_secret_access_key="r", region_name=REGION)
        self._iam: Any = self._client(self._root, "iam")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        owner = self._session(everything)
        request = urllib.request.Request(
            f"{self.endpoint_url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        self._iam = self._client(owner, "iam")
        self.store: Any = self._client(owner, "s3")
        """A client that may do everything."""
        self.store.create_bucket(Bucket=BUCKET)

    def _client(self, session: boto3.session.Session, service: Any) -> Any:
        return session.client(service, endpoint_url=self.endpoint_url, config=_PLAIN)

    def _session(self, policy: dict[str, Any]) -> boto3.session.Session:
        name = f"user-{next(_NUMBERS)}"
        self._iam.create_user(UserName=name)
        self._iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = self._iam.create_access_key(UserName=name)["AccessKey"]
        return boto3.session.Session(
            aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"], region_name=REGION
        )

    def as_user(self, policy: dict[str, Any]) -> Any:
        """Give a client as the package makes them, of a new user with this policy."""
        config = transfer_config(None, connections=4, timeouts=PATIENT)
        return self._session(policy).client("s3", endpoint_url=self.endpoint_url, config=config)

    def uploads(self) -> list[str]:
        return [upload["UploadId"] for upload in self.store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]

    def tidy(self) -> None:
        """Abort what a test has left."""
        for upload in self.store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            self.store.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])


@contextmanager
def guarded(folder: Path) -> Iterator[Guarded]:
    """Run one."""
    with Moto(folder) as server:
        yield Guarded(server)
