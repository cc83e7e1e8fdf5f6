"""Notebook and question in, messages within a token budget and a ledger out. Pure functions: no I/O, no server, no torch."""

from __future__ import annotations

from .given import Given, Job
from .ledger import Count, Counter, Segment
from .prompt import Built, build, build_given, plain
from .snapshot import Snapshot
from .thorough import Note, Plan, Window, combine, condense, plan

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
