"""How an UploadPart's bytes pass through botocore untouched: three of its documented events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.framing import RequestBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KEY = "s3stream_body"
_ID = "airflow-s3stream"


def send_parts_as_given(client: S3Client) -> None:
    """
    Let ``client.upload_part(Body=RequestBody(...))`` send the body's own pieces under its own headers.

    botocore would wrap the body to compute the checksum itself, which costs more than the transfer, and its CRT signer
    copies what it is given. So the body steps aside while the request is built and signed, and comes back to be sent.
    Parameters, endpoint, credentials, signature and errors stay botocore's. Registering twice is harmless.
    """
    events = client.meta.events
    events.register("provide-client-params.s3.UploadPart", _step_aside, unique_id=f"{_ID}-aside")
    events.register("before-sign.s3.UploadPart", _describe, unique_id=f"{_ID}-describe")
    # Last, on the very event that signs: the signature is made, nothing has been sent.
    events.register_last("request-created.s3", _step_in, unique_id=f"{_ID}-in")


def _step_aside(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if isinstance(params.get("Body"), RequestBody):
        context[_KEY] = params["Body"]
        params["Body"] = b""


def _describe(request: Any, **_: Any) -> None:
    body = request.context.get(_KEY)
    if body is None:
        return
    for name, value in body.headers().items():
        del request.headers[name]
        request.headers[name] = value
    # botocore asks first (Expect: 100-continue) for every upload, which costs each part a round trip.
    del request.headers["Expect"]
    if body.ask_first:
        request.headers["Expect"] = "100-continue"
    if body.trailer:
        # What botocore's own trailing checksums set; its signers then sign STREAMING-UNSIGNED-PAYLOAD-TRAILER.
        request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}


def _step_in(request: Any, **_: Any) -> None:
    body = request.context.get(_KEY)
    if body is not None:
        request.data = body
