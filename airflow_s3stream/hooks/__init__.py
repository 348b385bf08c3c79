"""Airflow connections turned into clients and settings."""
