"""Move bytes between URLs, S3 and local disk in a fixed amount of memory, from Airflow or a shell."""

from __future__ import annotations

__version__ = "0.1.0"
