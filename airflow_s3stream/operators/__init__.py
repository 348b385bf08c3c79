"""Airflow operators: template, call the hook, return JSON."""
