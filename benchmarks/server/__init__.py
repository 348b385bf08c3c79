"""
A synthetic HTTP origin and S3 endpoint, fast enough that a benchmark measures its client.

Objects are a function of the offset, uploads are counted and thrown away. Raw sockets and a few processes,
since the standard library's HTTP server would cost more than the clients it serves. It checks no signature
and stores nothing: it measures speed. What was stored is proved by ``--check``, which decodes every upload and
keeps its CRC64NVME, at the price of speed.
"""
