"""Measures very many small objects: fetched to a disk, read into memory, listed; time, CPU and memory."""

from __future__ import annotations
