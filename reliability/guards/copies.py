"""Guards of copies: what is published, what is taken over from an earlier try, what is left behind."""

from __future__ import annotations

from reliability.guards import Mutation, Seeds, tests

_PUBLISH = "airflow_s3stream/engine/publish.py"
_HANDOVER = "airflow_s3stream/engine/handover.py"
_TOKEN = "airflow_s3stream/plan/resume.py"
_COPY = "airflow_s3stream/engine/copy.py"
_DECIDE = "airflow_s3stream/engine/decide.py"
_MOVE = "airflow_s3stream/engine/move.py"
_BEGIN = "airflow_s3stream/engine/beginning.py"
_SINK = "airflow_s3stream/engine/s3sink.py"
_CLEANUP = "airflow_s3stream/engine/cleanup.py"
_STATE = "airflow_s3stream/hooks/taskstate.py"
_RESUME = "functional/test_resume.py"
_STORE = "functional/test_misbehaving_store.py"
_TOKENS = tests("unit/test_resume_token.py", only="differs")

MUTATIONS = [
    Mutation(
        "a lost answer to the publishing request is looked into",
        _PUBLISH,
        "                found = self._find(equal=lost) if doubt or lost or",
        "                found = self._find(equal=lost) if",
        tests(_STORE, only="answer_lost_after_the_work"),
    ),
    Mutation(
        "an object is ours by its marker, not because something is there",
        _PUBLISH,
        "    return marked and found.size == content.size and",
        "    return found.size == content.size and",
        tests(_STORE, only="same_bytes_by_another_writer"),
    ),
    Mutation(
        "an object of another writer is as good only if its checksum is the same",
        _PUBLISH,
        "    return same and found.size == content.size\n",
        "    return found.size == content.size\n",
        Seeds("races", "other bytes", 10),
    ),
    Mutation(
        "an object of other bytes found at the end is an error",
        _PUBLISH,
        "        if marker != content.marker and not same:",
        "        if False:",
        tests(_STORE, only="not_ours_at_the_end"),
    ),
    Mutation(
        "a part that has another ETag and the same bytes is no reason to fail",
        _MOVE,
        "        mended = len(same) == len(self._parts) and same != self._parts",
        "        mended = False",
        tests(_RESUME, only="TestInvalidPart"),
    ),
    Mutation(
        "a new key is published on condition that it is still free",
        _SINK,
        '    return {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}',
        '    return {"IfMatch": replaces} if replaces else {}',
        Seeds("races", "other bytes", 10),
    ),
    Mutation(
        "an object is replaced on condition that it is the one that was seen",
        _SINK,
        '    return {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}',
        '    return {"IfNoneMatch": "*"} if not replaces else {}',
        Seeds("races", "other bytes", 10),
    ),
    Mutation(
        "what was seen at the key is the condition",
        _COPY,
        "        return existing, existing.etag or None",
        "        return existing, None",
        Seeds("races", "other bytes", 10),
    ),
    Mutation(
        "a store that refuses conditions is said to",
        _MOVE,
        "        if not stored.conditional:",
        "        if False:",
        tests(_RESUME, only="refuses_conditions"),
    ),
    Mutation(
        "who loses with the same bytes removes its upload",
        _MOVE,
        "                self._give_up(upload)\n",
        "                pass\n",
        Seeds("races", "the same bytes", 10),
    ),
    Mutation(
        "a token is of one destination",
        _TOKEN,
        "        if not self.goes_to(wanted.destination):",
        "        if False:",
        _TOKENS,
    ),
    Mutation(
        "a token is of one source",
        _TOKEN,
        "        if self.source != wanted.source:",
        "        if False:",
        _TOKENS,
    ),
    Mutation(
        "a token is of one request",
        _TOKEN,
        "        if self.request != wanted.request:",
        "        if False:",
        _TOKENS,
    ),
    Mutation(
        "a token is of one size",
        _TOKEN,
        "        if self.size != wanted.size:",
        "        if False:",
        _TOKENS,
    ),
    Mutation(
        "a token is of one version of the source",
        _TOKEN,
        "        if self.validator != wanted.validator:",
        "        if False:",
        tests(_RESUME, only="source_has_changed"),
    ),
    Mutation(
        "a stored part is taken over only if it has the size of the plan's",
        _TOKEN,
        "if stored.get(part.number) == len(part.span)}",
        "if part.number in stored}",
        tests("unit/test_resume_token.py", only="fits"),
    ),
    Mutation(
        "a stored part is taken over only if its checksum is known",
        _HANDOVER,
        "for part in listed if part.crc is not None and part.etag}",
        "for part in listed if part.etag}",
        tests(_RESUME, only="lists_no_checksums"),
    ),
    Mutation(
        "the part size of the upload wins",
        _DECIDE,
        "        options = replace(options, part_size=part_size)",
        "        pass",
        tests(_RESUME, only="part_size_of_the_upload"),
    ),
    Mutation(
        "the token is saved before the first part",
        _BEGIN,
        "self.upload, self._plan)\n        self._handover.save(self.token)\n",
        "self.upload, self._plan)\n",
        tests(_RESUME, only="before_the_first_part"),
    ),
    Mutation(
        "that an upload will be begun is saved before it is",
        _BEGIN,
        "        self.unknown = True\n",
        "        self.unknown = False\n",
        Seeds("schedules", "localstack", 30),
    ),
    Mutation(
        "an upload is kept only if another try will come",
        _HANDOVER,
        "isinstance(error, UploadVanished) and self._resume.again()",
        "isinstance(error, UploadVanished)",
        tests(_RESUME, only="no_try_is_left"),
    ),
    Mutation(
        "an upload is kept only if its token was saved",
        _HANDOVER,
        "not (self._saved and token.resumable)",
        "not token.resumable",
        tests(_RESUME, only="not_saved_is_not_kept"),
    ),
    Mutation(
        "an upload is kept only if a later try can go on with it",
        _HANDOVER,
        "not (self._saved and token.resumable)",
        "not self._saved",
        tests(_RESUME, only="without_checksums_is_not or without_ranges_is_not"),
    ),
    Mutation(
        "an upload is not kept after a failure that no try mends",
        _HANDOVER,
        "        return not hopeless and",
        "        return",
        tests(_RESUME, only="no_try_mends"),
    ),
    Mutation(
        "a lost upload is looked for",
        _BEGIN,
        "                self._handover.sweep(self._run.clock() - began, keep=self.upload)",
        "                pass",
        tests(_STORE, only="id_was_lost"),
    ),
    Mutation(
        "an upload that has parts is nobody's lost one",
        _HANDOVER,
        "                if not self._run.call(\"looking into",
        "                if True or not self._run.call(\"looking into",
        tests(_STORE, only="has_parts"),
    ),
    Mutation(
        "an upload whose id is known is not a lost one",
        _HANDOVER,
        "                ours = keep is not None and upload.upload_id == keep.upload_id",
        "                ours = False",
        tests(_STORE, only="id_was_lost"),
    ),
    Mutation(
        "an upload that is taken over is ours while its parts are listed",
        _BEGIN,
        "checksums=earlier.checksums) if earlier else None\n",
        "checksums=earlier.checksums) if False else None\n",
        tests(_RESUME, only="does_not_list_the_parts"),
    ),
    Mutation(
        "credentials that have expired are no reason to give up an upload",
        _BEGIN,
        "            if error.retryable:",
        "            if False:",
        tests(_RESUME, only="credentials_that_expire"),
    ),
    Mutation(
        "an earlier upload that cannot be removed stays in the state",
        _HANDOVER,
        "        if self._undropped is not None:",
        "        if False:",
        tests(_RESUME, only="cannot_be_removed_stays"),
    ),
    Mutation(
        "a state that cannot be read is not written over",
        _HANDOVER,
        "            self._resume = None  # what",
        "            pass  # what",
        tests(_RESUME, only="not_written_over"),
    ),
    Mutation(
        "a long key is known by its digest",
        _TOKEN,
        "        return self.destination in (name, digest(name))",
        "        return self.destination == name",
        tests(_RESUME, only="long_key"),
    ),
    Mutation(
        "every query value but a signature tells one source from another",
        _COPY,
        "            source=self._source.identity,",
        "            source=self._source.name,",
        tests(_RESUME, only="differs_in_its_query"),
    ),
    Mutation(
        "an object that is published is not forgotten because it could not be looked at",
        _COPY,
        "        if mover.published and (",
        "        if False and (",
        tests(_RESUME, only="TestPublished"),
    ),
    Mutation(
        "a copy that begins again knows what it has published",
        _COPY,
        "resume, gone=first.token).run()",
        "resume).run()",
        tests(_RESUME, only="completed_under_it"),
    ),
    Mutation(
        "what a store keeps of a published upload is removed",
        _MOVE,
        "                self._sweep(upload)\n",
        "                pass\n",
        tests(_RESUME, only="keeps_of_a_published"),
    ),
    Mutation(
        "what a signal raises is not swallowed",
        "airflow_s3stream/engine/stop.py",
        "        with suppress(Empty):\n            return queue.get(timeout=POLL)\n",
        "        with suppress(BaseException):\n            return queue.get(timeout=POLL)\n",
        tests(_RESUME, only="not_swallowed"),
    ),
    Mutation(
        "the loser takes its time to remove its upload",
        _MOVE,
        '            self._run.call("aborting the upload that is not needed", lambda: self._sink.abort(upload))',
        '            raise S3StreamError("at once")',
        tests(_RESUME, only="loser_removes"),
    ),
    Mutation(
        "an upload that the loser cannot remove stays in the state",
        _COPY,
        "        if not mover.leaves_upload:  # else",
        "        if True:  # else",
        tests(_RESUME, only="loser_cannot_remove"),
    ),
    Mutation(
        "an upload that somebody removed is begun again",
        _COPY,
        "    except UploadVanished as error:\n        # A lifecycle",
        "    except ZeroDivisionError as error:\n        # A lifecycle",
        tests(_STORE, only="somebody_removed"),
    ),
    Mutation(
        "an object that an earlier try published is recognised",
        _COPY,
        "    return existing is not None and earlier is not None and is_of(existing, earlier)",
        "    return False",
        tests(_RESUME, only="published_before or published_itself"),
    ),
    Mutation(
        "a state that cannot be cleared by an abort that failed stays",
        _COPY,
        "        if left.removed:\n            self._handover.clear()",
        "        self._handover.clear()",
        tests(_RESUME, only="abort_that_fails"),
    ),
    Mutation(
        "an upload is aborted again when parts were under way",
        _CLEANUP,
        "        if stragglers and failure is None:",
        "        if False:",
        tests("functional/test_corner_cases.py", only="aborted_again"),
    ),
    Mutation(
        "what Airflow did not keep is noticed",
        _STATE,
        "        if self._store.get(self._key) != text:",
        "        if False:",
        tests("functional/test_hook.py", only="not_kept"),
    ),
    Mutation(
        "the last try knows that it is the last",
        _STATE,
        "isinstance(most, int) and tried <= most",
        "isinstance(most, int)",
        tests("functional/test_hook.py", only="keeps_the_upload"),
    ),
    Mutation(
        "the whole object has the size that was promised",
        _MOVE,
        "        if self._probe.size is not None and self.size != self._probe.size:",
        "        if False:",
        tests("functional/test_misbehaving_origin.py"),
    ),
]  # fmt: skip
