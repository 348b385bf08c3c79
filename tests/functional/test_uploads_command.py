"""``s3stream uploads``: what it shows on a terminal and elsewhere, what it writes for machines, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.support.commands import COMMAND, Done, Run, on_a_terminal
from tests.support.s3fault import S3FaultProxy, refuse
from tests.support.stores import Store
from tests.support.uploads import PART, leave, leave_as_others

Uploads = Callable[..., Done]


@pytest.fixture
def uploads(run: Run, localstack: Store) -> Uploads:
    """Run ``s3stream uploads`` on the store; ``at`` is the URL of a proxy before it."""

    def uploads(action: str, *options: str, at: str = "") -> Done:
        where = ("--endpoint-url", at or localstack.endpoint_url)
        return run("uploads", action, f"s3://{localstack.bucket}/", *where, *options)

    return uploads


class TestList:
    """Ours, or everybody's."""

    def test_elsewhere_each_is_a_line(self, localstack: Store, uploads: Uploads) -> None:
        """With fields that cut(1) can part, and the totals last."""
        left = leave(localstack, "logs/a b", parts=2)
        leave_as_others(localstack, "other")
        done = uploads("list")
        line, total = done.out.splitlines()
        assert line.split("\t")[2:] == [f"s3://{localstack.bucket}/logs/a b", left]
        assert total == f"1 uploads below s3://{localstack.bucket}/; not listed: 1 begun without a checksum"
        assert (done.code, done.errors) == (0, "")
        line = uploads("list", "--sizes").out.splitlines()[0]
        assert line.split("\t")[2:] == ["2 parts", "128.0 KiB", f"s3://{localstack.bucket}/logs/a b", left]

    def test_all_says_whose_they_are(self, localstack: Store, uploads: Uploads) -> None:
        """As far as anybody can."""
        leave(localstack, "a")
        leave_as_others(localstack, "b")
        ours, theirs, total = uploads("list", "--all", "--sizes").out.splitlines()
        assert "\tas s3stream begins them\t" in ours
        assert "\tbegun without a checksum\t" in theirs
        assert total == f"2 uploads below s3://{localstack.bucket}/, 2 parts, 128.0 KiB"

    def test_for_machines_each_is_a_json_object(self, localstack: Store, uploads: Uploads) -> None:
        """The last line is the summary, as with every command."""
        ids = [leave(localstack, key, parts=1) for key in ("a", "b")]
        done = uploads("list", "--json", "--sizes")
        first, second, total = map(json.loads, done.out.splitlines())
        assert [first["upload_id"], second["upload_id"]] == ids
        assert first.items() >= {"key": "a", "parts": 1, "bytes": PART, "missing_mark": ""}.items()
        assert total == {
            "uri": f"s3://{localstack.bucket}/", "uploads": 2, "parts": 2, "bytes": 2 * PART,
            "oldest": min(first["begun"], second["begun"]), "others": {},
        }  # fmt: skip
        assert json.loads(uploads("list", "--json", "--quiet").out)["uploads"] == 2

    def test_an_age_leaves_out_the_younger(self, localstack: Store, uploads: Uploads) -> None:
        """And says so, rather than that there are none."""
        leave(localstack, "a")
        assert uploads("list", "--older-than", "1h").out == (
            f"0 uploads below s3://{localstack.bucket}/; not listed: 1 begun too recently\n"
        )

    def test_a_terminal_gets_a_table(self, localstack: Store) -> None:
        """In which no key can do anything to the terminal."""
        left = leave(localstack, "nasty\u202e[bold]")
        done = on_a_terminal(
            [*COMMAND, "uploads", "list", f"s3://{localstack.bucket}/", "--endpoint-url", localstack.endpoint_url,
             "--sizes"],
            TERM="xterm", COLUMNS="240",
        )  # fmt: skip
        assert done.code == 0
        assert "begun (UTC)" in done.out
        assert "nasty\\u202e[bold]" in done.out
        assert left in done.out
        assert "64.0 KiB" in done.out


class TestAbort:
    """What is meant, and nothing else."""

    def test_the_default_age_is_said_and_spares_what_is_young(self, localstack: Store, uploads: Uploads) -> None:
        """A transfer under way looks like one left behind."""
        left = leave(localstack, "a")
        done = uploads("abort")
        assert done.code == 0
        assert (
            done.out.splitlines()[0] == "Only uploads of at least 2 days, the default; --older-than AGE says otherwise"
        )
        assert f"Left s3://{localstack.bucket}/a, upload {left}: begun too recently; begun" in done.out
        assert localstack.uploads() == [left]

    def test_it_says_what_it_aborted(self, localstack: Store, uploads: Uploads) -> None:
        """A line each, and the totals."""
        left = leave(localstack, "a", parts=2)
        theirs = leave_as_others(localstack, "b")
        done = uploads("abort", "--older-than", "0s")
        assert done.code == 0
        assert f"Aborted s3://{localstack.bucket}/a, upload {left}: 2 parts, 128.0 KiB, begun" in done.out
        assert done.out.endswith("; 1 aborted (2 parts, 128.0 KiB); 1 left: begun without a checksum\n")
        assert localstack.uploads() == [theirs]
        assert uploads("abort", "--older-than", "0s", "--all", "--quiet") == Done(0, "", "")
        localstack.assert_clean()

    def test_a_dry_run_and_json(self, localstack: Store, uploads: Uploads) -> None:
        """Stdout is the result alone."""
        left = leave(localstack, "a")
        done = uploads("abort", "--older-than", "0s", "--dry-run", "--json")
        assert len(done.out.splitlines()) == 1
        assert done.result.items() >= {"dry_run": True, "aborted": 1, "failed": 0, "older_than": 0.0}.items()
        assert "Would abort" in done.errors
        assert localstack.uploads() == [left]

    def test_one_that_fails_is_exit_code_1(self, localstack: Store, uploads: Uploads) -> None:
        """The others are aborted, and the result says which was not."""
        for key in ("a", "b", "c"):
            leave(localstack, key)
        with S3FaultProxy(localstack.endpoint_url, refuse("AbortMultipartUpload", 403, "AccessDenied").on(2)) as proxy:
            done = uploads("abort", "--older-than", "0s", "--json", at=proxy.endpoint_url)
        assert done.code == 1
        assert (done.result["aborted"], done.result["failed"]) == (2, 1)
        assert done.result["failures"][0]["kind"] == "SinkDenied"
        assert "Could not abort" in done.errors
        assert len(localstack.uploads()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list", "bucket"], 2, "names no bucket"),
        (["list", "s3://"], 2, "names no bucket"),
        (["abort", "s3://b/", "--older-than", "soon"], 2, "older_than='soon' is not an age"),
        (["list", "s3://b/", "--connections", "0"], 2, "connections=0"),
        (["abort", "s3://b/", "--endpoint-url", "nowhere"], 2, "nowhere"),
    ],
)
def test_bad_usage_is_one_sentence(run: Run, words: list[str], code: int, said: str) -> None:
    """Before anything is asked."""
    run("uploads", *words).assert_one_sentence(code, said)


def test_a_missing_bucket_is_one_sentence(run: Run, localstack: Store) -> None:
    """And exit code 1."""
    done = run("uploads", "list", "s3://no-such-bucket-here/", "--endpoint-url", localstack.endpoint_url)
    done.assert_one_sentence(1, "NoSuchBucket")
