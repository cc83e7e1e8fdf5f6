"""The four kinds of work on a notebook, by name, so that a thread or a child process can do them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...context.prompt import read_in_parts
from ...context.prompt.builder import Built, build_given, plain
from ...context.prompt.inputs import Given
from ...context.prompt.read_in_parts import Note, Plan
from ...context.prompt.snapshot import Snapshot

Name: TypeAlias = Literal["build", "plan", "combine", "condense"]


@dataclass(frozen=True)
class Work:
    """build: a prompt that continues `snapshot`. plan, combine, condense: see `context/prompt/read_in_parts.py`.

    last: cut notes that do not fit.
    """

    name: Name
    snapshot: Snapshot | None = None
    notes: Sequence[Note] = ()
    last: bool = False

    @property
    def gives_plan(self) -> bool:
        return self.name in ("plan", "condense")

    def do(self, given: Given) -> Built | Plan | None:
        if self.name == "build":
            return build_given(given, self.snapshot) if _has_context(given) else _without_context(given)
        if self.name == "plan":
            return read_in_parts.plan(given)
        if self.name == "combine":
            return read_in_parts.combine(given, self.notes, self.last)
        return read_in_parts.condense(given, self.notes)


def _has_context(given: Given) -> bool:
    return bool(given.notebook or given.variables or given.figures)


def _without_context(given: Given) -> Built:
    return plain(given.messages, count=given.count, overhead=given.overhead, image_tokens=given.image_tokens)
