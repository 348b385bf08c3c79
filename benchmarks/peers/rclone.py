"""rclone, both ways it has to copy a URL into S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import ACCESS_KEY, SECRET_KEY, Job, program

if TYPE_CHECKING:
    from collections.abc import Sequence


def _remote(job: Job) -> list[str]:
    s3 = ["--s3-provider", "Other", "--s3-endpoint", job.base, "--s3-region", "us-east-1"]
    s3 += ["--s3-access-key-id", ACCESS_KEY, "--s3-secret-access-key", SECRET_KEY, "--s3-no-check-bucket"]
    return [*s3, "--config", "", "--retries", "1", "--low-level-retries", "1", "--log-level", "ERROR"]


class Copyurl:
    name = "rclone copyurl"
    note = "reads the source on one connection"

    def missing(self) -> str:
        return "" if program("rclone") else "rclone not installed"

    def command(self, job: Job) -> Sequence[str]:
        rclone = program("rclone") or "rclone"
        # The least CPU and wall of the settings tried: 5 to 16 MiB, 4 to 8 at once, with and without checksums.
        tuned = ["--s3-upload-concurrency", "4", "--s3-chunk-size", "16M"]
        return [rclone, "copyurl", job.url, f":s3:bench/{job.key}", *_remote(job), *tuned]


class CopyHttp:
    """
    ``rclone copyto`` from its http backend, which reads ranges in parallel.

    It needs an origin that answers HEAD with a Content-Length and takes ranges, and knows no validator: an
    object replaced halfway is mixed. Every chunk is held in memory before it is sent.
    """

    name = "rclone copy :http:"
    note = "needs HEAD; mixes versions if the object changes; holds each chunk in memory"

    def missing(self) -> str:
        return "" if program("rclone") else "rclone not installed"

    def command(self, job: Job) -> Sequence[str]:
        rclone = program("rclone") or "rclone"
        # The fastest tried over 30 ms, 25 MB/s: 5, 8, 16, 32, 64 MiB gave 157, 161, 150, 139, 133 MB/s.
        chunk = "8M"
        tuned = ["--multi-thread-streams", str(job.connections), "--multi-thread-cutoff", "1"]
        tuned += ["--multi-thread-chunk-size", chunk, "--s3-chunk-size", chunk]
        tuned += ["--s3-upload-concurrency", str(job.connections), "--s3-disable-checksum", "--no-check-dest"]
        source = ["--http-url", job.base, f":http:{job.path}"]
        return [rclone, "copyto", *source, f":s3:bench/{job.key}", *_remote(job), *tuned]


PEERS = [Copyurl(), CopyHttp()]
