"""Measures how fast, how cheaply and in how much memory URLs are copied into S3, beside other tools."""
