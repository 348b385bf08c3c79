"""``python -m airflow_s3stream.cli`` is ``s3stream``."""

from __future__ import annotations

import sys

from airflow_s3stream.cli import main

sys.exit(main())
