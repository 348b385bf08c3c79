"""Measures one huge object: fetched into a file, read as a stream, gone on with after a kill; time, CPU and memory."""

from __future__ import annotations
