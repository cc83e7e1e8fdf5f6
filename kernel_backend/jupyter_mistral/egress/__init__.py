"""Measures what leaves this machine: a whole session in an isolated network, under a system-call trace. Linux only."""
