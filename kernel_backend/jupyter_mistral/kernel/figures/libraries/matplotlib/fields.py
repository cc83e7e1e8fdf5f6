"""Images, meshes, contours, hexagons and filled areas of a matplotlib plot."""

from __future__ import annotations

from typing import Any

from ...measure import columns, series
from ...model import Axis
from ...reader import kinds
from .artists import Artists
from .axes import name_between
from .lines import colour_scale


def read_image(artists: Artists, image: Any) -> None:
    values = image.get_array()
    shape = values.shape
    if len(shape) == 3:
        facts: dict[str, Any] = {"rows": int(shape[0]), "columns": int(shape[1])}
        facts["picture"] = {3: "RGB", 4: "RGBA"}.get(shape[2], f"{shape[2]} channels")
        artists.add("picture", image, facts)
        return
    xs, ys = _pixel_centres(image, shape) if "AxesImage" in kinds(image) else (None, None)
    facts = series.grid(values, shape, artists.x, artists.y, xs, ys, artists.allowance)
    artists.add("heatmap", image, facts | colour_scale(image))


def _pixel_centres(image: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
    left, right, bottom, top = (float(v) for v in image.get_extent())
    np = columns.numpy()
    xs = left + (np.arange(shape[1]) + 0.5) * (right - left) / shape[1]
    start, end = (top, bottom) if image.origin == "upper" else (bottom, top)
    return xs, start + (np.arange(shape[0]) + 0.5) * (end - start) / shape[0]


def read_mesh(artists: Artists, mesh: Any) -> None:
    """`pcolormesh`, `hist2d` and seaborn's heatmap."""
    corners = mesh.get_coordinates()
    values = mesh.get_array()
    if values is None:
        return
    rows, count = corners.shape[0] - 1, corners.shape[1] - 1
    smooth = columns.length(values) == (rows + 1) * (count + 1)  # gouraud: a value at each corner
    shape = (rows + 1, count + 1) if smooth else (rows, count)
    xs, ys = corners[0, :, 0], corners[:, 0, 1]
    if not ((corners[:, :, 0] == xs).all() and (corners[:, :, 1] == ys[:, None]).all()):
        xs = ys = None
    elif not smooth:
        xs, ys = (xs[1:] + xs[:-1]) / 2, (ys[1:] + ys[:-1]) / 2
    facts = series.grid(values, shape, artists.x, artists.y, xs, ys, artists.allowance)
    artists.add("heatmap", mesh, facts | colour_scale(mesh))


def read_contours(artists: Artists, contours: Any) -> None:
    levels = [float(v) for v in contours.levels]
    facts: dict[str, Any] = {"filled": bool(contours.filled), "n": len(levels), "levels": levels[:100]}
    low, high = getattr(contours, "zmin", None), getattr(contours, "zmax", None)
    if low is not None and high is not None:
        facts["value"] = {"min": float(low), "max": float(high)}
    artists.use(*getattr(contours, "labelTexts", ()))
    artists.add("contours", contours, facts | colour_scale(contours), "")


def read_arrows(artists: Artists, arrows: Any) -> None:
    """`quiver`: how many arrows, and how long their vectors are."""
    u, v = columns.column(arrows.U), columns.column(arrows.V)
    (du, dv), missing = columns.finite(u, v)
    facts: dict[str, Any] = {"n": len(u), "missing": missing}
    if len(du):
        facts["length"] = series.spread(columns.numpy().hypot(du, dv), Axis("length"))
    artists.add("arrows", arrows, facts)


def read_polygons(artists: Artists, collection: Any) -> None:
    """Hexagons of `hexbin`, or areas of `fill_between` and `stackplot`."""
    values, offsets = collection.get_array(), collection.get_offsets()
    if values is not None and len(offsets) == columns.length(values) and len(offsets) > 1:
        held = columns.column(values)
        facts: dict[str, Any] = {
            "n": len(held),
            "sum": columns.total(held),
            "value": series.spread(held, Axis("value")),
        }
        for name, at in (("min", columns.least(held)), ("max", columns.most(held))):
            facts["value"][f"{name}_at"] = [artists.x.at(float(offsets[at][0])), artists.y.at(float(offsets[at][1]))]
            facts["value"][f"{name}_times"] = columns.equal(held, held[at])
        artists.add("hexagons", collection, facts | colour_scale(collection))
        return
    _read_areas(artists, collection)


def _read_areas(artists: Artists, collection: Any) -> None:
    np = columns.numpy()
    pieces = [p.vertices for p in collection.get_paths() if len(p.vertices)]
    if not pieces and type(collection).__name__ in ("PolyCollection", "FillBetweenPolyCollection"):
        return  # seaborn's band where there is nothing to spread
    for flip in (0, 1):
        parts = [_curves(vertices, flip) for vertices in pieces]
        if parts and all(part is not None for part in parts):
            t, a, b = (np.concatenate(part) for part in zip(*(p for p in parts if p is not None), strict=True))
            place, value = (artists.y, artists.x) if flip else (artists.x, artists.y)
            facts = series.band(t, np.fmin(a, b), np.fmax(a, b), place, value, artists.allowance)
            facts["pieces"] = len(pieces)
            if getattr(collection, "_step", None) is not None:
                facts |= {"n": None, "steps": str(collection._step)}
            artists.add("area", collection, facts)
            return
    bars = _broken_bars(artists, pieces) if artists.in_data(collection) == (True, True) else None
    if bars is not None:
        artists.add("broken bars", collection, bars)
    else:
        artists.add("polygons", collection, {"n": len(pieces)})


def _broken_bars(artists: Artists, pieces: list[Any]) -> dict[str, Any] | None:
    """Facts on the rectangles of `broken_barh`, which stand in one row; None for other polygons."""
    kept = [p.tolist() for p in pieces if columns.numpy().isfinite(p).all()]
    if not kept or not all(_is_box(p) for p in kept):
        return None
    rows = {tuple(sorted([p[0][1], p[1][1]])) for p in kept}
    if len(rows) > 1:
        return None
    x, y, (low, high) = artists.x, artists.y, rows.pop()
    spans = [sorted([p[0][0], p[2][0]]) for p in kept]
    lengths = columns.column([end - start for start, end in spans])
    told = [[x.at(start), x.at(end)] for start, end in spans]
    facts: dict[str, Any] = {"n": len(pieces), "missing": len(pieces) - len(kept)}
    facts["row"] = [low, high] if y.kind == "category" else [y.at(low), y.at(high)]
    name = name_between(artists.axes, "y", low, high)
    facts |= {"at": name} if name else {}
    facts |= {"from": x.at(min(start for start, _ in spans)), "to": x.at(max(end for _, end in spans))}
    longest = columns.most(lengths)
    facts |= {"longest": told[longest], "longest_times": columns.equal(lengths, lengths[longest])}
    return facts | {"sum": columns.total(lengths), "unit": x.unit, "spans": told[: series.LISTED]}


def _is_box(p: list[list[float]]) -> bool:
    """Whether five corners are those of a rectangle along the axes, upwards first."""
    if len(p) != 5 or p[4] != p[0]:
        return False
    return p[0][0] == p[1][0] and p[1][1] == p[2][1] and p[2][0] == p[3][0] and p[3][1] == p[0][1]


def _curves(vertices: Any, flip: int) -> tuple[Any, Any, Any] | None:
    """The places and two curves of a polygon that goes along one and back along the other, as `fill_between` makes it."""
    n = (len(vertices) - 2) // 2
    there, back = vertices[1 : n + 1], vertices[n + 2 : 2 * n + 2][::-1]
    if n < 1 or len(there) != len(back) or not columns.numpy().array_equal(there[:, flip], back[:, flip]):
        return None
    if n > 2 and (there[1:, flip] < there[:-1, flip]).any() and (there[1:, flip] > there[:-1, flip]).any():
        return None
    return there[:, flip], there[:, 1 - flip], back[:, 1 - flip]
