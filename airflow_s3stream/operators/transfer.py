"""What the operators have in common: one transfer through a hook, which a kill stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Nothing heavy here: a DAG file must parse without loading boto3 or libcurl.

if TYPE_CHECKING:
    from airflow_s3stream.hooks.s3stream import S3StreamHook


class Transfer:
    """Mixed into an operator, before BaseOperator."""

    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: dict[str, Any] | None

    _hook: S3StreamHook | None = None
    _killed = False

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        """
        Have Airflow mask the secrets of the fields, first of all where it shows the fields themselves.

        This method, for it is the one that Airflow calls for mapped tasks too. Before, since a template that fails is
        logged; after, since the secret may be what it renders to.
        """
        self._mask_secrets()
        super()._do_render_template_fields(*args, **kwargs)  # type: ignore[misc]
        self._mask_secrets()

    def _mask_secrets(self) -> None:
        from airflow_s3stream.hooks.masking import mask_request

        mask_request(getattr(self, "url", None), getattr(self, "headers", None), self.botocore_config)

    def _open_hook(self, http_conn_id: str | None = None) -> S3StreamHook:
        """Make the hook from the rendered fields; from now on a kill stops what it does."""
        from airflow_s3stream.hooks.s3stream import S3StreamHook

        self._hook = S3StreamHook(
            self.aws_conn_id or None,
            http_conn_id or None,
            region_name=self.region_name or None,
            verify=self.verify,
            botocore_config=self.botocore_config,
        )
        if self._killed:  # before there was a hook to stop
            self.on_kill()
        return self._hook

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        """
        Return the named fields that say something, so that a profile or a default may speak for the rest.

        None is what the author did not write, and empty text what a template made of nothing.
        """
        fields = {name: getattr(self, name) for name in names}
        return {name: value for name, value in fields.items() if value is not None and value != ""}

    def on_kill(self) -> None:
        """Stop the transfer. Runs in a signal handler while ``execute`` runs, so it only sets a flag."""
        self._killed = True
        if self._hook is not None:
            self._hook.stop("the task was killed")
