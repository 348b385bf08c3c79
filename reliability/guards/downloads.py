"""Guards of objects: ranges, whole bodies, and the proof of both."""

from __future__ import annotations

from reliability.guards import Mutation, Seeds, tests

_RANGES = "airflow_s3stream/engine/ranges.py"
_PROOF = "airflow_s3stream/engine/proof.py"
_OBJECT = "airflow_s3stream/engine/objectproof.py"
_LARGE = "airflow_s3stream/engine/large.py"
_JOBS = "airflow_s3stream/engine/jobs.py"

MUTATIONS = [
    Mutation(
        "a whole object is of the version asked for",
        _RANGES,
        "self._asked_to == owner.size and etag_of(headers) == owner.etag:",
        "self._asked_to == owner.size:",
        tests("functional/test_get_lies.py", only="whole_of_another_version and file"),
    ),
    Mutation(
        "a range of an object says which it is",
        _RANGES,
        "        if found is None:\n            return SourceMisbehaved(",
        "        if found is None:\n            return None\n            return SourceMisbehaved(",
        tests("functional/test_get_lies.py", only="do_not_say and file"),
    ),
    Mutation(
        "a range of an object starts where it was asked for",
        _RANGES,
        "        if found.span.start != self.position or found.span.stop > self._asked_to:",
        "        if found.span.stop > self._asked_to:",
        Seeds("lies", "one: Content-Range starts elsewhere"),
    ),
    Mutation(
        "a range is of an object of the same length",
        _RANGES,
        "        if found.total is not None and found.total != owner.size:",
        "        if False:",
        tests("functional/test_get_lies.py", only="another_size and file"),
    ),
    Mutation(
        "a range is of the version asked for",
        _RANGES,
        "        if etag_of(headers) != owner.etag:",
        "        if False:",
        Seeds("lies", "one: overwritten, If-Match ignored"),
    ),
    Mutation(
        "a range that ends early is not complete",
        _RANGES,
        "        if self.position < self.stop:\n            raise SourceTruncated(",
        "        if False:\n            raise SourceTruncated(",
        Seeds("lies", "one: 206 shorter than asked"),
    ),
    Mutation(
        "a whole body has the MD5 that its ETag is",
        _PROOF,
        "    if digest.hexdigest() != (one_part[1] if one_part else etag):",
        "    if False:",
        Seeds("lies", "many: one bit flipped"),
    ),
    Mutation(
        "a whole body has the checksum that the store keeps",
        _PROOF,
        "    if digest.digest() != value:",
        "    if False:",
        Seeds("lies", "many: one bit flipped"),
    ),
    Mutation(
        "with SSE-KMS an ETag is no MD5",
        _PROOF,
        '        headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")',
        "        False",
        tests("unit/test_proof.py"),
    ),
    Mutation(
        "an object is the version that was listed, or proved",
        _PROOF,
        "    if changed and not level:",
        "    if False:",
        tests("unit/test_proof.py"),
    ),
    Mutation(
        "an object is as long as was listed",
        _PROOF,
        "    if entry.size is not None and len(body) != entry.size and not changed:",
        "    if False:",
        tests("unit/test_proof.py"),
    ),
    Mutation(
        "strict refuses what has only a size",
        _PROOF,
        "    if strict:\n",
        "    if False:\n",
        tests("unit/test_proof.py"),
    ),
    Mutation(
        "a body whose end nobody tells is not the whole",
        _PROOF,
        "        if entry.size is None and not framed:",
        "        if False:",
        tests("functional/test_lying_store.py", only="no_size_to_compare"),
    ),
    Mutation(
        "a part is not the whole",
        _JOBS,
        "        if get.status != 200:",
        "        if False:",
        tests("functional/test_fetch_guards.py", only="a_part_is_not_the_whole"),
    ),
    Mutation(
        "the ranges of a large object have the checksum that the store keeps",
        _LARGE,
        '            if total != int.from_bytes(self._promised, "big"):',
        "            if False:",
        Seeds("lies", "many: right Content-Range, wrong bytes"),
    ),
    Mutation(
        "the ranges of a large object have the MD5 that its ETag is",
        _LARGE,
        "        if digest.hexdigest() != self.etag:",
        "        if False:",
        Seeds("lies", "many: right Content-Range, wrong bytes"),
    ),
    Mutation(
        "one object has the checksum that the store promises",
        _OBJECT,
        "    if found == promise.value:",
        "    if True:",
        Seeds("lies", "one: one bit flipped"),
    ),
    Mutation(
        "checksums of parts are used only where the parts are the object",
        _OBJECT,
        "    if len(sizes) != count or sum(sizes) != head.size:",
        "    if False:",
        tests("unit/test_object_proof.py"),
    ),
]
