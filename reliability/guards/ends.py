"""Guards of how a copy ends: in awkward moments, with several threads at work."""

from __future__ import annotations

from reliability.guards import Mutation, tests

_ENDS = "unit/test_ends.py"

MUTATIONS = [
    Mutation(
        "an exception in a range's opening ahead reaches its worker",
        "airflow_s3stream/engine/relay.py",
        "            except BaseException as error:  # noqa: BLE001 - raised again by",
        "            except S3StreamError as error:  # noqa: BLE001 - raised again by",
        tests(_ENDS, only="reaches_the_worker"),
    ),
    Mutation(
        "a copy gets a buffer although others hold all memory",
        "airflow_s3stream/engine/pace.py",
        "            while own() and self._held + size > ceiling:",
        "            while self._held and self._held + size > ceiling:",
        tests(_ENDS, only="others_hold_all"),
    ),
    Mutation(
        "a second buffer has to fit",
        "airflow_s3stream/engine/pace.py",
        "            while own() and self._held + size > ceiling:",
        "            while False:",
        tests(_ENDS, only="has_to_fit"),
    ),
    Mutation(
        "a closed spool takes no buffer",
        "airflow_s3stream/engine/spool.py",
        "taken = bool(buffer.filled) and not self._closed",
        "taken = bool(buffer.filled)",
        tests(_ENDS, only="late_reader"),
    ),
    Mutation(
        "what a signal raises is not kept waiting by a sweep",
        "airflow_s3stream/engine/beginning.py",
        "        except Exception:\n            sweep()\n",
        "        except BaseException:\n            sweep()\n",
        tests(_ENDS, only="not_kept_waiting"),
    ),
    Mutation(
        "a call is undone although its start was interrupted",
        "airflow_s3stream/engine/stop.py",
        "    try:\n        thread.start()  # waits",
        "    thread.start()\n    try:\n        pass  # waits",
        tests(_ENDS, only="does_not_forget_it"),
    ),
    Mutation(
        "workers are known although waiting for them was interrupted",
        "airflow_s3stream/engine/run.py",
        "        self.stragglers = [thread for thread in threads if thread.ident is not None]",
        "        mine = [thread for thread in threads if thread.ident is not None]",
        tests(_ENDS, only="live_on_are_known"),
    ),
    Mutation(
        "a body opened while the transfer ended is not read",
        "airflow_s3stream/engine/stream.py",
        "            self._run.limits.check()  # whoever",
        "            pass  # whoever",
        tests(_ENDS, only="is_not_read"),
    ),
    Mutation(
        "closing a body does not wait for its reader",
        "airflow_s3stream/engine/httpbody.py",
        "                self._shut_down()\n",
        "                pass\n",
        tests(_ENDS, only="another_thread_reads"),
    ),
    Mutation(
        "a body that was closed meanwhile is not whole",
        "airflow_s3stream/engine/httpbody.py",
        '                self._interruption = self._interruption or Stopped("the source\'s body was closed")\n',
        "                pass\n",
        tests(_ENDS, only="another_thread_reads"),
    ),
]
