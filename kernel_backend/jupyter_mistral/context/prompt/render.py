"""A cell as pieces of prompt, at one of four levels of detail. Secrets are masked before anything is shortened."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..notebook import shorten
from ..notebook.cells import Cell, Output
from ..notebook.shorten import Wanted
from ..secrets import mask
from .ledger import Piece, State, piece


@dataclass(frozen=True)
class Level:
    """Characters of source and of each output at most, outputs of a cell at most, whether similar lines are folded."""

    source: int
    output: int
    outputs: int
    similar: bool


LEVELS = (
    Level(source=40_000, output=6_000, outputs=50, similar=False),
    Level(source=12_000, output=1_500, outputs=20, similar=True),
    Level(source=5_000, output=600, outputs=8, similar=True),
    Level(source=1_200, output=260, outputs=3, similar=True),
)

# Lines in a cell that would read as our own headings or as the end of the data
_FORGED = re.compile(r"(?im)^([ \t]*)(?=\[(?:cell|output)\b|changes since|more cells of|question:)")
_FORGED_TAG = re.compile(r"(?i)<(?=/?notebook\b)")


def guard(text: str) -> str:
    """Text that cannot pass for our own marks: a backslash goes in front of what looks like one."""
    return _FORGED_TAG.sub(r"<\\", _FORGED.sub(r"\1\\", text))


def head(cell: Cell) -> str:
    """`[cell 12] In[7]`; prose is `[cell 12] text`."""
    if not cell.is_code:
        return f"[cell {cell.index}] text"
    return f"[cell {cell.index}] In[{cell.run if cell.run is not None else ' '}]"


@dataclass(frozen=True)
class Renderer:
    """Makes pieces of cells. `known_secrets` are masked wherever they stand; `wanted` lines survive shortening."""

    known_secrets: tuple[str, ...] = ()
    _masked: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)

    def _mask(self, text: str) -> tuple[str, int]:
        """Each text once, though it may be rendered at several levels."""
        if text not in self._masked:
            self._masked[text] = mask.mask(text, self.known_secrets)
        return self._masked[text]

    def cell(self, cell: Cell, level: Level, wanted: Wanted | None = None) -> tuple[Piece, ...]:
        """The cell's source, then each output, as a piece of its own."""
        clean, hits = self._mask(cell.source)
        text = shorten.cut(clean, level.source, wanted)
        state, why = _why(text != clean or cell.left_out > 0, hits)
        found = [piece("source", f"{head(cell)}\n{guard(text)}", cell.index, state, why)]
        outputs = cell.outputs
        gap = len(outputs) - level.outputs
        if gap > 0:
            first = (level.outputs + 1) // 2
            outputs = outputs[:first] + outputs[len(outputs) - (level.outputs - first) :]
        found += [p for out in outputs if (p := self.output(cell, out, level, wanted)) is not None]
        if gap > 0:
            found.append(
                piece(
                    "output", f"[output {cell.index}] … {gap} more outputs …", cell.index, "shortened", "many outputs"
                )
            )
        return tuple(found)

    def output(self, cell: Cell, out: Output, level: Level, wanted: Wanted | None) -> Piece | None:
        clean, hits = self._mask(out.text)
        html, more = self._mask(out.html) if out.html else ("", 0)
        hits = max(hits, more)
        text = shorten.output(Output(out.kind, clean, html, out.mime, out.size), level.output, level.similar, wanted)
        if not text.strip():
            return None
        state, why = _why(("…" in text and "…" not in out.text) or out.left_out > 0, hits)
        kind = {"error": " error", "image": " image"}.get(out.kind, " stderr" if out.mime == "stderr" else "")
        name = "image" if out.kind == "image" else "output"
        return piece(name, f"[output {cell.index}{kind}]\n{guard(text)}", cell.index, state, why)


def _why(is_shorter: bool, hits: int) -> tuple[State, str]:
    reasons = ["long"] if is_shorter else []
    if hits:
        reasons.append(f"{hits} secret{'s' if hits > 1 else ''} masked")
    return ("shortened" if is_shorter else "whole"), ", ".join(reasons)
