"""The lifecycle rule that the README shows."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.servers import REPOSITORY
from tests.support.stores import Store


@pytest.mark.parametrize("name", ["localstack", "moto"])
def test_stores_take_the_rule(request: pytest.FixtureRequest, name: str) -> None:
    """As it stands there, and hold it as it was meant."""
    store: Store = request.getfixturevalue(name)
    shown = re.search(r"<!-- lifecycle:start -->\n```json\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert shown
    rules = json.loads(shown[1])
    store.client.put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration=rules)
    (kept,) = store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"]
    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert kept["Filter"] == {"Prefix": "incoming/"}
