"""Notebook and question in, messages within a token budget and a ledger out. Pure functions: no I/O, no server, no torch."""

from __future__ import annotations

from .prompt.builder import Built, build, build_given, plain
from .prompt.inputs import Given, Job
from .prompt.ledger import Count, Counter, Segment
from .prompt.read_in_parts import Note, Plan, Window, combine, condense, plan
from .prompt.snapshot import Snapshot

__all__ = [
    "Built",
    "Count",
    "Counter",
    "Given",
    "Job",
    "Note",
    "Plan",
    "Segment",
    "Snapshot",
    "Window",
    "build",
    "build_given",
    "combine",
    "condense",
    "plain",
    "plan",
]
