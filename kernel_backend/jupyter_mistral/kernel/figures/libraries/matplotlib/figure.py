"""A live matplotlib figure into `facts.Figure`: its panels, their artists, legends and colour bars. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...measure import columns
from ...model import Axis, Panel, words
from ...reader import MAX_PANELS, MAX_SERIES, Reading, kinds
from ...words.terms import num
from . import bars, boxes, fields, lines
from .artists import Artists, label
from .axes import read_axis
from .legends import read_legends
from .space import read_space

MAX_TEXTS = 40
# what an empty plot holds too
_FURNITURE = {"Spine", "Axis", "Legend", "Text", "ConciseDateFormatter"}


def read_figure(figure: Any, reading: Reading, only: Iterable[Any] = ()) -> None:
    """Reads `figure` (or of it only the axes `only`) into `reading.figure`."""
    into = reading.figure
    into.title = reading.attempt("the title of the figure", _title, figure) or ""
    chosen = list(only) or _all_axes(figure)
    plots = [a for a in chosen if getattr(a, "_colorbar", None) is None and a.get_visible()]
    if len(plots) > MAX_PANELS:
        into.notes.append(f"{len(plots)} panels, of which the first {MAX_PANELS} were read")
    panels: list[tuple[Any, Panel]] = []
    for axes in plots[:MAX_PANELS]:
        panel = Panel(len(panels) + 1)
        panels.append((axes, panel))
        into.panels.append(panel)
        reading.attempt(f"panel {panel.number}", _read_panel, axes, panel, reading)
    reading.attempt("which axes are twins", _pair_twins, panels)
    reading.attempt("the legends", read_legends, figure, panels, reading)


def _all_axes(figure: Any) -> list[Any]:
    found = list(figure.axes)
    for axes in list(found):
        found += [a for a in getattr(axes, "child_axes", ()) if a not in found and "SecondaryAxis" not in kinds(a)]
    return found


def _title(figure: Any) -> str:
    def said(name: str) -> str:
        held = getattr(figure, name, None)
        return words(held.get_text()) if held is not None else ""

    title, x, y = said("_suptitle"), said("_supxlabel"), said("_supylabel")
    parts = [title, f"(x of all panels: {x})" if x else "", f"(y of all panels: {y})" if y else ""]
    return " ".join(p for p in parts if p)


def _read_panel(axes: Any, panel: Panel, reading: Reading) -> None:
    titles = [words(axes.get_title(loc=where)) for where in ("left", "center", "right")]
    panel.title = " | ".join(t for t in titles if t)
    panel.position = _position(axes)
    is_space = "Axes3D" in kinds(axes)
    for name in "xyz" if is_space else "xy":
        axis = reading.attempt(f"the {name} axis of panel {panel.number}", read_axis, axes, name)
        if axis is None:
            return
        panel.axes[name] = axis
    if axes.name == "polar":
        panel.notes.append("polar: x is the angle in radians, y the radius")
    if not getattr(axes, "_axis3don", axes.axison):
        panel.notes.append("the axes themselves are hidden")
    artists = Artists(axes, panel, reading)
    if is_space:
        read_space(artists)
    else:
        _read_artists(artists)
        _read_secondary(axes, panel, reading)
    reading.attempt(f"the texts of panel {panel.number}", _read_texts, artists)
    if _is_pie(panel):
        panel.axes.clear()  # a pie's axes say nothing


def _position(axes: Any) -> tuple[int, int] | None:
    get = getattr(axes, "get_subplotspec", None)
    spec = get() if get else None
    spec = spec.get_topmost_subplotspec() if spec is not None else None  # a colour bar puts a grid into the grid
    if spec is None or spec.get_gridspec().get_geometry() == (1, 1):
        return None
    return spec.rowspan.start + 1, spec.colspan.start + 1


def _read_artists(artists: Artists) -> None:
    axes, reading, where = artists.axes, artists.reading, f"of panel {artists.panel.number}"
    drawn = []
    for container in list(axes.containers):
        kind = _CONTAINERS.get(next((k for k in _CONTAINERS if k in kinds(container)), ""))
        if kind:
            drawn.append(reading.attempt(f"{kind[0]} {where}", kind[1], artists, container))
    reading.attempt(f"stacks {where}", bars.join, artists, [d for d in drawn if d is not None])
    reading.attempt(f"the boxes {where}", boxes.read_boxes, artists)
    reading.attempt(f"the violins {where}", boxes.read_violins, artists)
    _read_each(artists, "a line", axes.lines, lambda _: lines.read_line)
    _read_each(artists, "a collection", axes.collections, _collection_reader)
    _read_each(artists, "an image", axes.images, lambda _: fields.read_image)
    bars.read_patches(artists)
    _count_others(artists)


def _read_each(artists: Artists, what: str, found: Iterable[Any], reader: Callable[[Any], Any]) -> None:
    for artist in list(found):
        if not artists.reading.attempt(f"{what} of panel {artists.panel.number}", artists.left, [artist]):
            continue
        read = reader(artist)
        if read is None:
            continue
        artists.use(artist)
        if len(artists.panel.series) >= MAX_SERIES:
            kind = type(artist).__name__
            artists.panel.more[kind] = artists.panel.more.get(kind, 0) + 1
            continue
        name = artists.reading.attempt(f"a label of panel {artists.panel.number}", label, artist)
        said = f'{what} "{name}"' if name else what
        artists.reading.attempt(f"{said} of panel {artists.panel.number}", read, artists, artist)


def _collection_reader(artist: Any) -> Any:
    found = kinds(artist)
    return next((read for name, read in _COLLECTIONS if name in found), None)


def _read_pie(artists: Artists, container: Any) -> None:
    bars.read_wedges(artists, container.wedges, getattr(container, "values", None))


_CONTAINERS: dict[str, tuple[str, Any]] = {
    "BarContainer": ("bars", bars.read_bars),
    "ErrorbarContainer": ("error bars", lines.read_errorbars),
    "StemContainer": ("stems", lines.read_stems),
    "PieContainer": ("a pie", _read_pie),
}
_COLLECTIONS: tuple[tuple[str, Any], ...] = (
    ("ContourSet", fields.read_contours),
    ("Quiver", fields.read_arrows),
    ("QuadMesh", fields.read_mesh),
    ("PolyQuadMesh", fields.read_mesh),
    ("PathCollection", lines.read_scatter),
    ("LineCollection", lines.read_segments),
    ("PolyCollection", fields.read_polygons),
)


def _read_secondary(axes: Any, panel: Panel, reading: Reading) -> None:
    for child in getattr(axes, "child_axes", ()):
        if "SecondaryAxis" in kinds(child):
            name = "x" if getattr(child, "_orientation", "x") == "x" else "y"
            axis = reading.attempt(f"a secondary axis of panel {panel.number}", _secondary, axes, child, name)
            if axis:
                panel.axes[f"second {name}"] = axis


def _secondary(axes: Any, child: Any, name: str) -> Axis:
    """Its limits are the panel's, converted: its own are set only when it is drawn."""
    axis = read_axis(child, name)
    convert = (getattr(child, "_functions", None) or (None,))[0]
    if convert is not None:
        low, high = (float(v) for v in convert(columns.numpy().array(getattr(axes, f"get_{name}lim")())))
        axis.limits = (low, high)
    return axis


def _read_texts(artists: Artists) -> None:
    texts = artists.left(artists.axes.texts)
    shown = [t for t in texts if words(t.get_text())]
    for text in shown[:MAX_TEXTS]:
        said = words(text.get_text())
        place = getattr(text, "xy", None)
        is_data = getattr(text, "xycoords", None) == "data"
        if place is None:
            place, is_data = text.get_position(), artists.in_data(text) == (True, True)
        if is_data and {"x", "y"} <= set(artists.panel.axes):
            x, y = (_converted(artists.axes, name, v) for name, v in zip("xy", place, strict=False))
            at = f" (at x {num(artists.x.at(x))}, y {num(artists.y.at(y))})"
            artists.panel.texts.append(said + at if x == x and not _is_pie(artists.panel) else said)
        else:
            artists.panel.texts.append(said)
    if len(shown) > MAX_TEXTS:
        artists.panel.notes.append(f"{len(shown) - MAX_TEXTS} more texts stand in the plot")


def _is_pie(panel: Panel) -> bool:
    return bool(panel.series) and all(s.kind == "pie" for s in panel.series)


def _converted(axes: Any, name: str, value: Any) -> float:
    """A text's place may stand in units: a date, a category."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float(getattr(axes, f"{name}axis").convert_units(value))


def _count_others(artists: Artists) -> None:
    """Artists that no reader knows are at least counted by kind."""
    children = artists.reading.attempt("the other artists", artists.axes.get_children) or []
    for child in artists.reading.attempt("the other artists", artists.left, children) or []:
        kind = type(child).__name__
        is_frame = child is artists.axes.patch or child in artists.axes.child_axes
        if not is_frame and not kinds(child) & _FURNITURE:
            artists.panel.more[kind] = artists.panel.more.get(kind, 0) + 1


def _pair_twins(panels: list[tuple[Any, Panel]]) -> None:
    for i, (axes, panel) in enumerate(panels):
        group = getattr(axes, "_twinned_axes", None)
        for other, earlier in panels[:i]:
            if group is not None and group.joined(axes, other):
                panel.twin_of = earlier.number
                break
