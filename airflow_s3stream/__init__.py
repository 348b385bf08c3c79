"""Move bytes between URLs, S3 and local disk in a fixed amount of memory, from Airflow or a shell."""

__version__ = "0.1.0"
