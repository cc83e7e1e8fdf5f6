"""`describe`: recognizes the kind of figure and reads it. Imports a library's reader when the first such figure comes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from .measure import columns
from .model import Facts, Figure, clean_text
from .reader import Reading, class_names, packages_of
from .words.facts_text import write_facts
from .words.pitfalls import find_pitfalls

LIMIT = 4000  # characters
MAX_JSON_BYTES = 64 * 2**20
MAX_ROWS = 50_000  # of an altair chart's table
_SPEC = re.compile(r"application/vnd\.(plotly\.v\d+|vegalite\.v\d+|vega\.v\d+)\+json")


def describe(figure_or_spec: Any, limit: int = LIMIT) -> Facts:
    """Read the numbers of a figure; `str()` of the result has at most `limit` characters, `to_dict()` the exact values.

    figure_or_spec: a matplotlib figure or axes (also several, in a list or array), a seaborn grid, a plotly figure, an altair
    chart, a bokeh model; or the JSON of a plotly figure or Vega-Lite chart, also as a saved output of a notebook. Never raises
    because of its argument: the facts name what could not be read.
    """
    np = columns.numpy()
    # numbers near the limits of floats must not print warnings into the user's cell
    with np.errstate(all="ignore") if np is not None else nullcontext():
        return _describe(figure_or_spec, limit)


def _describe(figure_or_spec: Any, limit: int) -> Facts:
    reading = Reading(Figure("unknown"))
    is_known = reading.attempt("the figure", _read, figure_or_spec, reading)
    if not is_known and not reading.figure.unread:
        name = clean_text(type(figure_or_spec).__name__, 60)
        reading.unread(f"an object of type {name}, which is not a known kind of figure")
    figure = reading.figure
    reading.attempt("its pitfalls", lambda: figure.pitfalls.extend(find_pitfalls(figure)))
    text = reading.attempt("its text", write_facts, figure, limit)
    return Facts(figure, text if text is not None else "<figure-facts>\nnothing could be read\n</figure-facts>"[:limit])


def _read(thing: Any, reading: Reading) -> bool:
    """Read any object. Returns whether it is a figure."""
    if isinstance(thing, str | bytes):
        return _read_json(thing, reading)
    if isinstance(thing, Mapping):
        return _read_spec(thing, reading)
    packages, names = packages_of(thing), class_names(thing)
    if packages & {"plotly", "altair"} and hasattr(thing, "to_dict"):
        return _read_spec(_to_dict(thing, packages, reading), reading)
    if "bokeh" in packages:
        from .libraries.bokeh import read_bokeh

        return read_bokeh(thing, reading)
    if packages & {"matplotlib", "seaborn", "mpl_toolkits", "ipympl"} or _is_axes_list(thing):
        return _read_matplotlib(thing, names, reading)
    return False


def _read_json(text: str | bytes, reading: Reading) -> bool:
    if len(text) > MAX_JSON_BYTES or text[:1] not in ("{", b"{"):
        return False
    spec = json.loads(text)
    return isinstance(spec, dict) and _read_spec(spec, reading)


def _read_spec(spec: Mapping[str, Any], reading: Reading, depth: int = 0) -> bool:
    """Read a specification, a saved output that contains one, or the output's bundle of MIME types."""
    inner = spec.get("data")
    if isinstance(inner, Mapping) and "output_type" in spec and depth == 0:
        return _read_spec(inner, reading, 1)
    for mime, content in spec.items():
        if isinstance(mime, str) and _SPEC.match(mime):
            content = json.loads(content) if isinstance(content, str) else content
            return isinstance(content, Mapping) and _read_spec(content, reading, 2)
    if any(isinstance(mime, str) and mime.startswith("image/") for mime in spec):
        reading.unread("the output contains only an image, without its numbers")
        return False
    from .libraries.plotly.figure import is_plotly, read_plotly
    from .libraries.vega.spec import is_vega, read_vega

    if is_vega(spec):
        read_vega(spec, reading)
        return True
    if is_plotly(spec):
        read_plotly(spec, reading)
        return True
    return False


def _to_dict(thing: Any, packages: set[str], reading: Reading) -> Mapping[str, Any]:
    """Return the specification of a plotly figure or an altair chart."""
    altair = sys.modules.get("altair")
    if "altair" not in packages or altair is None:
        return thing.to_dict()  # type: ignore[no-any-return]  # an object of another library
    thing = _shorten_table(thing, reading)
    with altair.data_transformers.enable("default", max_rows=None):  # else charts with more than 5,000 rows raise
        return thing.to_dict(validate=False)  # type: ignore[no-any-return]


def _shorten_table(chart: Any, reading: Reading) -> Any:
    """Return a copy of the chart with every k-th row if its table is too long to be converted to JSON in time."""
    data: Any = getattr(chart, "data", None)
    n = len(data) if hasattr(data, "iloc") else 0
    if n <= MAX_ROWS:
        return chart
    step = -(-n // MAX_ROWS)
    reading.figure.notes.append(f"{n} rows of data, of which one in {step} was read")
    chart = chart.copy(deep=False)
    chart.data = data.iloc[::step]
    return chart


def _read_matplotlib(thing: Any, names: set[str], reading: Reading) -> bool:
    from .libraries.matplotlib.figure import read_figure

    reading.figure.source = "matplotlib"
    if "FigureBase" in names:
        read_figure(thing, reading)
        return True
    if "_AxesBase" in names:
        read_figure(thing.get_figure(), reading, _with_twins([thing]))
        return True
    if _is_axes_list(thing):
        items = thing.ravel().tolist() if hasattr(thing, "ravel") else thing
        chosen = _with_twins([a for a in items if "_AxesBase" in class_names(a)])
        figure = chosen[0].get_figure()
        own = [a for a in figure.axes if not hasattr(a, "_colorbar")]
        is_whole_figure = len({id(a.get_figure()) for a in chosen}) == 1 and len(chosen) >= len(own)
        read_figure(figure, reading, () if is_whole_figure else chosen)
        return True
    figure = getattr(thing, "figure", None)  # a seaborn grid, a canvas, an artist
    if figure is None or "FigureBase" not in class_names(figure):
        reading.figure.source = "unknown"
        return False
    read_figure(figure, reading)
    return True


def _with_twins(chosen: list[Any]) -> list[Any]:
    """Return the axes, each with those above or below it (`twinx`, pandas' `secondary_y`), the lowest first."""
    every: list[Any] = []
    for axes in chosen:
        figure, group = axes.get_figure(), getattr(axes, "_twinned_axes", None)
        twins = group.get_siblings(axes) if group is not None else []
        every += [a for a in (figure.axes if figure is not None else ()) if a in twins and a not in every]
        every += [axes] if axes not in every else []
    return every


def _is_axes_list(thing: Any) -> bool:
    """Return whether it is an array, list or tuple of axes, as `plt.subplots` and pandas return them."""
    if type(thing) in (list, tuple):
        return 0 < len(thing) <= 500 and any("_AxesBase" in class_names(a) for a in thing)
    np = sys.modules.get("numpy")
    is_array = np is not None and isinstance(thing, np.ndarray) and thing.dtype == object and 0 < thing.size <= 500
    return bool(is_array) and "_AxesBase" in class_names(thing.reshape(-1)[0])
