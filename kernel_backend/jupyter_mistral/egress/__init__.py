"""Measures what leaves this machine: a whole journey in a network of its own, under a system-call trace. Linux only."""
