"""What changes with every question and so stands below the notebook: variables, figures, doubts, and where the user is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..notebook import cells
from ..secrets import mask
from .inputs import TAIL_SHARE, PromptInputs
from .ledger import Piece, piece
from .render import guard

SHOWN_DOUBTS = 8


def tail(inputs: PromptInputs, room: int, doubts: list[tuple[int, str]]) -> tuple[list[Piece], list[str]]:
    """As much of it as fits, and the names of what does not."""
    count = inputs.count
    found = _place(inputs) + _doubts(inputs, doubts)
    if count.total(found) > room:
        found = found[:1] if count.total(found[:1]) <= room else []
    room -= count.total(found)
    lines = variables(inputs)
    kept, left = _fitting(inputs, lines, room, "Variables in the kernel now:", "variables")
    figures = [piece("figure", f"Figure {i + 1}:\n{guard(cells.clean_text(f))}") for i, f in enumerate(inputs.figures)]
    kept_figures, _ = _fitting(inputs, figures, left, "", "figure")
    dropped = [f"variable {p.why}" for p in lines if p not in kept]
    dropped += [f"figure {i + 1}" for i, p in enumerate(figures) if p not in kept_figures]
    return [*(replace(p, why="") if p.segment == "variable" else p for p in kept), *kept_figures, *found], dropped


def _place(inputs: PromptInputs) -> list[Piece]:
    if inputs.focus is None or not inputs.cells:
        return []
    return [piece("focus", f"The user is at [cell {inputs.focus}].", inputs.focus)]


def _doubts(inputs: PromptInputs, doubts: list[tuple[int, str]]) -> list[Piece]:
    near = sorted(doubts, key=lambda d: d[0] != inputs.focus)[:SHOWN_DOUBTS]
    text = "State of the notebook:\n" + "\n".join(f"- {text}" for _, text in near)
    return [piece("notes", text)] if near else []


def variables(inputs: PromptInputs) -> list[Piece]:
    """A line each, secrets masked; where they take much of the room, those that the question or the focused cell names first."""
    asked = inputs.question.identifiers()
    if inputs.focus is not None:
        focused = [c.source[:20_000] for c in inputs.cells if c.index == inputs.focus]
        asked |= {word for source in focused for word in re.findall(r"[^\W\d]\w*", source)}
    lines = []
    for each in inputs.variables:
        name, kind, summary = (
            one_line(str(each.get(k) or ""))[:size] for k, size in (("name", 100), ("type", 100), ("summary", 2000))
        )
        text, _ = mask.mask(f"{name}: {kind} = {summary}" if summary else f"{name}: {kind}", inputs.known_secrets)
        lines.append((name not in asked, piece("variable", f"- {guard(text)}", None, "whole", name)))
    is_tight = inputs.count.total([line for _, line in lines]) > inputs.budget * TAIL_SHARE / 2
    return [line for _, line in (sorted(lines, key=lambda pair: pair[0]) if is_tight else lines)]


def _fitting(
    inputs: PromptInputs, pieces: Sequence[Piece], room: int, title: str, name: str
) -> tuple[list[Piece], int]:
    """The pieces that fit, under their title, and the room that is left."""
    opening = [piece(name, title)] if title and pieces else []
    left = room - inputs.count.total(opening)
    kept: list[Piece] = []
    for each, size in zip(pieces, inputs.count.pieces(pieces), strict=True):
        if size <= left:
            kept.append(each)
            left -= size
    return ([*opening, *kept], left) if kept else ([], room)


def one_line(text: str) -> str:
    return " ".join(cells.clean_text(text).replace('"', "'").split())
