"""Tables, parallel coordinates and scatter matrices in words: a phrase for each column."""

from __future__ import annotations

from ..facts.base import Place, Sample
from ..facts.tables import ColumnFacts, Counts, Dimensions, Table
from .terms import colours, count, join_some, num, spread


def write_columns(facts: Table | Dimensions, kind: str, items: int) -> list[str]:
    return _table(facts, items) if isinstance(facts, Table) else _dimensions(facts, kind, items)


def _table(facts: Table, items: int) -> list[str]:
    parts = [count(facts.n, "columns") + (f" of {facts.rows} rows" if facts.rows is not None else "")]
    parts += _columns(facts.columns, facts.n, items)
    if facts.cells and facts.rows is not None and facts.rows * facts.n <= 2 * items:
        parts.append("rows: " + " | ".join(", ".join(map(_quoted, row)) for row in facts.cells))
    return parts


def _dimensions(facts: Dimensions, kind: str, items: int) -> list[str]:
    what = "lines" if kind == "parallel coordinates" else "points"
    parts = [f"{count(facts.n, what)} over {facts.axes} ax{'is' if facts.axes == 1 else 'es'}"]
    parts += _columns(facts.columns, facts.axes, items)
    if facts.colours is not None:
        quartiles = facts.colours.sample.quartiles
        parts.append(colours(facts.colours.scale, None if quartiles is None else quartiles.value))
    return parts


def _columns(columns: tuple[ColumnFacts, ...], n: int, items: int) -> list[str]:
    shown = [_column(column, items) for column in columns[:items]]
    return [*shown, f"… {n - len(shown)} more" if n > len(shown) else ""]


def _column(facts: ColumnFacts, items: int) -> str:
    name = _quoted(facts.name) if facts.name else "without a name"
    if facts.hidden:
        return f"{name}: hidden"
    parts = _content(facts.content, items) if facts.content is not None else []
    if facts.shown is not None:
        parts.append(f"axis from {num(facts.shown[0])} to {num(facts.shown[1])}")
    if facts.chosen:
        ranges = join_some([f"from {num(low)} to {num(high)}" for low, high in facts.chosen], items)
        parts.append(f"selected {ranges} ({facts.inside} of the values)")
    if facts.r_to_next is not None:
        parts.append(f"correlation r {num(round(facts.r_to_next, 6))} with the next")
    return f"{name}: {', '.join(part for part in parts if part)}"


def _content(content: Sample | Counts, items: int) -> list[str]:
    if isinstance(content, Sample):
        values = [spread(content.quartiles.value)] if content.quartiles is not None else []
        return [count(content.n, "values", content.missing, content.read), *values]
    frequent = join_some([f"{_quoted(name)} {n}" for name, n in content.counts], items)
    parts = [count(content.n, "values", content.missing)]
    return [*parts, f"{content.different} different: {frequent}" if content.counts else ""]


def _quoted(text: Place) -> str:
    """Format a text of the figure, which may also be a number or date."""
    return f'"{text}"' if isinstance(text, str) else num(text)
