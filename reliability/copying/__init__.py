"""Copies under faults: tries as Airflow makes them, and what must be true after each."""
