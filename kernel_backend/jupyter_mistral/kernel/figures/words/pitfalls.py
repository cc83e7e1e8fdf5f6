"""Finds what may mislead a reader of a figure, from its facts. Imports no plotting library."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts.bars import Bars, Histogram, Pie, Waterfall
from ..facts.base import SeriesFacts
from ..facts.points import Density, NumberPoints, Points
from ..model import Axis, Figure, Panel, Pitfall, Series

CROWDED = 5000  # points
MANY = 8  # slices, or series without a name
_DOTS = {"scatter", "points"}
_BARS = {"bars", "histogram", "waterfall"}
_LINES = {"line", "step line", "points", "scatter", "area"}
_KNOWN_SCALES = ("linear", "date", "category", "auto", "function", "")


def find_pitfalls(figure: Figure) -> list[Pitfall]:
    """Return those of each panel, in order, then those of several panels together."""
    pitfalls = [pitfall for panel in figure.panels for pitfall in _of_panel(panel)]
    for panel in figure.panels:
        # axes over empty axes, as in seaborn's pairplot, cannot be confused with anything
        if panel.twin_of is not None and panel.series and figure.panels[panel.twin_of - 1].series:
            text = (
                f"panels {panel.twin_of} and {panel.number} overlap and have separate axes: "
                "where their curves cross, or how they compare, depends on the two scales"
            )
            pitfalls.append(Pitfall("dual axes", text))
    return pitfalls + list(_unequal_limits(figure.panels))


def _of_panel(panel: Panel) -> Iterator[Pitfall]:
    for name, axis in panel.axes.items():
        yield from _of_axis(panel, name, axis)
    yield from _of_bars(panel)
    for i, series in enumerate(panel.series, 1):
        for kind, text in _of_series(series, f"series {i}{f' “{series.name}”' if series.name else ''}"):
            yield Pitfall(kind, text, panel.number)
    nameless = [s for s in panel.series if s.kind in _LINES and not s.name]
    if len(nameless) > MANY:
        text = f"{len(nameless)} series have neither a label nor a legend entry"
        yield Pitfall("unlabelled series", text, panel.number)


def _of_axis(panel: Panel, name: str, axis: Axis) -> Iterator[Pitfall]:
    if axis.scale not in _KNOWN_SCALES:
        text = f"the {name} axis is {axis.scale}: equal distances are not equal differences"
        yield Pitfall("scale", text, panel.number)
    if axis.is_inverted and axis.kind != "category" and not (name == "y" and _is_image(panel)):
        direction = "downwards" if name.endswith("y") else "to the left"
        yield Pitfall("inverted axis", f"the {name} axis is inverted: values grow {direction}", panel.number)


def _is_image(panel: Panel) -> bool:
    """Rows of images and matrices count from the top, which is no pitfall."""
    return any(s.kind in ("heatmap", "picture") for s in panel.series)


def _of_series(series: Series, name: str) -> Iterator[tuple[str, str]]:
    facts = series.facts
    points = facts.points if isinstance(facts, Density) else facts
    if isinstance(points, Points):
        if series.kind in _DOTS and points.n > CROWDED:
            yield "overplotting", f"{name} has {points.n} points: they hide each other"
        if isinstance(points.drawn, NumberPoints):
            yield from _of_points(points, points.drawn, name)
    if isinstance(facts, Pie) and facts.n > MANY:
        yield "many slices", f"the pie has {facts.n} slices"


def _of_points(points: Points, drawn: NumberPoints, name: str) -> Iterator[tuple[str, str]]:
    if drawn.outside:
        of = f"{points.n}" if points.read is None else f"the {points.read} read"
        yield "cropped", f"{name}: {drawn.outside} of {of} points are outside the limits of the axes"
    if drawn.not_positive:
        yield "lost on log axis", f"{name}: zero or negative points, which a log axis cannot show: {drawn.not_positive}"


def _of_bars(panel: Panel) -> Iterator[Pitfall]:
    """A bar's length shows its value only if the axis includes the base of the bar."""
    for name, orientation in (("y", "vertical"), ("x", "horizontal")):
        axis = panel.axes.get(name)
        has_bars = any(_starts_at_zero(series.facts, orientation) for series in panel.series if series.kind in _BARS)
        if axis is None or not has_bars or axis.kind != "number":
            continue
        if axis.scale == "linear" and _excludes_zero(axis):
            low, high = axis.limits or (0.0, 0.0)
            text = (
                f"the {name} axis of the bars runs from {low:.6g} to {high:.6g} and leaves out zero: "
                "their lengths exaggerate differences"
            )
            yield Pitfall("truncated axis", text, panel.number)
        elif axis.scale in ("log", "symlog"):
            text = f"bars on a {axis.scale} {name} axis: their lengths are not proportional to their values"
            yield Pitfall("bars on log axis", text, panel.number)


def _starts_at_zero(facts: SeriesFacts, orientation: str) -> bool:
    if isinstance(facts, Bars):
        return facts.orientation == orientation and facts.lengths is not None and facts.lengths.base == 0
    if isinstance(facts, Waterfall):
        return facts.orientation == orientation and facts.base == 0
    return isinstance(facts, Histogram) and facts.orientation == orientation


def _excludes_zero(axis: Axis) -> bool:
    return axis.span is not None and not axis.span[0] <= 0 <= axis.span[1]


def _unequal_limits(panels: list[Panel]) -> Iterator[Pitfall]:
    """Find panels whose y axes have the same label and different limits; only the first pair is reported."""
    by_label: dict[str, Panel] = {}
    for panel in panels:
        axis = panel.axes.get("y")
        if axis is None or not axis.label or axis.span is None:
            continue
        first = by_label.setdefault(axis.label, panel)
        if first is not panel and first.axes["y"].span != axis.span and panel.twin_of is None:
            text = f"the y axes of panels {first.number} and {panel.number} are both “{axis.label}” but have different limits"
            yield Pitfall("unequal limits", text)
            return
