"""A view of a Vega-Lite chart: its channels, its aggregates worked out as Vega does, and its axes."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...measure import columns
from ...measure.positions import Convert, mapped
from ...model import Axis, Panel, words
from ...reader import Reading

Spec = Mapping[str, Any]
Row = Mapping[str, Any]
KINDS = {"quantitative": "number", "temporal": "date", "nominal": "category", "ordinal": "category"}
# channels that set series apart
GROUPS = (
    "color",
    "fill",
    "stroke",
    "shape",
    "strokeDash",
    "detail",
    "opacity",
    "xOffset",
    "yOffset",
    "row",
    "column",
    "facet",
)


@dataclass
class View:
    """A mark, how it is encoded, and the rows that it is drawn from."""

    mark: str
    options: Spec
    encoding: Spec
    rows: Sequence[Row]
    transforms: Sequence[Any]
    panel: Panel
    reading: Reading

    def channel(self, name: str) -> Spec:
        held = self.encoding.get(name)
        return held if isinstance(held, Mapping) else {}

    def field(self, name: str) -> str:
        """The field of a channel, `\\.` for a dot unescaped."""
        return re.sub(r"\\(.)", r"\1", str(self.channel(name).get("field") or ""))


def measure(view: View, name: str) -> str:
    """The key under which an aggregated or plain number of a channel stands in the rows; empty for no number."""
    channel = view.channel(name)
    if channel.get("aggregate"):
        return f"{channel['aggregate']}\0{view.field(name)}"
    return view.field(name) if channel.get("type") == "quantitative" else ""


def key(view: View, name: str) -> str:
    return measure(view, name) or view.field(name)


def aggregated(view: View) -> Sequence[Row]:
    """One row for each combination of the fields that are not aggregated, where a channel is."""
    wanted = {
        n: view.channel(n)["aggregate"]
        for n in ("x", "y", "theta", "color", "size")
        if view.channel(n).get("aggregate")
    }
    if not wanted:
        return view.rows
    unknown = [str(a) for a in wanted.values() if a not in _AGGREGATES]
    if unknown:
        raise ValueError(f"the aggregate {unknown[0][:40]} is worked out by the browser")
    by = list(dict.fromkeys(view.field(n) for n in ("x", "y", "theta", *GROUPS) if n not in wanted and view.field(n)))
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for row in view.rows:
        parts.setdefault(tuple(_hashable(row.get(field)) for field in by), []).append(row)
    found = []
    for held, rows in parts.items():
        made: dict[str, Any] = dict(zip(by, held, strict=True))
        for name, aggregate in wanted.items():
            field = view.field(name)
            numbers = (
                [v for v in columns.plain(columns.column([r.get(field) for r in rows])) if v == v] if field else []
            )
            made[measure(view, name)] = float(len(rows)) if aggregate == "count" else _AGGREGATES[aggregate](numbers)
        found.append(made)
    return found


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else words(value, 60)


_AGGREGATES: dict[str, Callable[[list[float]], float | None]] = {
    "count": lambda numbers: float(len(numbers)),
    "sum": lambda numbers: float(sum(numbers)),
    "mean": lambda numbers: statistics.fmean(numbers) if numbers else None,
    "average": lambda numbers: statistics.fmean(numbers) if numbers else None,
    "median": lambda numbers: float(statistics.median(numbers)) if numbers else None,
    "min": lambda numbers: min(numbers) if numbers else None,
    "max": lambda numbers: max(numbers) if numbers else None,
}


def read_axis(view: View, name: str, rows: Sequence[Row]) -> Convert:
    """The view's axis; layers share theirs, so that the first view that has one names it."""
    channel, field = view.channel(name), view.field(name)
    column = [row.get(key(view, name)) for row in rows]
    axis = Axis(name, title_of_channel(channel, field))
    kind = "number" if channel.get("aggregate") else KINDS.get(str(channel.get("type")), "")
    if not field and not channel.get("aggregate"):
        column = [channel["datum"]] if "datum" in channel else []
    order = _order(channel, column)
    shared = view.panel.axes.get(name)
    if shared is not None and shared.kind == "category":
        order = [*shared.categories, *order]
    convert = mapped(axis, [column], kind, order)
    scale = channel.get("scale") if isinstance(channel.get("scale"), Mapping) else {}
    assert isinstance(scale, Mapping)
    axis.scale = words(scale.get("type") or "linear", 20)
    axis.scale = "linear" if axis.scale in ("time", "utc", "point", "band") else axis.scale
    domain = scale.get("domain")
    if isinstance(domain, list) and len(domain) == 2 and axis.kind != "category":
        low, high = columns.plain(columns.column(convert(domain)))
        axis.limits = (low, high) if low == low and high == high else None
    axis.reversed = scale.get("reverse") is True or (channel.get("sort") == "descending" and axis.kind != "category")
    if axis.limits is not None and axis.reversed:
        axis.limits, axis.reversed = (max(axis.limits), min(axis.limits)), False
    if scale.get("zero") is False and axis.limits is None:
        axis.note = "need not begin at zero"
    if shared is None or (field and not shared.label):
        view.panel.axes[name] = axis
    elif shared.kind == "category":
        shared.categories, shared.at, shared.near = axis.categories, axis.at, axis.near
    return convert


def title_of_channel(channel: Spec, field: str) -> str:
    own = channel.get("axis")
    for held in (channel.get("title"), own.get("title") if isinstance(own, Mapping) else None):
        if held:
            return words(held)
    aggregate = channel.get("aggregate")
    if aggregate == "count":
        return "Count of Records"
    return words(f"{str(aggregate).title()} of {field}" if aggregate else field)


def _order(channel: Spec, column: Sequence[Any]) -> list[Any]:
    """Categories in Vega's order: ascending unless the channel says otherwise."""
    sort = channel.get("sort", "ascending")
    if isinstance(sort, list):
        return sort
    if sort not in ("ascending", "descending"):
        return []
    found = list(dict.fromkeys(_hashable(v) for v in column if v is not None))
    return sorted(found, key=lambda v: (isinstance(v, str), v), reverse=sort == "descending")
