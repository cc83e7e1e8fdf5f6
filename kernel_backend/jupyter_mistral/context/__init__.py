"""Notebook and question in, messages within a token budget and a ledger out. Pure functions: no I/O, no server, no torch."""

from __future__ import annotations

from .prompt.builder import Built, build, build_plain, build_prompt
from .prompt.inputs import Job, PromptInputs
from .prompt.ledger import Count, Counter, Segment
from .prompt.read_in_parts import Note, Plan, Window, combine, condense, plan
from .prompt.snapshot import Snapshot

__all__ = [
    "Built",
    "Count",
    "Counter",
    "Job",
    "Note",
    "Plan",
    "PromptInputs",
    "Segment",
    "Snapshot",
    "Window",
    "build",
    "build_plain",
    "build_prompt",
    "combine",
    "condense",
    "plan",
]
