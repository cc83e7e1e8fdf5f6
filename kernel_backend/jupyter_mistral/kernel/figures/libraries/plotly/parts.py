"""Traces of a plotly figure that stand on no x and y axis: shares, maps, dials, polar plots, flows, space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...measure import columns, series
from ...measure.positions import listed
from ...model import Axis, words
from .arrays import values
from .panel import Spec, Traces


def _pie(traces: Traces, trace: Spec) -> None:
    names, numbers = values(trace.get("labels")), values(trace.get("values"))
    held = columns.plain(columns.column(numbers)) if numbers is not None else [1.0] * len(names or [])
    texts = [words(n, 60) for n in listed(names)] if names is not None else [str(i) for i in range(len(held))]
    parts: dict[str, float] = {}
    for name, number in zip(texts, held, strict=False):  # plotly adds up slices of the same name
        if number == number and number >= 0:
            parts[name] = parts.get(name, 0.0) + number
    whole = sum(parts.values())
    if whole > 0:
        shares = [v / whole for v in parts.values()]
        traces.add("pie", trace, series.slices(list(parts), shares, list(parts.values())))


def _space(traces: Traces, trace: Spec) -> None:
    held = [columns.column(traces.positions(name, trace)) for name in "xyz"]
    kept, missing = columns.finite(*held)
    facts: dict[str, Any] = {"n": len(held[0]), "missing": missing}
    for name, column in zip("xyz", kept, strict=True):
        if len(column):
            facts[name] = series.spread(column, traces.axis(name))
    traces.add("3D points" if trace.get("mode") == "markers" else "3D line", trace, facts)


def _named_values(label: str, number: str) -> Callable[[Traces, Spec], None]:
    def read(traces: Traces, trace: Spec) -> None:
        names, numbers = values(trace.get(label)), values(trace.get(number))
        if names is None or numbers is None:
            traces.add(words(trace["type"], 30), trace, {"n": columns.length(names) if names is not None else 0})
            return
        texts = [words(n, 60) for n in listed(names)]
        told = series.bars(texts, listed(numbers), [0.0] * len(texts), horizontal=False)
        # parts may hold each other, so that their sum says nothing
        facts: dict[str, Any] = {
            name: told[name] for name in ("n", "missing", "top", "lowest", "values") if name in told
        }
        traces.add(words(trace["type"], 30), trace, facts)

    return read


def _map_points(traces: Traces, trace: Spec) -> None:
    facts: dict[str, Any] = {}
    for name in ("lat", "lon"):
        held = values(trace.get(name))
        if held is not None:
            facts[name] = series.sample(held, Axis(name), traces.reading.allowance)
    traces.add("points on a map", trace, facts)


def _indicator(traces: Traces, trace: Spec) -> None:
    gauge, delta, title = (trace.get(name) or {} for name in ("gauge", "delta", "title"))
    ends = (gauge.get("axis") or {}).get("range") or ()
    facts = {"value": trace.get("value"), "gauge": list(ends), "compared with": delta.get("reference")}
    kept = {k: v for k, v in facts.items() if isinstance(v, int | float) or (k == "gauge" and len(ends) == 2)}
    traces.add("indicator", trace, {"title": words(title.get("text"))} | kept)


def _polar(traces: Traces, trace: Spec) -> None:
    """Angles are numbers or, on a radar chart, names."""
    radii, angles = values(trace.get("r")), values(trace.get("theta"))
    column = columns.column(radii if radii is not None else [])
    facts: dict[str, Any] = {"n": len(column)}
    (kept,), facts["missing"] = columns.finite(column)
    if len(kept):
        facts["r"] = series.spread(kept, Axis("r"))
    if angles is not None and len(column) <= series.LISTED:
        pairs = zip(listed(angles), columns.plain(column), strict=False)
        facts["r at theta"] = [[a if isinstance(a, int | float) else words(a, 60), r] for a, r in pairs if r == r]
    traces.add("points on a polar plot", trace, facts)


def _flows(traces: Traces, trace: Spec) -> None:
    node, link = trace.get("node") or {}, trace.get("link") or {}
    held = [values(found) for found in (node.get("label"), *map(link.get, ("source", "target", "value")))]
    labels, *numbers = ([] if found is None else listed(found) for found in held)
    names = [words(n, 60) for n in labels]
    *ends, sizes = (columns.plain(columns.column(found)) for found in numbers)
    said = [[names[int(n)] if 0 <= n < len(names) else n for n in end] for end in ends]
    links = [[a, b, size] for a, b, size in zip(*said, sizes, strict=False)]
    traces.add("sankey", trace, {"n": len(links), "flows": links[: series.LISTED]})


READERS: dict[str, Callable[[Traces, Spec], None]] = {
    "pie": _pie,
    "scatter3d": _space,
    "indicator": _indicator,
    "sankey": _flows,
    **dict.fromkeys(("scatterpolar", "scatterpolargl", "barpolar"), _polar),
    **dict.fromkeys(("scattergeo", "scattermapbox", "scattermap"), _map_points),
    **dict.fromkeys(("choropleth", "choroplethmapbox", "choroplethmap"), _named_values("locations", "z")),
    **dict.fromkeys(("sunburst", "treemap", "icicle", "funnelarea"), _named_values("labels", "values")),
}
