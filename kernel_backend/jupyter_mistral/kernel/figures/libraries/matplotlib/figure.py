"""Reads a live matplotlib figure: its panels, their artists, legends and colour bars. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...measure import columns
from ...model import Axis, Panel, clean_text
from ...reader import MAX_PANELS, MAX_SERIES, Reading, class_names
from . import areas, bars, boxes, fields, lines, violins
from .artists import Artists, get_label
from .axes import read_axis
from .axes_3d import read_space
from .legends import read_legends
from .texts import read_texts

# parts of every plot, even of an empty one
_FURNITURE = {"Spine", "Axis", "Legend", "Text", "ConciseDateFormatter"}


def read_figure(figure: Any, reading: Reading, only: Iterable[Any] = ()) -> None:
    """Read `figure`, or only its axes `only`, into `reading.figure`."""
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
    every = list(figure.axes)
    for axes in list(every):
        children = getattr(axes, "child_axes", ())
        every += [a for a in children if a not in every and "SecondaryAxis" not in class_names(a)]
    return every


def _title(figure: Any) -> str:
    def text_of(name: str) -> str:
        text = getattr(figure, name, None)
        return clean_text(text.get_text()) if text is not None else ""

    title, x, y = text_of("_suptitle"), text_of("_supxlabel"), text_of("_supylabel")
    parts = [title, f"(x of all panels: {x})" if x else "", f"(y of all panels: {y})" if y else ""]
    return " ".join(p for p in parts if p)


def _read_panel(axes: Any, panel: Panel, reading: Reading) -> None:
    titles = [clean_text(axes.get_title(loc=where)) for where in ("left", "center", "right")]
    panel.title = " | ".join(t for t in titles if t)
    panel.position = _position(axes)
    is_space = "Axes3D" in class_names(axes)
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
    reading.attempt(f"the texts of panel {panel.number}", read_texts, artists)
    if panel.is_pie:
        panel.axes.clear()  # the axes of a pie have no meaning


def _position(axes: Any) -> tuple[int, int] | None:
    """Return row and column in the grid of panels, from 1."""
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
        name = next((k for k in _CONTAINERS if k in class_names(container)), "")
        if name:
            what, read = _CONTAINERS[name]
            drawn.append(reading.attempt(f"{what} {where}", read, artists, container))
    stacks = [d for d in drawn if d is not None]
    reading.attempt(f"stacks {where}", bars.note_stacks_and_groups, artists, stacks)
    reading.attempt(f"the boxes {where}", boxes.read_boxes, artists)
    reading.attempt(f"the violins {where}", violins.read_violins, artists)
    _read_each(artists, "a line", axes.lines, lambda _: lines.read_line)
    _read_each(artists, "a collection", axes.collections, _collection_reader)
    _read_each(artists, "an image", axes.images, lambda _: fields.read_image)
    bars.read_patches(artists)
    _count_others(artists)


def _read_each(artists: Artists, what: str, every: Iterable[Any], find_reader: Callable[[Any], Any]) -> None:
    attempt, where = artists.reading.attempt, f"of panel {artists.panel.number}"
    for artist in list(every):
        if not attempt(f"{what} {where}", artists.unread, [artist]):
            continue
        read = find_reader(artist)
        if read is None:
            continue
        artists.mark_read(artist)
        if len(artists.panel.series) >= MAX_SERIES:
            artists.panel.skip(type(artist).__name__)
            continue
        name = attempt(f"a label {where}", get_label, artist)
        attempt(f'{what} "{name}" {where}' if name else f"{what} {where}", read, artists, artist)


def _collection_reader(artist: Any) -> Any:
    names = class_names(artist)
    return next((read for name, read in _COLLECTIONS if name in names), None)


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
    ("PolyCollection", areas.read_polygons),
)


def _read_secondary(axes: Any, panel: Panel, reading: Reading) -> None:
    for child in getattr(axes, "child_axes", ()):
        if "SecondaryAxis" in class_names(child):
            name = "x" if getattr(child, "_orientation", "x") == "x" else "y"
            axis = reading.attempt(f"a secondary axis of panel {panel.number}", _secondary, axes, child, name)
            if axis:
                panel.axes[f"second {name}"] = axis


def _secondary(axes: Any, child: Any, name: str) -> Axis:
    """Read a secondary axis. Its limits are the panel's, converted: its own are set only when it is drawn."""
    axis = read_axis(child, name)
    convert = (getattr(child, "_functions", None) or (None,))[0]
    if convert is not None:
        low, high = (float(v) for v in convert(columns.numpy().array(getattr(axes, f"get_{name}lim")())))
        axis.limits = (low, high)
    return axis


def _count_others(artists: Artists) -> None:
    """Count the artists that no reader knows, by kind."""
    children = artists.reading.attempt("the other artists", artists.axes.get_children) or []
    for child in artists.reading.attempt("the other artists", artists.unread, children) or []:
        is_frame = child is artists.axes.patch or child in artists.axes.child_axes
        if not is_frame and not class_names(child) & _FURNITURE:
            artists.panel.skip(type(child).__name__)


def _pair_twins(panels: list[tuple[Any, Panel]]) -> None:
    for i, (axes, panel) in enumerate(panels):
        group = getattr(axes, "_twinned_axes", None)
        for other, earlier in panels[:i]:
            if group is not None and group.joined(axes, other):
                panel.twin_of = earlier.number
                break
