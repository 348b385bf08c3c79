"""What Airflow shows about this provider; read at every start, so it imports nothing."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Describe the provider, after Airflow's ``provider_info.schema.json``."""
    integration = "S3 streaming"
    return {
        "package-name": "airflow-s3stream",
        "name": integration,
        "description": (
            "Streams URLs into S3, and downloads very many objects or one huge one from it, at the speed of the "
            "link, in a fixed amount of memory, and never publishes a wrong object."
        ),
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html",
                "tags": ["protocol", "aws"],
            }
        ],
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [
                    "airflow_s3stream.operators.s3_to_local",
                    "airflow_s3stream.operators.s3_uploads",
                    "airflow_s3stream.operators.url_to_s3",
                ],
            }
        ],
        "hooks": [
            {
                "integration-name": integration,
                "python-modules": ["airflow_s3stream.hooks.s3stream"],
            }
        ],
    }
