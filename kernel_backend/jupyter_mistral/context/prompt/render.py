"""Renders a cell as pieces of a prompt, at one of four levels of detail. Masks secrets before it shortens anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..notebook import shorten
from ..notebook.cells import Cell, Output
from ..notebook.shorten import LineFilter
from ..secrets import mask
from .ledger import Piece, State, piece


@dataclass(frozen=True)
class Level:
    """Maximum characters of the source and of each output, maximum outputs, and whether similar lines are collapsed."""

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

# lines in a cell that could pass for our own headings or for the end of the data
_FORGED = re.compile(r"(?im)^([ \t]*)(?=\[(?:cell|output)\b|changes since|more cells of|question:)")
_FORGED_TAG = re.compile(r"(?i)<(?=/?notebook\b)")


def guard(text: str) -> str:
    """The text with a backslash before everything that could pass for our own headings and tags."""
    return _FORGED_TAG.sub(r"<\\", _FORGED.sub(r"\1\\", text))


def head(cell: Cell) -> str:
    """The cell's heading: `[cell 12] In[7]`, or `[cell 12] text` for prose."""
    if not cell.is_code:
        return f"[cell {cell.index}] text"
    return f"[cell {cell.index}] In[{cell.run if cell.run is not None else ' '}]"


@dataclass(frozen=True)
class Renderer:
    """Renders cells as pieces. Masks `known_secrets` everywhere; shortening keeps lines for which `is_wanted` is true."""

    known_secrets: tuple[str, ...] = ()
    _masked: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)

    def _mask(self, text: str) -> tuple[str, int]:
        """Mask a text, once for all levels."""
        if text not in self._masked:
            self._masked[text] = mask.mask(text, self.known_secrets)
        return self._masked[text]

    def cell(self, cell: Cell, level: Level, is_wanted: LineFilter | None = None) -> tuple[Piece, ...]:
        """One piece for the source, then one for each output."""
        clean, hits = self._mask(cell.source)
        text = shorten.cut(clean, level.source, is_wanted)
        state, why = _why(text != clean or cell.left_out > 0, hits)
        pieces = [piece("source", f"{head(cell)}\n{guard(text)}", cell.index, state, why)]
        outputs = cell.outputs
        omitted = len(outputs) - level.outputs
        if omitted > 0:
            first = (level.outputs + 1) // 2
            outputs = outputs[:first] + outputs[len(outputs) - (level.outputs - first) :]
        pieces += [p for out in outputs if (p := self.output(cell, out, level, is_wanted)) is not None]
        if omitted > 0:
            text = f"[output {cell.index}] … {omitted} more outputs …"
            pieces.append(piece("output", text, cell.index, "shortened", "many outputs"))
        return tuple(pieces)

    def output(self, cell: Cell, out: Output, level: Level, is_wanted: LineFilter | None) -> Piece | None:
        clean, hits = self._mask(out.text)
        html, html_hits = self._mask(out.html) if out.html else ("", 0)
        hits = max(hits, html_hits)
        text = shorten.output(Output(out.kind, clean, html, out.mime, out.size), level.output, level.similar, is_wanted)
        if not text.strip():
            return None
        state, why = _why(("…" in text and "…" not in out.text) or out.left_out > 0, hits)
        kind = {"error": " error", "image": " image"}.get(out.kind, " stderr" if out.mime == "stderr" else "")
        segment = "image" if out.kind == "image" else "output"
        return piece(segment, f"[output {cell.index}{kind}]\n{guard(text)}", cell.index, state, why)


def _why(is_shorter: bool, hits: int) -> tuple[State, str]:
    reasons = ["long"] if is_shorter else []
    if hits:
        reasons.append(f"{hits} secret{'s' if hits > 1 else ''} masked")
    return ("shortened" if is_shorter else "whole"), ", ".join(reasons)
