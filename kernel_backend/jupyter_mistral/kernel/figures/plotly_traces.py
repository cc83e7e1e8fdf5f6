"""Traces of a plotly figure into series, by their type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import columns, series
from .facts import Axis, Panel, Series, words
from .plotly_arrays import table, values
from .positions import Convert, day, listed
from .reading import Reading

Spec = Mapping[str, Any]
# types that stand on an x and a y axis
FLAT = {
    "scatter",
    "scattergl",
    "bar",
    "histogram",
    "box",
    "violin",
    "heatmap",
    "contour",
    "candlestick",
    "ohlc",
    "waterfall",
    "funnel",
    "image",
    "histogram2d",
    "histogram2dcontour",
}


class Traces:
    """The panel that traces are read into, and what turns their values into positions on its axes."""

    def __init__(self, panel: Panel, reading: Reading, converts: Mapping[str, Convert], layout: Spec) -> None:
        self.panel, self.reading, self.layout = panel, reading, layout
        self._converts = converts
        self._bars: list[tuple[Series, dict[float, float], bool]] = []

    def axis(self, name: str) -> Axis:
        return self.panel.axes.get(name) or Axis(name)

    def positions(self, name: str, trace: Spec, count: int = 0) -> Any:
        """The trace's values along an axis; counted from `x0` by `dx` where it has none."""
        held = values(trace.get(name))
        if held is None:
            start, step = trace.get(f"{name}0", 0), trace.get(f"d{name}", 1)
            start = start if isinstance(start, int | float) else 0
            return [start + i * step for i in range(count)]
        convert = self._converts.get(name)
        return convert(held) if convert else held

    def add(self, kind: str, trace: Spec, facts: dict[str, Any]) -> Series:
        found = Series(kind, words(trace.get("name")), facts, _colour(trace))
        self.panel.series.append(found)
        return found

    def add_bars(self, trace: Spec, places: Any, lengths: Any, bases: list[float], is_horizontal: bool) -> None:
        axis = self.axis("y" if is_horizontal else "x")
        places, lengths = columns.plain(columns.column(places)), columns.plain(columns.column(lengths))
        facts = series.bars([axis.near(p) for p in places], lengths, bases, is_horizontal)
        found = self.add("bars", trace, facts)
        self._bars.append((found, dict(zip(places, lengths, strict=True)), is_horizontal))

    def finish(self) -> None:
        """Totals where bars are stacked."""
        mode = str(self.layout.get("barmode", "group"))
        if len(self._bars) < 2 or mode == "overlay":
            return
        if mode not in ("stack", "relative"):
            self.panel.notes.append(f"{len(self._bars)} series of bars stand side by side (grouped)")
            return
        totals: dict[float, float] = {}
        for found, lengths, _ in self._bars:
            found.facts["stacked"] = True
            for place, length in lengths.items():
                totals[place] = totals.get(place, 0.0) + (length if length == length else 0.0)
        is_horizontal = self._bars[0][2]
        axis = self.axis("y" if is_horizontal else "x")
        names = [axis.near(p) for p in totals]
        facts = series.bars(names, list(totals.values()), [0.0] * len(totals), is_horizontal)
        self.panel.series.append(Series("stack totals", "", facts | {"layers": len(self._bars)}))
        self.panel.notes.append(f"{len(self._bars)} series of bars are stacked")


def _colour(trace: Spec) -> str:
    for name in ("line", "marker"):
        held = trace.get(name)
        colour = held.get("color") if isinstance(held, Mapping) else None
        if isinstance(colour, str) and len(colour) < 30:
            return words(colour)
    return ""


def read_trace(traces: Traces, trace: Spec) -> None:
    kind = str(trace.get("type", "scatter"))
    read = _READERS.get(kind)
    if read is not None:
        read(traces, trace)
        return
    found = {name: values(held) for name, held in trace.items()}
    lengths = [columns.length(v) for v in found.values() if v is not None]
    traces.add(words(kind, 30), trace, {"n": max(lengths, default=0)})


def _scatter(traces: Traces, trace: Spec) -> None:
    xs, ys = values(trace.get("x")), values(trace.get("y"))
    n = columns.length(ys if ys is not None else xs if xs is not None else [])
    mode = str(trace.get("mode") or ("lines+markers" if n < 20 else "lines"))
    ordered = "lines" in mode
    px, py = traces.positions("x", trace, n), traces.positions("y", trace, n)
    short = min(columns.length(px), columns.length(py))  # plotly draws as many as have both
    facts = series.points(px[:short], py[:short], traces.axis("x"), traces.axis("y"), traces.reading.allowance, ordered)
    shape = str((trace.get("line") or {}).get("shape", "linear"))
    kind = ("step line" if shape in ("hv", "vh", "hvh", "vhv") else "line") if ordered else "scatter"
    if kind == "step line":
        facts["steps"] = shape
    marker = trace.get("marker") or {}
    colours = values(marker.get("color"))
    if colours is not None and not any(isinstance(c, str) for c in colours[:10]):
        facts["colours"] = series.sample(colours, Axis("colour"), traces.reading.allowance) | _colour_scale(
            traces, marker
        )
    sizes = values(marker.get("size"))
    if sizes is not None and columns.length(sizes):
        facts["sizes"] = series.spread(columns.column(sizes), Axis("size"))
    if trace.get("fill") and trace["fill"] != "none":
        facts["fill"] = words(trace["fill"])
    stack = "areas are stacked: the values of each series are its own heights"
    if trace.get("stackgroup") and stack not in traces.panel.notes:
        traces.panel.notes.append(stack)
    traces.add(kind, trace, facts)


def _colour_scale(traces: Traces, held: Spec) -> dict[str, Any]:
    shared = held.get("coloraxis")
    own = traces.layout.get(shared) if isinstance(shared, str) else held
    own = own if isinstance(own, Mapping) else {}
    bar = own.get("colorbar") or {}
    title = bar.get("title") if isinstance(bar, Mapping) else None
    ends = [own.get("cmin", own.get("zmin")), own.get("cmax", own.get("zmax"))]
    name = own.get("colorscale")
    return {
        "colour_map": name if isinstance(name, str) else "own colours",
        "colour_label": words(title.get("text") if isinstance(title, Mapping) else title),
        "colour_limits": [v if isinstance(v, int | float) else None for v in ends],
        "colour_scale": "linear",
        "colour_bar": bool(own.get("showscale", shared is not None or "z" in held)),
    }


def _bar(traces: Traces, trace: Spec) -> None:
    is_horizontal = trace.get("orientation") == "h"
    along, across = ("x", "y") if is_horizontal else ("y", "x")
    lengths = columns.column(values(trace.get(along)) if trace.get(along) is not None else [])
    if traces.axis(along).kind == "date":
        _spans(traces, trace, along, across)
        return
    base = values(trace.get("base"))
    bases = columns.plain(columns.column(base)) if base is not None else [float(trace.get("base") or 0)] * len(lengths)
    traces.add_bars(trace, traces.positions(across, trace, len(lengths)), lengths, bases, is_horizontal)


def _spans(traces: Traces, trace: Spec, along: str, across: str) -> None:
    """A timeline: bars from `base`, a date, that are as long as so many milliseconds."""
    axis, lengths = traces.axis(along), columns.plain(columns.column(values(trace.get(along))))
    base = values(trace.get("base"))
    starts = [day(v) for v in listed(base)] if base is not None else [day(trace.get("base") or 0)] * len(lengths)
    places = columns.plain(columns.column(traces.positions(across, trace, len(lengths))))
    near = traces.axis(across).near
    rows = [
        [near(place), axis.at(start), axis.at(start + day(length))]
        for place, start, length in zip(places, starts, lengths, strict=True)
        if place == place and start == start and length == length
    ]
    traces.add(
        "time spans", trace, {"n": len(lengths), "missing": len(lengths) - len(rows), "spans": rows[: series.LISTED]}
    )


def _raw(kind: str, said: str) -> Callable[[Traces, Spec], None]:
    """Values that the browser bins or summarizes; those of each category apart."""

    def read(traces: Traces, trace: Spec) -> None:
        x, y = values(trace.get("x")), values(trace.get("y"))
        is_horizontal = trace.get("orientation") == "h" or y is None
        along = (
            "x"
            if (is_horizontal if kind != "values of a histogram" else x is not None and trace.get("orientation") != "h")
            else "y"
        )
        held, axis = traces.positions(along, trace), traces.axis(along)
        if axis.kind == "category":
            _counts(traces, trace, held, axis)
            return
        facts = series.sample(held, axis, traces.reading.allowance) | {"said": said}
        other = y if along == "x" else x
        names = listed(other) if other is not None and kind != "values of a histogram" else []
        if names and len(names) == columns.length(held):
            facts["groups"] = _grouped(names, held, axis)
        traces.add(kind, trace, facts)

    return read


def _grouped(names: list[Any], held: Any, axis: Axis) -> list[dict[str, Any]]:
    parts: dict[str, list[float]] = {}
    for name, value in zip(names, columns.plain(columns.column(held)), strict=True):
        if value == value:
            parts.setdefault(words(name, 60), []).append(value)
    found = []
    for name, numbers in list(parts.items())[: series.GROUPS]:
        column = columns.column(numbers)
        low, _, high = columns.quartiles(column)
        found.append(
            {"at": name, "n": len(numbers), **series.spread(column, axis), "q1": axis.at(low), "q3": axis.at(high)}
        )
    return found


def _counts(traces: Traces, trace: Spec, held: Any, axis: Axis) -> None:
    """A histogram over categories is bars of counts, which need no bins."""
    counts: dict[float, int] = {}
    for value in columns.plain(columns.column(held)):
        if value == value:
            counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts)
    if trace.get("histfunc", "count") == "count" and not trace.get("histnorm"):
        traces.add_bars(trace, ordered, [counts[p] for p in ordered], [0.0] * len(ordered), axis.name == "y")
    else:
        traces.add("histogram over categories", trace, {"n": sum(counts.values())})


def _heatmap(traces: Traces, trace: Spec) -> None:
    found = table(trace.get("z"))
    if found is None:
        return
    flat, shape = found
    x, y = traces.axis("x"), traces.axis("y")
    xs = columns.plain(columns.column(traces.positions("x", trace, shape[1])))
    ys = columns.plain(columns.column(traces.positions("y", trace, shape[0])))
    fits = len(xs) == shape[1] and len(ys) == shape[0]
    facts = series.grid(flat, shape, x, y, xs if fits else None, ys if fits else None, traces.reading.allowance)
    kind = {"surface": "surface values", "contour": "contour values"}.get(str(trace.get("type")), "heatmap")
    traces.add(
        "heatmap",
        trace,
        facts | _colour_scale(traces, trace) | ({} if kind == "heatmap" else {"drawn_as": str(trace["type"])}),
    )


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


def _candles(traces: Traces, trace: Spec) -> None:
    n = columns.length(values(trace.get("close")) if trace.get("close") is not None else [])
    px, x, y = traces.positions("x", trace, n), traces.axis("x"), traces.axis("y")
    facts: dict[str, Any] = {"n": n}
    for name in ("open", "high", "low", "close"):
        (place, kept), missing = columns.finite(columns.column(px), columns.column(values(trace.get(name))))
        if len(kept):
            facts[name] = series.spread(kept, y, place, x) | {"missing": missing}
            if name in ("open", "close"):
                facts[name] |= {"first": y.at(float(kept[0])), "last": y.at(float(kept[-1]))}
    traces.add(str(trace["type"]), trace, facts)


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


def _funnel(traces: Traces, trace: Spec) -> None:
    default = "v" if traces.axis("x").kind == "category" else "h"
    along, across = ("y", "x") if trace.get("orientation", default) == "v" else ("x", "y")
    lengths = columns.plain(columns.column(values(trace.get(along)) if trace.get(along) is not None else []))
    axis = traces.axis(across)
    names = [axis.near(p) for p in columns.plain(columns.column(traces.positions(across, trace, len(lengths))))]
    traces.add("funnel", trace, series.bars(names, lengths, [0.0] * len(lengths), across == "y"))


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


_READERS: dict[str, Callable[[Traces, Spec], None]] = {
    **dict.fromkeys(("scatter", "scattergl"), _scatter),
    "bar": _bar,
    "histogram": _raw("values of a histogram", "the bins are chosen by the browser"),
    "box": _raw("values of boxes", "the boxes are worked out by the browser"),
    "violin": _raw("values of violins", "the shapes are worked out by the browser"),
    **dict.fromkeys(("heatmap", "contour", "surface"), _heatmap),
    "pie": _pie,
    **dict.fromkeys(("candlestick", "ohlc"), _candles),
    "scatter3d": _space,
    "funnel": _funnel,
    "indicator": _indicator,
    "sankey": _flows,
    **dict.fromkeys(("scatterpolar", "scatterpolargl", "barpolar"), _polar),
    **dict.fromkeys(("scattergeo", "scattermapbox", "scattermap"), _map_points),
    **dict.fromkeys(("choropleth", "choroplethmapbox", "choroplethmap"), _named_values("locations", "z")),
    **dict.fromkeys(("sunburst", "treemap", "icicle", "funnelarea"), _named_values("labels", "values")),
}
