"""Reads plotly traces without an x and a y axis: shares, maps, dials, polar plots, flows, space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...facts.bars import NamedValues
from ...facts.base import Spread
from ...facts.others import Count, Flow, Flows, Indicator, MapPoints, PolarPoints
from ...facts.points import Points3D
from ...measure import columns
from ...measure.bars import measure_bars, measure_pie
from ...measure.positions import to_list
from ...measure.summaries import MAX_LISTED, measure_sample, measure_spread
from ...model import Axis, clean_text
from .arrays import read_array
from .panel import Spec, Traces


def _read_pie(traces: Traces, trace: Spec) -> None:
    labels, values = read_array(trace.get("labels")), read_array(trace.get("values"))
    numbers = columns.to_floats(columns.to_column(values)) if values is not None else [1.0] * len(labels or [])
    names = [clean_text(n, 60) for n in to_list(labels)] if labels is not None else list(map(str, range(len(numbers))))
    parts: dict[str, float] = {}
    for name, number in zip(names, numbers, strict=False):  # plotly adds up slices of the same name
        if number == number and number >= 0:
            parts[name] = parts.get(name, 0.0) + number
    total = sum(parts.values())
    if total > 0:
        shares = [v / total for v in parts.values()]
        traces.add("pie", trace, measure_pie(list(parts), shares, list(parts.values())))


def _read_space(traces: Traces, trace: Spec) -> None:
    data = [columns.to_column(traces.positions(name, trace)) for name in "xyz"]
    kept, missing = columns.drop_missing(*data)

    def spread(name: str) -> Spread | None:
        column = kept["xyz".index(name)]
        return measure_spread(column, traces.axis(name)) if len(column) else None

    facts = Points3D(n=len(data[0]), missing=missing, x=spread("x"), y=spread("y"), z=spread("z"))
    traces.add("3D points" if trace.get("mode") == "markers" else "3D line", trace, facts)


def _named_values_reader(label: str, number: str) -> Callable[[Traces, Spec], None]:
    def read(traces: Traces, trace: Spec) -> None:
        kind = clean_text(trace["type"], 30)
        labels, values = read_array(trace.get(label)), read_array(trace.get(number))
        if labels is None or values is None:
            traces.add(kind, trace, Count(n=columns.length(labels) if labels is not None else 0))
            return
        names = [clean_text(n, 60) for n in to_list(labels)]
        bars = measure_bars(names, to_list(values), [0.0] * len(names), is_horizontal=False)
        # parts may contain each other, so that their sum would be meaningless
        facts = NamedValues(n=bars.n, missing=bars.missing)
        if bars.lengths is not None:
            lengths = bars.lengths
            facts = NamedValues(
                n=bars.n, missing=bars.missing, top=lengths.top, lowest=lengths.lowest, values=lengths.values
            )
        traces.add(kind, trace, facts)

    return read


def _read_map_points(traces: Traces, trace: Spec) -> None:
    lat, lon = (
        None if data is None else measure_sample(data, Axis(name), traces.reading.allowance)
        for name, data in ((name, read_array(trace.get(name))) for name in ("lat", "lon"))
    )
    traces.add("points on a map", trace, MapPoints(lat=lat, lon=lon))


def _read_indicator(traces: Traces, trace: Spec) -> None:
    gauge, delta, title = (trace.get(name) or {} for name in ("gauge", "delta", "title"))
    ends = (gauge.get("axis") or {}).get("range") or ()
    facts = Indicator(
        title=clean_text(title.get("text")),
        value=_number(trace.get("value")),
        gauge=tuple(ends) if len(ends) == 2 else (),
        compared_with=_number(delta.get("reference")),
    )
    traces.add("indicator", trace, facts)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _read_polar(traces: Traces, trace: Spec) -> None:
    """Read a polar plot. Angles are numbers or, on a radar chart, names."""
    radii, angles = read_array(trace.get("r")), read_array(trace.get("theta"))
    column = columns.to_column(radii if radii is not None else [])
    (kept,), missing = columns.drop_missing(column)
    are_listed = angles is not None and len(column) <= MAX_LISTED
    pairs = zip(to_list(angles), columns.to_floats(column), strict=False) if are_listed else ()
    facts = PolarPoints(
        n=len(column),
        missing=missing,
        r=measure_spread(kept, Axis("r")) if len(kept) else None,
        r_at_theta=tuple((a if isinstance(a, int | float) else clean_text(a, 60), r) for a, r in pairs if r == r),
    )
    traces.add("points on a polar plot", trace, facts)


def _read_flows(traces: Traces, trace: Spec) -> None:
    node, link = trace.get("node") or {}, trace.get("link") or {}
    arrays = map(read_array, (node.get("label"), *map(link.get, ("source", "target", "value"))))
    labels, *numbers = ([] if array is None else to_list(array) for array in arrays)
    names = [clean_text(n, 60) for n in labels]
    *ends, sizes = (columns.to_floats(columns.to_column(array)) for array in numbers)
    sources, targets = ([names[int(n)] if 0 <= n < len(names) else n for n in end] for end in ends)
    flows = [Flow(*each) for each in zip(sources, targets, sizes, strict=False)]
    traces.add("sankey", trace, Flows(n=len(flows), flows=tuple(flows[:MAX_LISTED])))


READERS: dict[str, Callable[[Traces, Spec], None]] = {
    "pie": _read_pie,
    "scatter3d": _read_space,
    "indicator": _read_indicator,
    "sankey": _read_flows,
    **dict.fromkeys(("scatterpolar", "scatterpolargl", "barpolar"), _read_polar),
    **dict.fromkeys(("scattergeo", "scattermapbox", "scattermap"), _read_map_points),
    **dict.fromkeys(("choropleth", "choroplethmapbox", "choroplethmap"), _named_values_reader("locations", "z")),
    **dict.fromkeys(("sunburst", "treemap", "icicle", "funnelarea"), _named_values_reader("labels", "values")),
}
