"""Both readers as one: libcurl for all it can ask for, boto3 for the rest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from airflow_s3stream.engine.address import find_address
from airflow_s3stream.engine.boto3reader import Boto3Reader
from airflow_s3stream.engine.curlcrew import CurlCrew
from airflow_s3stream.engine.curlreader import CurlReader, signable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.config import Timeouts
    from airflow_s3stream.engine.reader import Get

_ELSEWHERE = (
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
)


class Readers:
    """
    Reads from one bucket, by whichever reader can.

    :param threads: that bodies are taken on; 1: on the one that calls :meth:`poll`.
    :raises S3StreamError: no credentials, or a bucket name that cannot be.
    """

    def __init__(
        self, client: S3Client, bucket: str, *, connections: int, timeouts: Timeouts, threads: int = 1
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._address = find_address(client, bucket)
        self.obstacle = self._address.obstacle
        """Why libcurl cannot be used at all; "" if it can."""
        self._curl: CurlReader | CurlCrew | None = None
        if not self.obstacle and threads > 1:
            self._curl = CurlCrew(self._address, connections=connections, timeouts=timeouts, threads=threads)
        elif not self.obstacle:
            self._curl = CurlReader(self._address, connections=connections, timeouts=timeouts)
        self._boto3: Boto3Reader | None = None
        self.moves = 0
        """Addresses that were left so far: 0 or 1."""

    def submit(self, get: Get) -> None:
        """Begin a GET."""
        self._reader_of(get).submit(get)

    def by_boto3(self, key: str) -> bool:
        """Say whether this key goes through boto3."""
        return self._curl is None or not signable(key)

    def poll(self, timeout: float) -> list[Get]:
        """Give those that ended."""
        if self._curl is None:
            return self._through_boto3().poll(timeout)
        ended = self._curl.poll(timeout)
        if self._boto3 is not None:
            ended += self._boto3.poll(0)
        return ended

    def wake(self) -> None:
        """Make ``poll`` return. Any thread."""
        if self._curl is not None:
            self._curl.wake()
        elif self._boto3 is not None:
            self._boto3.wake()

    def cancel(self, get: Get) -> None:
        """Drop a GET that is under way."""
        self._reader_of(get).cancel(get)

    def pause(self, get: Get) -> None:
        """Take no more of its body for now."""
        self._reader_of(get).pause(get)

    def resume(self, get: Get) -> None:
        """Go on with it."""
        self._reader_of(get).resume(get)

    def close(self) -> None:
        """Drop everything under way."""
        if self._curl is not None:
            self._curl.close()
        if self._boto3 is not None:
            self._boto3.close()

    def relocated(self, code: str, asked: int) -> bool:
        """
        Find the bucket where a store says that it lives elsewhere; False if that was tried, or is not what it says.

        boto3 knows how to follow such an answer, and remembers.

        :param asked: ``moves`` when the request was sent; what went to an old address is only to be sent again.
        """
        if code not in _ELSEWHERE or self._curl is None:
            return False
        if self.moves:
            return asked < self.moves
        # RecursionError: botocore follows redirects without end.
        with suppress(ClientError, BotoCoreError, RecursionError):
            self._client.head_bucket(Bucket=self._bucket)
        found = find_address(self._client, self._bucket)
        if found.obstacle or (found.base, found.region) == (self._address.base, self._address.region):
            return False
        self.moves += 1
        self._address = found
        self._curl.move(found)
        return True

    def renew_credentials(self) -> None:
        """Ask boto3 for new credentials, since the store says that these have expired."""
        self._address.credentials.look(now=True)

    def _reader_of(self, get: Get) -> CurlReader | CurlCrew | Boto3Reader:
        if self._curl is not None and (get.key is None or signable(get.key)):
            return self._curl
        return self._through_boto3()

    def _through_boto3(self) -> Boto3Reader:
        if self._boto3 is None:
            self._boto3 = Boto3Reader(
                self._client, self._bucket, notify=self._curl.wake if self._curl else lambda: None
            )
        return self._boto3
