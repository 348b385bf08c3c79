"""The command as a person, a script and a signal meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_s3stream.config import MiB
from tests.support.commands import COMMAND, Done, in_a_process, on_a_terminal
from tests.support.faults import stall_after
from tests.support.origin import serving
from tests.support.waiting import SOON, wait_for

if TYPE_CHECKING:
    from tests.support.stores import Store


def command(*arguments: str, store: Store | None = None, **environment: str) -> Done:
    where = ("--endpoint-url", store.endpoint_url) if store else ()
    return in_a_process([*COMMAND, "copy", *arguments, *where], env={**os.environ, **environment})


def test_the_last_line_of_json_is_the_result(rclone: Store) -> None:
    """And nothing else is on stdout."""
    with serving(12 * MiB) as origin:
        done = command(
            origin.url + "?token=hunter2", f"s3://{rclone.bucket}/a/key", "--json", "--part-size", "5MiB",
            "--connections", "2", "--metadata", "team=data", store=rclone,
        )  # fmt: skip
        rclone.assert_holds("a/key", origin.resource.content)
    assert (done.code, done.errors.count("\n")) == (0, 3)
    result = json.loads(done.out)
    assert (result["status"], result["parts"], result["bytes"]) == ("copied", 3, 12 * MiB)
    assert result["source"].endswith("/object.bin?token=***")
    assert "hunter2" not in done.out + done.errors + str(rclone.head("a/key"))
    assert rclone.head("a/key")["Metadata"]["team"] == "data"


def test_plain_lines_say_what_was_learnt_what_moves_and_what_was_proved(rclone: Store) -> None:
    """One line at the start, one per interval, one at the end."""
    with serving(11 * MiB) as origin:
        done = command(
            origin.url,
            f"s3://{rclone.bucket}/key",
            "--max-bandwidth",
            "8MiB",
            "--progress-interval",
            "0.3",
            store=rclone,
        )
    first, weak, *middle, last = done.out.splitlines()
    assert first.startswith(f"Copying {origin.url} to s3://{rclone.bucket}/key: 11.0 MiB (11534336 bytes), ETag")
    assert "ranges pinned to ETag; parts of 8.0 MiB, 2 connections" in first
    assert weak.startswith("The store keeps no CRC64NVME")
    assert middle
    assert all(line.startswith("Stored ") and "MB/s" in line and "ETA" in line for line in middle)
    assert last.startswith(f"Copied 11.0 MiB (11534336 bytes) to s3://{rclone.bucket}/key in ")
    assert (done.code, done.errors) == (0, "")


def test_quiet_says_nothing(rclone: Store) -> None:
    """Scripts read the exit code."""
    with serving(10) as origin:
        done = command(origin.url, f"s3://{rclone.bucket}/key", "--quiet", store=rclone)
    assert (done.code, done.out, done.errors) == (0, "", "")


def test_a_terminal_gets_a_bar(rclone: Store) -> None:
    """With the bytes and the rate, and the result in a line at the end."""
    with serving(11 * MiB) as origin:
        done = on_a_terminal(
            [*COMMAND, "copy", origin.url, f"s3://{rclone.bucket}/key", "--endpoint-url", rclone.endpoint_url,
             "--max-bandwidth", "8MiB"],
            TERM="xterm", COLUMNS="100",
        )  # fmt: skip
    assert done.code == 0
    assert "━" in done.out
    assert "MB/s" in done.out
    assert "Copied 11.0 MiB" in done.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_leaves_no_upload(moto: Store, number: signal.Signals) -> None:
    """Even while a source stalls and every worker hangs in a read."""
    with serving(40 * MiB, stall_after(3 * MiB)) as origin:
        process = subprocess.Popen(
            [*COMMAND, "copy", origin.url, f"s3://{moto.bucket}/key", "--endpoint-url", moto.endpoint_url,
             "--part-size", "5MiB"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(lambda: len(moto.uploads()) == 1 and len(origin.exchanges) >= 8)
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        took = time.monotonic() - began
    assert process.returncode == 128 + number
    assert "stopped" in errors
    assert "The multipart upload was aborted." in errors
    assert "Traceback" not in errors
    assert took < SOON
    moto.assert_clean()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense", "s3://b/k"], 2, "url='nonsense' has no scheme"),
        (["ftp://h/f", "s3://b/k"], 2, "only http and https"),
        (["http://127.0.0.1:1/x", "b/k"], 2, "names no bucket"),
        (["http://127.0.0.1:1/x", "s3://b/"], 2, "is empty"),
        (["http://127.0.0.1:1/x", "s3://b/" + "k" * 1025], 2, "1025 bytes"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--part-size", "1MiB"], 2, "part_size"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--part-size", "6GiB"], 2, "part_size"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--expected-size", "ten"], 2, "expected_size='ten'"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--expected-checksum", "md5:1"], 2, "32 hex digits"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--header", "no-colon"], 2, "--header"),
        (["http://127.0.0.1:1\\@h/x", "s3://b/k"], 2, "a backslash before its path"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--header", "Range: bytes=0-1"], 2, "'Range'"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--tag", "=x"], 2, "--tag"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--endpoint-url", "nowhere"], 2, "nowhere"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--ca-bundle", "/none"], 2, "verify='/none'"),
        (["http://127.0.0.1:1/x", "s3://b/k", "--retry-attempts", "1"], 1, "refused the connection"),
        (["http://no-such-host.invalid/x", "s3://b/k"], 1, "host was not found"),
    ],
)
def test_bad_input_is_one_sentence_without_a_traceback(arguments: list[str], code: int, said: str) -> None:
    """It names what is wrong, and nothing was sent."""
    done = command(*arguments)
    done.assert_one_sentence(code, said)
    assert done.out == ""


def test_an_option_cut_short_does_not_quote_its_value() -> None:
    done = command("https://example.org/x", "s3://b/k", "--h=Authorization: Bearer CANARY")
    assert done.code == 2
    assert "ambiguous option: --h could match --help, --header" in done.errors
    assert "CANARY" not in done.errors


def test_no_credentials_is_said_in_one_sentence(rclone: Store) -> None:
    """Before any byte moves."""
    with serving(10) as origin:
        done = command(
            origin.url, f"s3://{rclone.bucket}/key", store=rclone, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""
        )
    assert done.code == 1
    assert done.errors.splitlines()[-1].startswith("s3stream: no usable AWS credentials")
    assert "Traceback" not in done.errors


def test_a_wrong_secret_is_denied(rclone: Store) -> None:
    """A store that checks signatures says so, in one sentence."""
    with serving(12 * MiB) as origin:
        done = command(origin.url, f"s3://{rclone.bucket}/key", store=rclone, AWS_SECRET_ACCESS_KEY="wrong")
    assert done.code == 1
    assert "SignatureDoesNotMatch" in done.errors
    assert done.errors.count("\n") == 1


def test_a_missing_bucket_is_said_before_any_part_is_sent(moto: Store) -> None:
    """It is the first thing the store is asked."""
    with serving(12 * MiB) as origin:
        done = command(origin.url, "s3://no-such-bucket-here/key", store=moto)
        assert [exchange.range for exchange in origin.exchanges] == [(0, None)]
    assert done.code == 1
    assert "NoSuchBucket" in done.errors


def test_the_copies_of_a_private_origin_need_its_authority(rclone: Store, tls: Any, authority: Any) -> None:
    """--ca-bundle names it, and wins over REQUESTS_CA_BUNDLE; without, the certificate is refused."""
    with serving(9 * MiB, tls=tls) as origin:
        url = origin.url_of(origin.PATH, "localhost")
        trusted = command(url, f"s3://{rclone.bucket}/key", "--ca-bundle", str(authority.bundle), store=rclone)
        refused = command(url, f"s3://{rclone.bucket}/other", store=rclone)
        rclone.assert_holds("key", origin.resource.content)
    assert (trusted.code, trusted.errors) == (0, "")
    assert refused.code == 1
    assert "certificate was refused" in refused.errors
