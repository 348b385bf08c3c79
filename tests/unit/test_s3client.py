"""What a transfer needs of a client, laid over what the user gave."""

from __future__ import annotations

from botocore.config import Config

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.s3client import transfer_config


def test_what_a_transfer_needs_wins_and_the_rest_is_kept() -> None:
    """A payload signed by botocore would be the empty body that stands in for a part."""
    given = Config(
        s3={"payload_signing_enabled": True, "addressing_style": "path"},
        retries={"total_max_attempts": 9},
        read_timeout=7,
        proxies={"https": "http://proxy:3128"},
    )
    config = transfer_config(given, connections=16, timeouts=Timeouts(connect=3, read=4))
    assert config.s3 == {"payload_signing_enabled": False, "addressing_style": "path"}
    assert config.retries["total_max_attempts"] == 1
    assert config.max_pool_connections >= 16
    assert (config.connect_timeout, config.read_timeout) == (3, 7)
    assert config.proxies == {"https": "http://proxy:3128"}
