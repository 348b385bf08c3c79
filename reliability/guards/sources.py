"""Guards of what is read from a URL: which version, which bytes, how many."""

from __future__ import annotations

from reliability.guards import Mutation, Seeds, tests

_PROBE = "airflow_s3stream/plan/probe.py"
_STREAM = "airflow_s3stream/engine/stream.py"
_MOVE = "airflow_s3stream/engine/move.py"
_PINNED = tests("unit/test_probe.py", only="TestPinnedRange")

_BODY = "airflow_s3stream/engine/httpbody.py"

MUTATIONS = [
    Mutation(
        "a 200 is no answer to a range",
        _PROBE,
        "    if status != 206:\n        return SourceChanged(",
        "    if False:\n        return SourceChanged(",
        _PINNED,
    ),
    Mutation(
        "a range is of the version that was probed",
        _PROBE,
        "        if etag != probe.validator.value:",
        "        if False:",
        Seeds("lies", "copy: overwritten, If-Match ignored"),
    ),
    Mutation(
        "a range pinned by a date is of that date",
        _PROBE,
        "    if modified != probe.validator.value:",
        "    if False:",
        tests("unit/test_probe.py"),
    ),
    Mutation(
        "a range starts where it was asked for",
        _PROBE,
        "    if span.start != asked.start or span.stop > asked.stop:",
        "    if span.stop > asked.stop:",
        Seeds("lies", "copy: Content-Range starts elsewhere"),
    ),
    Mutation(
        "a range ends no later than it was asked for",
        _PROBE,
        "    if span.start != asked.start or span.stop > asked.stop:",
        "    if span.start != asked.start:",
        _PINNED,
    ),
    Mutation(
        "a range says which it is",
        _PROBE,
        "    if content_range is None:\n        return SourceMisbehaved(",
        "    if content_range is None:\n        return asked\n        return SourceMisbehaved(",
        _PINNED,
    ),
    Mutation(
        "a range is of a source of the same length",
        _PROBE,
        "    if content_range.total not in (None, probe.size):",
        "    if False:",
        _PINNED,
    ),
    Mutation(
        "a range is as long as it says",
        _PROBE,
        "    if length is not None and length != len(span):\n        return SourceMisbehaved(",
        "    if False:\n        return SourceMisbehaved(",
        _PINNED,
    ),
    Mutation(
        "a range is encoded as the whole is",
        _PROBE,
        "    if _encoding(headers) != probe.content_encoding:",
        "    if False:",
        _PINNED,
    ),
    Mutation(
        "a weak ETag pins nothing",
        _PROBE,
        "    if len(etag) > 2 and etag.startswith('\"') and etag.endswith('\"'):",
        "    if len(etag) > 2:",
        tests("unit/test_probe.py"),
    ),
    Mutation(
        "a recent date pins nothing",
        _PROBE,
        "_STRONG_AGE = 60.0",
        "_STRONG_AGE = 0.0",
        tests("unit/test_probe.py"),
    ),
    Mutation(
        "an encoded source is not read in ranges",
        _PROBE,
        " and not self.content_encoding and bool(self.size)",
        " and bool(self.size)",
        tests("unit/test_probe.py"),
    ),
    Mutation(
        "a body has one length",
        _PROBE,
        '        if lengths:\n            raise SourceMisbehaved("the source sent both',
        '        if False:\n            raise SourceMisbehaved("the source sent both',
        tests("unit/test_probe.py", only="framing"),
    ),
    Mutation(
        "a length is a number",
        _PROBE,
        "    if lengths or not (value.isascii() and value.isdigit()) or len(value) > 19:",
        "    if not (value.isascii() and value.isdigit()):",
        tests("unit/test_probe.py", only="framing"),
    ),
    Mutation(
        "a 206 that nobody asked for is no answer",
        _PROBE,
        "    if status == 206 and not ranged:",
        "    if False:",
        tests("unit/test_probe.py"),
    ),
    Mutation(
        "a body that goes on is not the whole",
        _BODY,
        "        if self._read(memoryview(bytearray(1))):",
        "        if False:",
        tests("functional/test_fault_rows.py", only="goes_on_behind_its_end"),
    ),
    Mutation(
        "what is read again is what was read before",
        _STREAM,
        "        if crc != self._crc:",
        "        if False:",
        tests("functional/test_misbehaving_origin.py", only="reread_that_differs"),
    ),
    Mutation(
        "a source opened again is the same version",
        _STREAM,
        "            if changed:\n                raise changed\n            self._reread(body)",
        "            self._reread(body)",
        tests("functional/test_misbehaving_origin.py", only="length_that_was_a_lie"),
    ),
    Mutation(
        "a source ends where it said",
        _STREAM,
        "        if not got and size is not None and self.position < size:",
        "        if False and size is not None:",
        tests("functional/test_misbehaving_origin.py", only="breaks_the_promise"),
    ),
    Mutation(
        "a URL in which two hosts can be read is none",
        "airflow_s3stream/engine/httpsource.py",
        "            if is_ambiguous(target):",
        "            if False:",
        tests("functional/test_connection_policy.py", only="backslash"),
    ),
    Mutation(
        "words of others are printed escaped",
        "airflow_s3stream/exceptions.py",
        "    if text.isprintable():\n",
        "    if True:\n",
        tests("unit/test_exceptions.py"),
    ),
    Mutation(
        "the checksum that the caller knows is that of the source",
        _MOVE,
        "        if self._expected is not None and value != self._expected.value:",
        "        if False:",
        Seeds("lies", "copy: one bit flipped"),
    ),
]
