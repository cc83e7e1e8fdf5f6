"""The four kinds of work on a notebook, by name, so that a thread or a child process can do them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...context.prompt import read_in_parts
from ...context.prompt.builder import Built, build_plain, build_prompt
from ...context.prompt.inputs import PromptInputs
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

    def do(self, inputs: PromptInputs) -> Built | Plan | None:
        if self.name == "build":
            return build_prompt(inputs, self.snapshot) if _has_context(inputs) else _without_context(inputs)
        if self.name == "plan":
            return read_in_parts.plan(inputs)
        if self.name == "combine":
            return read_in_parts.combine(inputs, self.notes, self.last)
        return read_in_parts.condense(inputs, self.notes)


def _has_context(inputs: PromptInputs) -> bool:
    return bool(inputs.notebook or inputs.variables or inputs.figures)


def _without_context(inputs: PromptInputs) -> Built:
    return build_plain(inputs.messages, count=inputs.count, overhead=inputs.overhead, image_tokens=inputs.image_tokens)
