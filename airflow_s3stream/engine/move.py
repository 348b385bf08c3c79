"""Move a probed source's bytes to the store by the way the plan chose, and publish them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_s3stream.engine.checksums import RunningDigest, combine, crc64nvme, crc64nvme_text
from airflow_s3stream.engine.cleanup import clean_up
from airflow_s3stream.engine.events import Noted
from airflow_s3stream.engine.publish import MARKER, Content, Publisher, composite_etag
from airflow_s3stream.engine.relay import Relay
from airflow_s3stream.engine.spool import Spool
from airflow_s3stream.engine.stream import SourceStream
from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
)
from airflow_s3stream.plan.probe import check_same
from airflow_s3stream.plan.resume import Rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.beginning import Beginning
    from airflow_s3stream.engine.protocols import (
        Body,
        CompletedPart,
        Sink,
        Source,
        StoredObject,
        Upload,
    )
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.exceptions import SinkError
    from airflow_s3stream.plan.digests import Digest
    from airflow_s3stream.plan.parts import TransferPlan
    from airflow_s3stream.plan.probe import Probe


_UNCONDITIONAL = (
    "This store does not check conditions: had another writer published at the same moment, the last would have won"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A published object and what is known of it."""

    stored: StoredObject
    size: int
    checksum: str
    verification: str
    parts: int
    resumed_parts: int = 0
    """How many of them an earlier try had stored."""
    resumed_bytes: int = 0


class Mover:
    """Moves one source. ``beginning`` has the multipart upload, if one is needed."""

    def __init__(
        self,
        run: Run,
        source: Source,
        sink: Sink,
        probe: Probe,
        plan: TransferPlan,
        expected: Digest | None,
        beginning: Beginning,
    ) -> None:
        self._run = run
        self._source = source
        self._sink = sink
        self._probe = probe
        self._plan = plan
        self._expected = expected
        self.beginning = beginning
        self._small: bytearray | None = None
        self._parts: list[CompletedPart] = []
        self._relayed: Relay | None = None
        self._stream: SourceStream | None = None
        self.publishing: Content | None = None
        """What is being made visible, while it is not known whether that worked."""
        self.published = False
        """Whether the object is visible, for certain."""
        self.leaves_upload = False
        """Whether the object is published, and an upload that is not needed could not be removed."""
        self.size = 0
        """Bytes moved, once :meth:`move` has ended."""
        self._crc = 0

    def move(self, body: Body) -> None:
        """
        Bring all bytes to the store, unpublished; or into memory, if they are few.

        :raises IntegrityError: size or checksum differs from the expected one.
        """
        if self._plan.mode == "relay":
            self._relay(body)
        else:
            self._spool(body)

    @property
    def too_long(self) -> bool:
        """Whether a source that did not give its length has passed ``max_bytes``."""
        return self._stream is not None and self._stream.too_long

    def _relay(self, body: Body) -> None:
        upload = self.beginning.go_on() or self.beginning.begin()
        other = self._expected.algorithm if self._expected and self._expected.algorithm != "crc64nvme" else None
        relay = Relay(
            self._run, self._source, self._sink, self._probe,
            upload=upload, want_md5=self._want_md5(upload), extra=other,
        )  # fmt: skip
        self._relayed = relay
        resumed = self.beginning.resumed
        if resumed:
            body.close()  # it begins with a part that the store may have
            moved = relay.move(Rest(self._plan, {part.number for part in resumed}), None)
            self._parts = sorted([*resumed, *moved], key=lambda part: part.number)
        else:
            self._parts = relay.move(self._plan, body)
        self._settle()
        if self._expected is not None:
            value = self._crc.to_bytes(8, "big")
            if other is not None:
                crcs = [(int.from_bytes(relay.extras[part.number], "big"), part.size) for part in self._parts]
                value = combine(other, crcs).to_bytes(4, "big")
            self._check(value)

    def _spool(self, body: Body) -> None:
        digest = RunningDigest(self._expected.algorithm) if self._expected else None
        self._stream = stream = SourceStream(
            self._run, self._source, self._probe, self._whole(body),
            on_bytes=digest.update if digest else None, most=self._run.options.max_bytes,
        )  # fmt: skip
        spool = Spool(self._run, stream, self._sink, self._plan)
        try:
            self._run.crew([lambda: spool.read_first(alone=self._plan.mode == "put")])
            if spool.ended:
                self._small = spool.take_first()
                self.size, self._crc = len(self._small), crc64nvme(self._small)
            else:
                upload = self.beginning.begin()
                self._parts = spool.move(upload, want_md5=self._want_md5(upload))
                self._settle()
        finally:
            spool.close()
            stream.close()
        if digest is not None:
            self._check(digest.digest())

    def _whole(self, body: Body) -> Body:
        """Give a body with all bytes: the probe's, or a new one where that is but a piece."""
        if self._probe.whole:
            return body
        body.close()
        probe, whole = self._run.retrier.call("opening the source", lambda: self._run.open(self._source.open_whole))
        changed = check_same(self._probe, probe)
        if changed:
            whole.close()
            raise changed
        return whole

    @property
    def stored(self) -> int | None:
        """How many parts the store has, those under way not counted; None: it has not told."""
        if self.beginning.unlisted:
            return None
        return len(self.beginning.resumed) + (self._relayed.stored if self._relayed else 0)

    def _sweep(self, upload: Upload) -> None:
        """Remove what a store may keep of an upload although its object is published, and its answer was lost."""
        with suppress(S3StreamError):  # as a rule it is gone
            self._run.call("aborting the upload that is published", lambda: self._sink.abort(upload))

    def _give_up(self, upload: Upload) -> None:
        """Remove what is not needed: another writer has published the same bytes."""
        told = "Another writer has published the same bytes, which are as good as these"
        try:
            self._run.call("aborting the upload that is not needed", lambda: self._sink.abort(upload))
        except S3StreamError:  # the object is whole: neither a stop nor a deadline makes it a failure any more
            left = clean_up(self._sink, upload)
            if not left.removed:
                told, self.leaves_upload = f"{told}. {left.text}", True
        self._run.tell(Noted(text=told))

    def _want_md5(self, upload: Upload) -> bool:
        """Where the store keeps no checksum, a strict transfer proves its parts by their ETags."""
        return self._run.options.strict and not upload.checksums

    def _settle(self) -> None:
        self.size = sum(part.size for part in self._parts)
        self._crc = combine("crc64nvme", [(part.crc, part.size) for part in self._parts])
        if self._probe.size is not None and self.size != self._probe.size:
            raise IntegrityError(
                f"{self.size} bytes were stored of {self._probe.size}", op="move", target=self._sink.name
            )

    def _check(self, value: bytes) -> None:
        if self._expected is not None and value != self._expected.value:
            raise IntegrityError(
                f"the source's checksum is {replace(self._expected, value=value)}, expected was {self._expected}",
                op="read",
                target=self._source.name,
            )

    def publish(self, *, replaces: str | None) -> Moved:
        """
        Make the object visible and prove what is stored.

        :param replaces: what may be overwritten; see :meth:`~airflow_s3stream.engine.protocols.Sink.put`.
        :raises IntegrityError: only the size could be proved and ``strict`` is set, or the store holds something else.
        """
        upload, small = self.beginning.upload, self._small
        content = Content(
            size=self.size,
            crc=self._crc,
            etag=self._etag(),
            parts_proved=bool(self._parts) and all(part.md5 for part in self._parts),
            marker=self.beginning.token.marker,
        )
        publisher = Publisher(self._run, self._sink, content)
        self.publishing = content
        stored, answered = publisher.publish(self._request(replaces), mend=self._mend)
        if not stored.conditional:
            self._run.tell(Noted(text=_UNCONDITIONAL))
        if upload is not None and not answered:
            if (stored.metadata or {}).get(MARKER) == content.marker:
                self._sweep(upload)
            else:
                self._give_up(upload)
        self.published = True
        self.beginning.upload = self.publishing = None
        # The answer to a PutObject names the checksum that was checked, if one was.
        keeps = upload.checksums if upload else answered and stored.checksum is not None
        stored, level = publisher.verify(stored, keeps_checksums=keeps)
        if self._run.options.strict and level not in ("crc64nvme", "md5-etag"):
            raise IntegrityError(
                f"the object is published, but only its verification level {level!r} could be proved and strict is set",
                op="verify",
                target=self._sink.name,
            )
        return Moved(
            stored=stored,
            size=self.size,
            checksum=f"crc64nvme:{crc64nvme_text(self._crc)}",
            verification=level,
            parts=1 if small is not None else len(self._parts),
            resumed_parts=len(self.beginning.resumed),
            resumed_bytes=sum(part.size for part in self.beginning.resumed),
        )

    def _etag(self) -> str | None:
        if self._small is not None:
            return hashlib.md5(self._small, usedforsecurity=False).hexdigest()
        return composite_etag(self._parts)

    def _mend(self, error: SinkError) -> bool:
        """
        Bring the list of parts in line with the store's, where it says that they differ; False if that cannot be.

        A part that was sent twice, by an answer lost or by two tries at once, may have another ETag although its bytes
        are the same.
        """
        upload = self.beginning.upload
        if upload is None or "InvalidPart" not in error.message or not upload.checksums:
            return False
        listed = {part.number: part for part in self._sink.list_parts(upload)}
        same = [
            replace(part, etag=listed[part.number].etag)
            for part in self._parts
            if part.number in listed and (listed[part.number].crc, listed[part.number].size) == (part.crc, part.size)
        ]
        mended = len(same) == len(self._parts) and same != self._parts
        if mended:
            self._parts = same
        return mended

    def _request(self, replaces: str | None) -> Callable[[], StoredObject]:
        upload, small = self.beginning.upload, self._small
        if small is not None:
            headers = self.beginning.headers()
            return lambda: self._sink.put(small, self._crc, headers, replaces=replaces)
        if upload is None:
            raise RuntimeError("publish before move")
        return lambda: self._sink.complete(upload, self._parts, size=self.size, crc=self._crc, replaces=replaces)
