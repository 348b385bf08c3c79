"""A prefix split into mapped tasks, each with key range and directory of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import Airflow, DagRun, Refused
from tests.support.stores import Store

DAG = "download_sharded"


def body_of(key: str) -> bytes:
    return f"the body of {key}\n".encode() * 3


def fill(store: Store, keys: list[str]) -> dict[str, bytes]:
    for key in keys:
        store.put(f"in/{key}", body_of(key))
    # Outside the prefix, before and after it.
    store.put("i", b"before")
    store.put("in0", b"after")
    return {key: body_of(key) for key in keys}


def run(airflow: Airflow, store: Store, directory: Path, pieces: int = 4, **conf: Any) -> DagRun:
    asked = {"source": f"s3://{store.bucket}/in/", "directory": str(directory), "pieces": pieces, **conf}
    return airflow.run(DAG, store, run_conf=asked)


def downloaded(directory: Path) -> list[tuple[str, bytes]]:
    """Return key and body of every file, of whichever piece; what the engine keeps for itself is not one."""
    files = [path for path in directory.rglob("*") if path.is_file() and ".s3stream" not in path.parts]
    return sorted((path.relative_to(directory).as_posix().split("/", 2)[2], path.read_bytes()) for path in files)


def pieces_of(done: DagRun) -> dict[str, str]:
    return {name: state for name, state in done.tasks.items() if name.startswith("download")}


def test_every_object_is_in_exactly_one_piece(airflow: Airflow, moto: Store, tmp_path: Path) -> None:
    """However uneven the keys: one crowded folder, some single objects, names that are not ASCII."""
    keys = [
        *(f"crowded/{number:04d}.bin" for number in range(150)),
        *(f"folder-{number}/only.bin" for number in range(20)),
        "aardvark.bin", "zoo/with space.bin", "zoo/größe.bin", "zoo/日本.bin",
    ]  # fmt: skip
    bodies = fill(moto, keys)
    done = run(airflow, moto, tmp_path)
    assert done.state == "success", done.log
    assert downloaded(tmp_path) == sorted(bodies.items())
    assert 2 <= len(pieces_of(done)) <= 10
    summary = done.returned["summarize"]
    directory = Path(summary.pop("directory"))
    assert directory.parent == tmp_path
    assert re.fullmatch(r"\d{8}T\d{6}Z", directory.name)
    assert summary == {
        "pieces": len(pieces_of(done)), "objects": len(bodies), "bytes": sum(map(len, bodies.values())),
        "skipped": 0, "failed": 0,
    }  # fmt: skip
    sizes = [done.returned[name]["objects"] for name in pieces_of(done)]
    assert max(sizes) < 0.6 * len(bodies), f"a worker would have nearly all of it: {sizes}"


def test_one_piece_that_fails_does_not_hide_the_others(airflow: Airflow, moto: Store, tmp_path: Path) -> None:
    """A key that cannot be a file fails its piece; the others are downloaded and the summary names the one."""
    bodies = fill(moto, [f"{number:04d}" for number in range(80)])
    moto.put("in/0060/../escape", b"hostile")
    done = run(airflow, moto, tmp_path)
    assert done.state == "failed"
    states = pieces_of(done)
    assert list(states.values()).count("failed") == 1, states
    assert re.search(rf"1 of {len(states)} pieces were not downloaded: {tmp_path}/\S+/000\d", done.log)
    assert len(downloaded(tmp_path)) >= len(bodies) - 2 * len(bodies) // len(states)
    assert not (tmp_path / "escape").exists()


@pytest.mark.parametrize("pieces", [0, 1025])
def test_no_more_pieces_than_a_run_may_map(airflow: Airflow, moto: Store, tmp_path: Path, pieces: int) -> None:
    """The parameter is refused before anything is asked of the store, with the bound in the message."""
    with pytest.raises(Refused, match=r"(less|greater) than the (minimum of 1|maximum of 1024)"):
        run(airflow, moto, tmp_path, pieces=pieces)


def test_a_prefix_without_objects_is_a_success_with_none(airflow: Airflow, moto: Store, tmp_path: Path) -> None:
    """Nothing to download is not a failure here; who expects objects sees the count."""
    done = run(airflow, moto, tmp_path)
    assert done.state == "success", done.log
    assert done.returned["summarize"]["objects"] == 0
    assert downloaded(tmp_path) == []
