"""A view of a Vega-Lite chart: its channels, its axes, and its aggregates, computed as Vega does."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...measure import columns
from ...measure.positions import Convert, map_axis
from ...model import Axis, Panel, clean_text
from ...reader import Reading

Spec = Mapping[str, Any]
Row = Mapping[str, Any]
KINDS = {"quantitative": "number", "temporal": "date", "nominal": "category", "ordinal": "category"}
# channels that separate series
GROUP_CHANNELS = (
    *("color", "fill", "stroke", "shape", "strokeDash", "detail", "opacity"),
    *("xOffset", "yOffset", "row", "column", "facet"),
)


@dataclass
class View:
    """A mark, its encoding, and the rows that it is drawn from."""

    mark: str
    options: Spec
    encoding: Spec
    rows: Sequence[Row]
    transforms: Sequence[Any]
    panel: Panel
    reading: Reading

    def channel(self, name: str) -> Spec:
        channel = self.encoding.get(name)
        return channel if isinstance(channel, Mapping) else {}

    def field(self, name: str) -> str:
        """Return the field of a channel; its escaped dots (`\\.`) are unescaped."""
        return re.sub(r"\\(.)", r"\1", str(self.channel(name).get("field") or ""))


def number_key(view: View, name: str) -> str:
    """Return the key of a channel's number in the rows, aggregated or not; "" if the channel has no number."""
    channel = view.channel(name)
    if channel.get("aggregate"):
        return f"{channel['aggregate']}\0{view.field(name)}"
    return view.field(name) if channel.get("type") == "quantitative" else ""


def key(view: View, name: str) -> str:
    return number_key(view, name) or view.field(name)


def aggregate_rows(view: View) -> Sequence[Row]:
    """Return one row for each combination of the fields that are not aggregated; all rows if no channel is."""
    aggregates = {
        n: view.channel(n)["aggregate"]
        for n in ("x", "y", "theta", "color", "size")
        if view.channel(n).get("aggregate")
    }
    if not aggregates:
        return view.rows
    unknown = [str(a) for a in aggregates.values() if a not in _AGGREGATES]
    if unknown:
        raise ValueError(f"the aggregate {unknown[0][:40]} is computed by the browser")
    channels = [n for n in ("x", "y", "theta", *GROUP_CHANNELS) if n not in aggregates]
    by = list(dict.fromkeys(view.field(n) for n in channels if view.field(n)))
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for row in view.rows:
        parts.setdefault(tuple(_hashable(row.get(field)) for field in by), []).append(row)
    return [
        dict(zip(by, values, strict=True))
        | {number_key(view, name): _aggregate(rows, view.field(name), how) for name, how in aggregates.items()}
        for values, rows in parts.items()
    ]


def _aggregate(rows: Sequence[Row], field: str, aggregate: str) -> float | None:
    if aggregate == "count":
        return float(len(rows))
    numbers = columns.to_floats(columns.to_column([row.get(field) for row in rows])) if field else []
    return _AGGREGATES[aggregate]([v for v in numbers if v == v])


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else clean_text(value, 60)


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
    """Read an axis of the view. Layers share their axes: the first view that has a field names the axis."""
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
    convert = map_axis(axis, [column], kind, order)
    _read_scale(axis, channel, convert)
    if shared is None or (field and not shared.label):
        view.panel.axes[name] = axis
    elif shared.kind == "category":
        shared.categories, shared.at, shared.near = axis.categories, axis.at, axis.near
    return convert


def _read_scale(axis: Axis, channel: Spec, convert: Convert) -> None:
    scale = channel.get("scale")
    if not isinstance(scale, Mapping):
        scale = {}
    axis.scale = clean_text(scale.get("type") or "linear", 20)
    axis.scale = "linear" if axis.scale in ("time", "utc", "point", "band") else axis.scale
    domain = scale.get("domain")
    if isinstance(domain, list) and len(domain) == 2 and axis.kind != "category":
        low, high = columns.to_floats(columns.to_column(convert(domain)))
        axis.limits = (low, high) if low == low and high == high else None
    axis.reversed = scale.get("reverse") is True or (channel.get("sort") == "descending" and axis.kind != "category")
    if axis.limits is not None and axis.reversed:
        axis.limits, axis.reversed = (max(axis.limits), min(axis.limits)), False
    if scale.get("zero") is False and axis.limits is None:
        axis.note = "need not begin at zero"


def title_of_channel(channel: Spec, field: str) -> str:
    axis = channel.get("axis")
    for title in (channel.get("title"), axis.get("title") if isinstance(axis, Mapping) else None):
        if title:
            return clean_text(title)
    aggregate = channel.get("aggregate")
    if aggregate == "count":
        return "Count of Records"
    return clean_text(f"{str(aggregate).title()} of {field}" if aggregate else field)


def _order(channel: Spec, column: Sequence[Any]) -> list[Any]:
    """Return the categories in Vega's order: ascending unless the channel specifies another."""
    sort = channel.get("sort", "ascending")
    if isinstance(sort, list):
        return sort
    if sort not in ("ascending", "descending"):
        return []
    categories = list(dict.fromkeys(_hashable(v) for v in column if v is not None))
    return sorted(categories, key=lambda v: (isinstance(v, str), v), reverse=sort == "descending")
