"""The policies of docs/iam.md: each lets its operation work, and none allows more than that takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream import exceptions
from airflow_s3stream.config import CopyOptions, MiB, TransferResult
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.download import download
from airflow_s3stream.engine.getobject import get_object
from airflow_s3stream.engine.handover import Resume
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.engine.objectstream import open_object
from airflow_s3stream.engine.protocols import ObjectHeaders
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.engine.tune import tune_copy, tune_get
from airflow_s3stream.engine.uploads import abort_uploads, list_uploads
from airflow_s3stream.engine.uploadtally import failure_of
from airflow_s3stream.exceptions import S3StreamError, SinkDenied, SourceDenied
from airflow_s3stream.plan.download import DownloadOptions, Wanted
from airflow_s3stream.plan.getting import GetOptions
from airflow_s3stream.plan.objects import ObjectEntry
from airflow_s3stream.plan.tuneoptions import read_tune_options
from tests.support.faults import status
from tests.support.iam import BUCKET, PREFIX, Documented, Guarded, actions_of, documented, guarded, without
from tests.support.origin import Origin, serving
from tests.support.sources import LOOPBACK
from tests.support.transfers import EAGER, PART, PATIENT, QUICK
from tests.support.uploads import options

SECTIONS = documented()
KEY = f"{PREFIX}key"


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("iam")) as guard:
        for number in range(3):
            guard.store.put_object(Bucket=BUCKET, Key=f"{PREFIX}many/{number}", Body=b"x" * 100)
        guard.store.put_object(Bucket=BUCKET, Key=f"{PREFIX}large", Body=bytes(16 * MiB))
        yield guard


@pytest.fixture(scope="module")
def source() -> Iterator[Origin]:
    with serving(2 * PART + 7) as origin:
        yield origin


@dataclass
class State:
    """Keeps what one try leaves for the next."""

    text: str | None = None

    def load(self) -> object:
        return self.text

    def save(self, text: str) -> None:
        self.text = text

    def clear(self) -> None:
        self.text = None


@dataclass
class Place:
    """Where an operation runs: a store that enforces IAM, as a user with some policy."""

    guard: Guarded
    client: Any
    source: Origin
    folder: Path
    key: str = KEY
    state: State = field(default_factory=State)

    def copy(self, url: str = "", *, resume: bool = False, **settings: Any) -> TransferResult:
        made = HttpSource(url or self.source.url, timeouts=QUICK, connections=2, policy=LOOPBACK)
        about = CopyOptions(**{"part_size": PART, "connections": 2, "timeouts": QUICK, "retry": EAGER, **settings})
        sink = S3Sink(self.client, BUCKET, self.key)
        return copy(made, sink, about, resume=Resume(store=self.state) if resume else None)

    def copy_broken(self, **settings: Any) -> S3StreamError:
        """Copy from a source of which only the first part can be had; give the error."""
        faults = status(503).where(lambda request: bool(request.range and request.range[0] >= PART))
        with serving(2 * PART + 7, faults) as origin:
            with pytest.raises(exceptions.SourceError) as caught:
                self.copy(origin.url, **settings)
        return caught.value


def _copy(place: Place) -> None:
    assert place.copy().parts == 3


def _resume(place: Place) -> None:
    faults = status(503).where(lambda request: bool(request.range and request.range[0] >= PART))
    with serving(2 * PART + 7, faults) as origin:
        with pytest.raises(exceptions.SourceError):
            place.copy(origin.url, resume=True)
        assert place.state.text
        origin.faults.clear()
        place.copy(origin.url, resume=True)


def _download(place: Place) -> None:
    wanted = Wanted(prefix=f"{PREFIX}many/", entries=None, start_after="", last_key=None, selection=None, retries=None)
    settings = DownloadOptions(timeouts=PATIENT, retry=EAGER, connections=4)
    assert download(place.client, BUCKET, wanted, place.folder, settings).objects == 3


def _get(place: Place) -> None:
    settings = GetOptions(timeouts=PATIENT, retry=EAGER, connections=2)
    get_object(place.client, BUCKET, f"{PREFIX}many/1", place.folder / "one", settings)
    with open_object(place.client, BUCKET, f"{PREFIX}many/1", settings) as stream:
        assert len(stream.read()) == 100


def _leave(place: Place) -> None:
    """Leave an upload as a copy does; without parts, for moto shows no checksums of those."""
    S3Sink(place.guard.store, BUCKET, KEY).begin(ObjectHeaders(content_type=None, content_encoding=None, metadata={}))


def _list(place: Place) -> None:
    _leave(place)
    assert len(list(list_uploads(place.client, BUCKET, PREFIX, options(sizes=True)))) == 1


def _abort(place: Place) -> None:
    _leave(place)
    result = abort_uploads(place.client, BUCKET, PREFIX, options())
    error = failure_of(result)
    if error:
        raise error
    assert result.aborted == 1
    assert place.guard.uploads() == []


_BUDGET = {"connections": "1,2", "part_sizes": "8MiB", "max_bytes": "32MiB", "max_seconds": 15}


def _tune_get(place: Place) -> None:
    tune_get(place.client, BUCKET, f"{PREFIX}large", read_tune_options(**_BUDGET))


def _tune_copy(place: Place) -> None:
    about = HttpSource(place.source.url, timeouts=QUICK, connections=4, policy=LOOPBACK)
    sink = S3Sink(place.client, BUCKET, KEY)
    tune_copy(about, sink, place.guard.endpoint_url, read_tune_options(**_BUDGET), stop=StopFlag())


OPERATIONS: dict[str, Callable[[Place], None]] = {
    "Copy a URL": _copy,
    "Copy and resume": _resume,
    "Download many objects": _download,
    "Download or read one object": _get,
    "List uploads left behind": _list,
    "Abort uploads left behind": _abort,
    "Tune downloads": _tune_get,
    "Tune copies": _tune_copy,
}
REMOVALS = [(title, action) for title in OPERATIONS for action in sorted(actions_of(SECTIONS[title].policy))]


@pytest.fixture
def place(guard: Guarded, source: Origin, tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Place]]:
    """Make a place under a policy; whatever was left is removed."""
    guard.store.delete_object(Bucket=BUCKET, Key=KEY)
    clients = []

    def make(policy: dict[str, Any]) -> Place:
        clients.append(guard.as_user(policy))
        return Place(guard, clients[-1], source, tmp_path)

    yield make
    guard.tidy()
    for client in clients:
        client.close()


Make = Callable[[dict[str, Any]], Place]


def test_every_operation_and_every_action_is_explained() -> None:
    """The tables say of each action in a policy what it is for, and of no other."""
    operations = {title: section for title, section in SECTIONS.items() if section.without}
    assert set(operations) == set(OPERATIONS)
    for section in operations.values():
        assert set(section.without) == actions_of(section.policy), section.title


@pytest.mark.parametrize("title", OPERATIONS)
def test_the_whole_policy_is_enough(place: Make, title: str) -> None:
    """The operation works under it."""
    OPERATIONS[title](place(SECTIONS[title].policy))


@pytest.mark.parametrize("title", OPERATIONS)
def test_the_policy_does_not_reach_beyond_its_prefix(place: Make, title: str) -> None:
    """The same actions on another prefix are not enough."""
    text = json.dumps(SECTIONS[title].policy).replace(f"{BUCKET}/{PREFIX}", f"{BUCKET}/elsewhere/")
    with pytest.raises((SinkDenied, SourceDenied)):
        OPERATIONS[title](place(json.loads(text)))


@pytest.mark.parametrize(("title", "action"), REMOVALS)
def test_each_action_is_needed_for_what_the_table_says(place: Make, title: str, action: str) -> None:
    """Taken out, the operation fails with the error that the table names; where it names none, it works."""
    section: Documented = SECTIONS[title]
    there = place(without(section.policy, action))
    kind = section.fails_with(action)
    if kind is None:
        OPERATIONS[title](there)
        return
    with pytest.raises(getattr(exceptions, kind)) as caught:
        OPERATIONS[title](there)
    assert type(caught.value).__name__ == kind
    assert "403" in str(caught.value)


def policy(action: str, title: str = "Copy a URL") -> dict[str, Any]:
    """Return a section's policy without an action."""
    return without(SECTIONS[title].policy, action)


class TestWhatIsWeaker:
    """What the tables say beside the errors."""

    def test_what_may_not_be_aborted_stays_and_is_named(self, place: Make, guard: Guarded) -> None:
        """With the command that removes it."""
        there = place(policy("s3:AbortMultipartUpload"))
        error = there.copy_broken()
        (left,) = guard.uploads()
        assert f"Multipart upload {left} could not be aborted" in str(error)
        assert "aws s3api abort-multipart-upload" in str(error)

    @pytest.mark.parametrize("if_exists", ["skip", "skip_unchanged", "fail"])
    def test_who_may_not_look_may_not_skip(self, place: Make, if_exists: str) -> None:
        """It is said before any byte moves."""
        with pytest.raises(SinkDenied, match="HeadObject"):
            place(policy("s3:GetObject")).copy(if_exists=if_exists)

    def test_keys_need_no_list(self, place: Make) -> None:
        """A download of named objects asks for these only."""
        there = place(policy("s3:ListBucket", "Download many objects"))
        settings = DownloadOptions(timeouts=PATIENT, retry=EAGER, connections=4)
        wanted = Wanted(
            prefix=f"{PREFIX}many/", entries=iter([ObjectEntry(f"{PREFIX}many/1")]), start_after="", last_key=None,
            selection=None, retries=None,
        )  # fmt: skip
        assert download(there.client, BUCKET, wanted, there.folder, settings).objects == 1

    def test_a_list_without_sizes_needs_no_parts(self, place: Make) -> None:
        """Only the one action."""
        there = place(policy("s3:ListMultipartUploadParts", "List uploads left behind"))
        _leave(there)
        assert len(list(list_uploads(there.client, BUCKET, PREFIX, options()))) == 1


@pytest.mark.parametrize("number", [0, 1])
def test_a_store_takes_the_bucket_policies(moto: Any, number: int) -> None:
    """As far as a local one looks at them: they are well formed."""
    policy = json.dumps(SECTIONS["Bucket policies worth having"].policies[number]).replace(BUCKET, moto.bucket)
    moto.client.put_bucket_policy(Bucket=moto.bucket, Policy=policy)
    assert json.loads(moto.client.get_bucket_policy(Bucket=moto.bucket)["Policy"]) == json.loads(policy)
