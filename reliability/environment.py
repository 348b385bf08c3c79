"""What every figure runs in: the test servers' credentials, and nothing of the machine's own settings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.support import servers

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""


def prepare(root: Path = ROOT) -> None:
    """
    Give boto3's default chain the rigs' keys, and no settings of whoever runs this.

    :param root: of the checkout that processes started from here are to import.
    """
    nowhere = Path(tempfile.gettempdir()) / "no-such-settings"
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        os.environ.pop(name, None)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": servers.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": servers.SECRET_KEY,
        "AWS_DEFAULT_REGION": servers.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(nowhere),
        "AWS_SHARED_CREDENTIALS_FILE": str(nowhere),
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONPATH": str(root),
    }
    stack = root / ".localstack-venv" / "bin" / "python"
    if stack.exists():  # not beside the copies of the checkout in which guards are taken out
        os.environ.setdefault("S3STREAM_LOCALSTACK_PYTHON", str(stack))
    os.environ.setdefault("AIRFLOW_HOME", str(root / ".cache" / "airflow"))
