"""Airflow's task state store (3.3 and later) as what outlives a try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.handover import Resume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY = "s3stream"
"""Under which the token is found in the state of the task."""


class TaskStateStore:
    """
    One value of ``context["task_state_store"]``, which all tries of one task instance share.

    Every call is a request to Airflow's API server by way of the supervisor, so only the task's own thread makes them.
    """

    def __init__(self, store: Any, key: str = KEY) -> None:
        self._store = store
        self._key = key

    def load(self) -> object:
        """Give what was saved last."""
        return self._store.get(self._key)

    def save(self, text: str) -> None:
        """
        Replace it, and read it back: the store does not say when it refused.

        :raises RuntimeError: it is not there.
        """
        self._store.set(self._key, text)
        if self._store.get(self._key) != text:
            raise RuntimeError("Airflow did not keep it")

    def clear(self) -> None:
        """Forget it."""
        self._store.delete(self._key)


def resume_in(
    context: Mapping[str, Any] | None, key: str = KEY, *, warn: Callable[[str], object] = lambda _: None
) -> Resume | None:
    """
    Let the tries of a task go on where the one before was.

    :param context: of the running task; None: they begin afresh, each.
    :param key: under which this transfer is known; a task that makes several gives each its own.
    :param warn: is told where a retry would come and have to begin afresh.
    """
    if context is None:
        return None
    store = context.get("task_state_store")
    if store is None:
        if try_left(context):
            warn(
                "This Airflow keeps no state of a task between its tries (3.3 does), so a retry begins at byte 0; "
                "resume=False says that this is known"
            )
        return None
    return Resume(store=TaskStateStore(store, key), again=lambda: try_left(context))


def try_left(context: Mapping[str, Any]) -> bool:
    """Whether Airflow will try again when this try fails, so far as the task itself can know."""
    task = context.get("ti")
    tried, most = getattr(task, "try_number", None), getattr(task, "max_tries", None)
    # Airflow counts tries from 1 and retries from 0.
    return isinstance(tried, int) and isinstance(most, int) and tried <= most
