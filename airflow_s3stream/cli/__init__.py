"""The command ``s3stream``."""

from __future__ import annotations

from airflow_s3stream.cli.command import main

__all__ = ["main"]
