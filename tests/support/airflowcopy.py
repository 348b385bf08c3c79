"""A copy in a task of a real Airflow, from an origin of its own, and what to ask while it is being disturbed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from airflow_s3stream.config import MiB
from tests.support.airflowclient import PATIENCE, AirflowClient, Task
from tests.support.faults import Fault
from tests.support.origin import Origin
from tests.support.processes import OtherProcess
from tests.support.resource import Resource
from tests.support.stores import Store
from tests.support.waiting import wait_for

# As the DAGs in tests/integration/dags have them.
PART = 5 * MiB
CONNECTIONS = 3
WITH_RETRY, ONCE = "copy_with_retry", "copy_once"

STATE_KEY = "s3stream"
SENT_OF_HELD = 1 * MiB


def held_from(offset: int, event: threading.Event) -> Fault:
    """Send the first MiB of each range from ``offset`` on, and the rest once the event is set."""
    held = Fault("held", lambda request, reply: setattr(reply, "hold", (SENT_OF_HELD, event)))
    return held.where(lambda request: request.range is not None and request.range[0] >= offset)


class AirflowCopy:
    """
    One run of a DAG that copies, triggered on entry; the origin ends on exit, whatever became of the task.

    :param faults: of the origin.
    """

    def __init__(
        self, client: AirflowClient, store: Store, dag_id: str, size: int, *faults: Fault, key: str = "copied.bin",
        seed: int = 1,
    ) -> None:  # fmt: skip
        self.origin = Origin(Resource(size, seed), *faults)
        self.content = self.origin.resource.content
        self.key = key
        self._client, self._store, self._dag_id = client, store, dag_id

    def __enter__(self) -> Self:
        self.origin.__enter__()
        try:
            conf = {"url": self.origin.url, "s3_key": f"s3://{self._store.bucket}/{self.key}"}
            self.address = self._client.trigger(self._dag_id, "copy", conf)
        except BaseException:
            self.origin.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.origin.__exit__(kind, error, trace)

    def wait(self, until: Callable[[Task], bool]) -> Task:
        return self._client.wait(self.address, until)

    def wait_for_end(self) -> Task:
        """Wait until there will be no other try."""
        return self.wait(lambda task: task.state in ("success", "failed"))

    def wait_until_held(self, parts: int, *, tries: int = 1) -> str:
        """
        Wait until so many parts are stored and all connections to the origin hang; return the upload's id.

        :param tries: whose connections hang.
        """

        def stands_still() -> bool:
            held = [one for one in self.origin.exchanges if "held" in one.faults and one.sent == SENT_OF_HELD]
            return len(held) >= CONNECTIONS * tries and len(self.parts_stored()) == parts

        wait_for(stands_still, PATIENCE)
        (upload,) = self.uploads()
        return upload

    def runner(self) -> OtherProcess:
        """Return the task runner, the child that the supervisor has forked to run the operator."""
        task = self._client.task(self.address)
        assert task.state == "running", task
        assert task.pid
        return OtherProcess(task.pid)

    def uploads(self) -> list[str]:
        """Return the uploads to the key that are neither completed nor aborted."""
        listed = self._store.client.list_multipart_uploads(Bucket=self._store.bucket, Prefix=self.key)
        return [upload["UploadId"] for upload in listed.get("Uploads", []) if upload["Key"] == self.key]

    def parts_stored(self) -> list[int]:
        """Return the numbers of the parts of the one upload, none if there is none."""
        found = self.uploads()
        if not found:
            return []
        listed = self._store.client.list_parts(Bucket=self._store.bucket, Key=self.key, UploadId=found[0])
        return [part["PartNumber"] for part in listed.get("Parts", [])]

    def remembers(self, upload: str) -> bool:
        """Whether the task's state store names the upload, so that the next try finds it."""
        return upload in json.dumps(self._client.stored(self.address).get(STATE_KEY))

    def log(self, try_number: int) -> str:
        return self._client.log(self.address, try_number)

    def failed_at(self, try_number: int) -> float | None:
        """Return when the operator had raised, in seconds since the epoch, by the log; None if it did not."""
        return self._client.seconds_of(self.address, try_number, "Task failed with exception")

    def returned(self) -> dict[str, object]:
        found = self._client.returned(self.address)
        return json.loads(found) if isinstance(found, str) else dict(found)
