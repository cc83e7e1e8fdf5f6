"""Tables, parallel coordinates and matrices of scatter plots in words: a phrase for each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..model import Axis
from .terms import Facts, colours, count, num, some, spread

Axes = Mapping[str, Axis]


def _column(facts: Facts, items: int) -> str:
    name = _shown(facts["name"]) if facts["name"] else "without a name"
    if facts.get("hidden"):
        return f"{name}: hidden"
    parts = [count(facts, "values")]
    if "counts" in facts:
        often = some([f"{_shown(name)} {n}" for name, n in facts["counts"]], items)
        parts.append(f"{facts['different']} different: {often}" if facts["counts"] else "")
    if "value" in facts:
        parts.append(spread(facts["value"], ""))
    if "shown" in facts:
        parts.append(f"axis from {num(facts['shown'][0])} to {num(facts['shown'][1])}")
    if "chosen" in facts:
        ranges = some([f"from {num(low)} to {num(high)}" for low, high in facts["chosen"]], items)
        parts.append(f"chosen {ranges} ({facts['inside']} of the values)")
    if facts.get("r_to_next") is not None:
        parts.append(f"correlation r {num(round(facts['r_to_next'], 6))} with the next")
    return f"{name}: {', '.join(part for part in parts if part)}"


def _shown(text: Any) -> str:
    """A name of the figure's own, a number or date too."""
    return f'"{text}"' if isinstance(text, str) else num(text)


def _columns(facts: Facts, items: int) -> list[str]:
    rest = facts.get("axes", facts["n"]) - len(facts["columns"][:items])
    return [_column(column, items) for column in facts["columns"][:items]] + ([f"… {rest} more"] if rest > 0 else [])


def _table(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [count({"n": facts["n"]}, "columns") + (f" of {facts['rows']} rows" if "rows" in facts else "")]
    parts += _columns(facts, items)
    if facts.get("cells") and facts["rows"] * facts["n"] <= 2 * items:
        parts.append("rows: " + " | ".join(", ".join(_shown(v) for v in row) for row in facts["cells"]))
    return parts


def _dimensions(what: str) -> Callable[[Facts, Axes, int], list[str]]:
    def tell(facts: Facts, axes: Axes, items: int) -> list[str]:
        axes_ = f"{facts['axes']} ax{'is' if facts['axes'] == 1 else 'es'}"
        parts = [f"{count({'n': facts['n']}, what)} over {axes_}"]
        parts += _columns(facts, items)
        return [*parts, "colour " + colours(facts["colours"]) if "colours" in facts else ""]

    return tell


PHRASES: dict[str, Callable[[Facts, Axes, int], list[str]]] = {
    "table": _table,
    "parallel coordinates": _dimensions("lines"),
    "scatter matrix": _dimensions("points"),
}
