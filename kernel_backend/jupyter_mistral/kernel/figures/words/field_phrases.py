"""Heat maps, images and contours in words."""

from __future__ import annotations

from ..facts.fields import Cells, Contours, Grid, Picture
from .terms import colours, count, extent, join_some, num, sampled, spread


def write_grid(facts: Grid, items: int) -> list[str]:
    parts = [f"{facts.rows} rows × {facts.columns} columns"]
    parts.append(f"{facts.missing} cells are missing" if facts.missing else "")
    parts.append(sampled(facts.read) if facts.read is not None else "")
    parts.append(f"sum {num(facts.sum)}" if facts.sum is not None else "")
    parts.append("values " + spread(facts.value, "(x, y)") if facts.value is not None else "")
    if facts.values and facts.rows * facts.columns <= 2 * items:
        parts.append("rows: " + " | ".join(", ".join(map(num, row)) for row in facts.values))
    return [*parts, colours(facts.scale) if facts.scale is not None else ""]


def write_cells(facts: Cells) -> list[str]:
    parts = [count(facts.n, "cells", facts.missing)]
    parts.append(f"sum {num(facts.sum)}" if facts.sum is not None else "")
    parts.append("values " + spread(facts.value, "(x, y)") if facts.value is not None else "")
    return [*parts, colours(facts.scale)]


def write_picture(facts: Picture) -> list[str]:
    return [f"{facts.rows} × {facts.columns} pixels, {facts.picture}, without values"]


def write_contours(facts: Contours, items: int) -> list[str]:
    parts = ["filled" if facts.filled else "lines"]
    parts.append(f"{facts.n} levels: " + join_some([num(v) for v in facts.levels], items))
    parts.append(f"values {extent(facts.value)}" if facts.value is not None else "")
    return [*parts, colours(facts.scale)]
