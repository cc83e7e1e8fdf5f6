"""Reads images, meshes, contours, arrows and hexagons of a matplotlib plot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...facts.base import Extent
from ...facts.fields import Arrows, Cells, Contours, Picture
from ...measure import columns
from ...measure.summaries import locate, measure_grid, measure_spread
from ...model import Axis
from ...reader import class_names
from .artists import Artists
from .colours import read_colour_scale


def read_image(artists: Artists, image: Any) -> None:
    values = image.get_array()
    shape = values.shape
    if len(shape) == 3:
        channels = {3: "RGB", 4: "RGBA"}.get(shape[2], f"{shape[2]} channels")
        artists.add("picture", image, Picture(rows=int(shape[0]), columns=int(shape[1]), picture=channels))
        return
    xs, ys = _pixel_centres(image, shape) if "AxesImage" in class_names(image) else (None, None)
    facts = measure_grid(values, shape, artists.x, artists.y, xs, ys, artists.allowance)
    artists.add("heatmap", image, replace(facts, scale=read_colour_scale(image)))


def _pixel_centres(image: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
    left, right, bottom, top = (float(v) for v in image.get_extent())
    np = columns.numpy()
    xs = left + (np.arange(shape[1]) + 0.5) * (right - left) / shape[1]
    start, end = (top, bottom) if image.origin == "upper" else (bottom, top)
    return xs, start + (np.arange(shape[0]) + 0.5) * (end - start) / shape[0]


def read_mesh(artists: Artists, mesh: Any) -> None:
    """Read what `pcolormesh`, `hist2d` and seaborn's heatmap draw."""
    corners = mesh.get_coordinates()
    values = mesh.get_array()
    if values is None:
        return
    rows, count = corners.shape[0] - 1, corners.shape[1] - 1
    is_smooth = columns.length(values) == (rows + 1) * (count + 1)  # gouraud: a value at each corner
    shape = (rows + 1, count + 1) if is_smooth else (rows, count)
    xs, ys = corners[0, :, 0], corners[:, 0, 1]
    if not ((corners[:, :, 0] == xs).all() and (corners[:, :, 1] == ys[:, None]).all()):
        xs = ys = None
    elif not is_smooth:
        xs, ys = (xs[1:] + xs[:-1]) / 2, (ys[1:] + ys[:-1]) / 2
    facts = measure_grid(values, shape, artists.x, artists.y, xs, ys, artists.allowance)
    artists.add("heatmap", mesh, replace(facts, scale=read_colour_scale(mesh)))


def read_contours(artists: Artists, contours: Any) -> None:
    levels = [float(v) for v in contours.levels]
    low, high = getattr(contours, "zmin", None), getattr(contours, "zmax", None)
    facts = Contours(
        filled=bool(contours.filled),
        n=len(levels),
        levels=tuple(levels[:100]),
        value=Extent(min=float(low), max=float(high)) if low is not None and high is not None else None,
        scale=read_colour_scale(contours),
    )
    artists.mark_read(*getattr(contours, "labelTexts", ()))
    artists.add("contours", contours, facts, "")


def read_arrows(artists: Artists, arrows: Any) -> None:
    """Read `quiver`: how many arrows there are, and how long their vectors are."""
    u, v = columns.to_column(arrows.U), columns.to_column(arrows.V)
    (du, dv), missing = columns.drop_missing(u, v)
    length = measure_spread(columns.numpy().hypot(du, dv), Axis("length")) if len(du) else None
    artists.add("arrows", arrows, Arrows(n=len(u), missing=missing, length=length))


def is_hexagons(collection: Any) -> bool:
    values, offsets = collection.get_array(), collection.get_offsets()
    return values is not None and len(offsets) == columns.length(values) and len(offsets) > 1


def read_hexagons(artists: Artists, collection: Any) -> None:
    offsets, values = collection.get_offsets(), columns.to_column(collection.get_array())
    low, high = (
        (artists.x.at(float(offsets[i][0])), artists.y.at(float(offsets[i][1])))
        for i in (columns.argmin(values), columns.argmax(values))
    )
    facts = Cells(
        n=len(values),
        sum=columns.total(values),
        value=locate(measure_spread(values, Axis("value")), values, low, high),
        scale=read_colour_scale(collection),
    )
    artists.add("hexagons", collection, facts)
