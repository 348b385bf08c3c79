"""What to do, decided in pure code: standard library only, no I/O, clock, thread or randomness."""
