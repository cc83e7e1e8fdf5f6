"""Reads plotly traces that the browser bins or summarizes: histograms, boxes, violins, density heat maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...facts.others import Count
from ...facts.points import Bins, Density
from ...measure import columns
from ...measure.points import measure_points
from ...measure.positions import to_list
from ...measure.summaries import measure_grid, measure_groups, measure_sample
from ...model import Axis, clean_text
from .arrays import read_array
from .panel import Spec, Traces, read_colour_scale

MAX_CELLS = 10_000  # pairs of categories that are counted


def _sample_reader(kind: str, note: str) -> Callable[[Traces, Spec], None]:
    """Read values that the browser bins or summarizes; those of each category separately."""

    def read(traces: Traces, trace: Spec) -> None:
        x, y = read_array(trace.get("x")), read_array(trace.get("y"))
        is_histogram, is_horizontal = kind == "values of a histogram", trace.get("orientation") == "h"
        is_along_x = (x is not None and not is_horizontal) if is_histogram else (is_horizontal or y is None)
        along, other = ("x", y) if is_along_x else ("y", x)
        data, axis = traces.positions(along, trace), traces.axis(along)
        if axis.kind == "category":
            _count_categories(traces, trace, data, axis)
            return
        facts = replace(measure_sample(data, axis, traces.reading.allowance), note=note)
        names = to_list(other) if other is not None and not is_histogram else []
        if names and len(names) == columns.length(data):
            facts = replace(facts, groups=measure_groups(names, data, axis))
        traces.add(kind, trace, facts)

    return read


def _count_categories(traces: Traces, trace: Spec, data: Any, axis: Axis) -> None:
    """Read a histogram over categories as bars of counts, which need no bins."""
    counts: dict[float, int] = {}
    for value in columns.to_floats(columns.to_column(data)):
        if value == value:
            counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts)
    if trace.get("histfunc", "count") == "count" and not trace.get("histnorm"):
        traces.add_bars(trace, ordered, [counts[p] for p in ordered], [0.0] * len(ordered), axis.name == "y")
    else:
        traces.add("histogram over categories", trace, Count(n=sum(counts.values())))


def _read_density(traces: Traces, trace: Spec) -> None:
    """Read points that the browser counts in bins. Over categories, the bins are the categories themselves."""
    x, y = traces.axis("x"), traces.axis("y")
    data = [columns.to_column(traces.positions(name, trace)) for name in "xy"]
    n = min(map(len, data))
    px, py = data[0][:n], data[1][:n]
    z = read_array(trace.get("z"))
    function = clean_text(trace.get("histfunc", "count"), 20) if z is not None else "count"
    norm = clean_text(trace.get("histnorm"), 30)
    is_plain = function == "count" and not norm and not (trace.get("xbins") or trace.get("ybins"))
    if x.kind == y.kind == "category" and is_plain and _count_pairs(traces, trace, px, py):
        return
    points = measure_points(px, py, x, y, traces.reading.allowance, is_ordered=False)
    sample = measure_sample(z, Axis("z"), traces.reading.allowance) if z is not None and function != "count" else None
    what = "counted" if function == "count" else f"the {function} of z"
    facts = Density(
        points=replace(points, drawn_as=str(trace["type"])),
        z=sample.quartiles.value if sample is not None and sample.quartiles is not None else None,
        bins=Bins(x=_describe_bins(trace, "x"), y=_describe_bins(trace, "y")),
        note=f"{what} in bins that the browser computes" + (f", as {norm}" if norm else ""),
    )
    traces.add("values of a density heatmap", trace, facts)


def _count_pairs(traces: Traces, trace: Spec, px: Any, py: Any) -> bool:
    """Add the number of points of each pair of categories. Returns False if the pairs are too many."""
    (a, b), _ = columns.drop_missing(px, py)
    xs, ys = columns.to_floats(a), columns.to_floats(b)
    if not xs:
        return False
    across, down = (list(range(int(min(places)), int(max(places)) + 1)) for places in (xs, ys))
    if len(across) * len(down) > MAX_CELLS:
        return False
    flat = [0.0] * (len(across) * len(down))
    for i, k in zip(xs, ys, strict=True):
        flat[(int(k) - down[0]) * len(across) + int(i) - across[0]] += 1
    x, y, shape = traces.axis("x"), traces.axis("y"), (len(down), len(across))
    facts = measure_grid(flat, shape, x, y, across, down, traces.reading.allowance)
    scale = read_colour_scale(traces, trace)
    traces.add("heatmap", trace, replace(facts, sum=float(len(xs)), scale=scale, drawn_as=str(trace["type"])))
    return True


def _describe_bins(trace: Spec, name: str) -> str:
    """Return what the trace itself requests for its bins along an axis."""
    bins = trace.get(f"{name}bins") or {}
    start, end, size = (clean_text(bins.get(part), 30) for part in ("start", "end", "size"))
    if size and not trace.get(f"autobin{name}"):
        return f"of {size}" + (f" from {start} to {end}" if start and end else "")
    most = trace.get(f"nbins{name}")
    return f"at most {most}" if isinstance(most, int) and most > 0 else ""


READERS: dict[str, Callable[[Traces, Spec], None]] = {
    "histogram": _sample_reader("values of a histogram", "the browser chooses the bins"),
    "box": _sample_reader("values of boxes", "the browser computes the boxes"),
    "violin": _sample_reader("values of violins", "the browser computes the shapes"),
    **dict.fromkeys(("histogram2d", "histogram2dcontour"), _read_density),
}
