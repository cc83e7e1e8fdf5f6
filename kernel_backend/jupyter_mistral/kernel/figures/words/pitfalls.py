"""What misleads a reader of a figure, found from its facts. Knows no plotting library."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Axis, Figure, Panel, Pitfall

CROWD = 5000
MANY = 8
_DOTS = {"scatter", "points"}
_LINES = {"line", "step line", "points", "scatter", "area"}


def find(figure: Figure) -> list[Pitfall]:
    """Those of each panel, in order, then those of several panels together."""
    found = [pitfall for panel in figure.panels for pitfall in _of_panel(panel)]
    for panel in figure.panels:
        # an axes on top of an empty one, as in seaborn's pairplot, has nothing to be compared with
        if panel.twin_of is not None and panel.series and figure.panels[panel.twin_of - 1].series:
            text = f"panels {panel.twin_of} and {panel.number} lie on each other with axes of their own: where their curves cross, or how they compare, depends on the two scales"
            found.append(Pitfall("dual axes", text))
    return found + list(_unequal(figure.panels))


def _of_panel(panel: Panel) -> Iterator[Pitfall]:
    for name, axis in panel.axes.items():
        if axis.scale not in ("linear", "date", "category", "auto", "function", ""):
            yield Pitfall(
                "scale", f"the {name} axis is {axis.scale}: equal distances are not equal differences", panel.number
            )
        if axis.is_inverted and axis.kind != "category" and not (name == "y" and _is_picture(panel)):
            way = "downwards" if name.endswith("y") else "to the left"
            yield Pitfall("inverted axis", f"the {name} axis is inverted: values grow {way}", panel.number)
    yield from _of_bars(panel)
    for i, series in enumerate(panel.series, 1):
        named = f"series {i}{f' “{series.name}”' if series.name else ''}"
        facts = series.facts
        if series.kind in _DOTS and facts.get("n", 0) > CROWD:
            yield Pitfall("overplotting", f"{named} has {facts['n']} points: they hide each other", panel.number)
        if facts.get("outside"):
            where = f" (of {facts['read']} that were read)" if "read" in facts else f" of {facts['n']}"
            yield Pitfall(
                "cropped", f"{named}: {facts['outside']}{where} points lie outside the limits of the axes", panel.number
            )
        if facts.get("not_positive"):
            text = (
                f"{named}: points that are zero or negative and cannot stand on the log axis: {facts['not_positive']}"
            )
            yield Pitfall("lost on log axis", text, panel.number)
        if series.kind == "pie" and facts.get("n", 0) > MANY:
            yield Pitfall("many slices", f"the pie has {facts['n']} slices", panel.number)
    nameless = [s for s in panel.series if s.kind in _LINES and not s.name]
    if len(nameless) > MANY:
        text = f"{len(nameless)} series have neither a label nor an entry in a legend"
        yield Pitfall("unlabelled series", text, panel.number)


def _is_picture(panel: Panel) -> bool:
    """Rows of images and matrices count from the top: no pitfall."""
    return any(s.kind in ("heatmap", "picture") for s in panel.series)


def _of_bars(panel: Panel) -> Iterator[Pitfall]:
    """A bar's length is its value only where the axis shows the bar from its base."""
    for name, orientation in (("y", "vertical"), ("x", "horizontal")):
        axis = panel.axes.get(name)
        drawn = [
            s
            for s in panel.series
            if s.kind in ("bars", "histogram", "waterfall")
            and s.facts.get("orientation") == orientation
            and s.facts.get("base", 0) == 0
        ]
        if axis is None or not drawn or axis.kind != "number":
            continue
        if axis.scale == "linear" and _cuts_zero(axis):
            low, high = axis.limits or (0.0, 0.0)
            text = f"the {name} axis of the bars runs from {low:.6g} to {high:.6g} and leaves out zero: their lengths exaggerate differences"
            yield Pitfall("truncated axis", text, panel.number)
        elif axis.scale in ("log", "symlog"):
            text = f"bars on a {axis.scale} {name} axis: their lengths do not compare as their values do"
            yield Pitfall("bars on log axis", text, panel.number)


def _cuts_zero(axis: Axis) -> bool:
    return axis.span is not None and not axis.span[0] <= 0 <= axis.span[1]


def _unequal(panels: list[Panel]) -> Iterator[Pitfall]:
    """Panels whose y axes bear the same label and show different ranges."""
    seen: dict[str, Panel] = {}
    for panel in panels:
        axis = panel.axes.get("y")
        if axis is None or not axis.label or axis.span is None:
            continue
        first = seen.setdefault(axis.label, panel)
        if first is not panel and first.axes["y"].span != axis.span and panel.twin_of is None:
            text = f"the y axes of panels {first.number} and {panel.number} are both “{axis.label}” but have different limits"
            yield Pitfall("unequal limits", text)
            return
