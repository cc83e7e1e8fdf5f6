"""What changes with every question and so follows the notebook: variables, figures, staleness warnings and the user's cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..notebook import cells
from ..secrets import mask
from .inputs import AFTER_NOTEBOOK_SHARE, PromptInputs
from .ledger import Piece, piece
from .render import guard

MAX_WARNINGS = 8


def variable_and_figure_pieces(
    inputs: PromptInputs, budget: int, warnings: list[tuple[int, str]]
) -> tuple[list[Piece], list[str]]:
    """The pieces that fit, and the names of those that do not. warnings: (cell index, sentence) each."""
    count = inputs.count
    closing = _focus(inputs) + _warnings(inputs, warnings)
    if count.total(closing) > budget:
        closing = closing[:1] if count.total(closing[:1]) <= budget else []
    budget -= count.total(closing)
    variables = variable_pieces(inputs)
    kept, left = _fitting(inputs, variables, budget, "Variables in the kernel now:", "variables")
    figures = [piece("figure", f"Figure {i + 1}:\n{guard(cells.clean_text(f))}") for i, f in enumerate(inputs.figures)]
    kept_figures, _ = _fitting(inputs, figures, left, "", "figure")
    dropped = [f"variable {p.why}" for p in variables if p not in kept]
    dropped += [f"figure {i + 1}" for i, p in enumerate(figures) if p not in kept_figures]
    return [*(replace(p, why="") if p.segment == "variable" else p for p in kept), *kept_figures, *closing], dropped


def _focus(inputs: PromptInputs) -> list[Piece]:
    if inputs.focus is None or not inputs.cells:
        return []
    return [piece("focus", f"The user is at [cell {inputs.focus}].", inputs.focus)]


def _warnings(inputs: PromptInputs, warnings: list[tuple[int, str]]) -> list[Piece]:
    """The first warnings, those about the focused cell first."""
    shown = sorted(warnings, key=lambda warning: warning[0] != inputs.focus)[:MAX_WARNINGS]
    text = "State of the notebook:\n" + "\n".join(f"- {text}" for _, text in shown)
    return [piece("notes", text)] if shown else []


def variable_pieces(inputs: PromptInputs) -> list[Piece]:
    """A line for each variable, secrets masked; if they are long, those named in the question or the focused cell first."""
    asked = inputs.question.identifiers()
    if inputs.focus is not None:
        focused = [c.source[:20_000] for c in inputs.cells if c.index == inputs.focus]
        asked |= {word for source in focused for word in re.findall(r"[^\W\d]\w*", source)}
    lines = []
    for variable in inputs.variables:
        name, kind, summary = (
            one_line(str(variable.get(k) or ""))[:size] for k, size in (("name", 100), ("type", 100), ("summary", 2000))
        )
        text, _ = mask.mask(f"{name}: {kind} = {summary}" if summary else f"{name}: {kind}", inputs.known_secrets)
        lines.append((name not in asked, piece("variable", f"- {guard(text)}", None, "whole", name)))
    is_long = inputs.count.total([line for _, line in lines]) > inputs.budget * AFTER_NOTEBOOK_SHARE / 2
    return [line for _, line in (sorted(lines, key=lambda pair: pair[0]) if is_long else lines)]


def _fitting(
    inputs: PromptInputs, pieces: Sequence[Piece], budget: int, title: str, name: str
) -> tuple[list[Piece], int]:
    """The pieces that fit, under their title, and the tokens left."""
    opening = [piece(name, title)] if title and pieces else []
    left = budget - inputs.count.total(opening)
    kept: list[Piece] = []
    for each, size in zip(pieces, inputs.count.pieces(pieces), strict=True):
        if size <= left:
            kept.append(each)
            left -= size
    return ([*opening, *kept], left) if kept else ([], budget)


def one_line(text: str) -> str:
    return " ".join(cells.clean_text(text).replace('"', "'").split())
