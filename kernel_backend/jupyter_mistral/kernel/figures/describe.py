"""`describe`: tells what kind of figure it was handed and has it read. The readers are imported when the first figure comes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from .measure import columns
from .model import Facts, Figure, words
from .reader import Reading, kinds, library
from .words import pitfalls
from .words.facts_text import tell

LIMIT = 4000
MAX_JSON = 64 * 2**20
MAX_ROWS = 50_000  # of an altair chart's table
_SPEC = re.compile(r"application/vnd\.(plotly\.v\d+|vegalite\.v\d+|vega\.v\d+)\+json")


def describe(figure_or_spec: Any, limit: int = LIMIT) -> Facts:
    """The numbers behind a figure; `str()` of it is a text of `limit` characters at most, `to_dict()` the exact values.

    figure_or_spec: a matplotlib figure or axes (also several, in a list or array), a seaborn grid, a plotly figure, an altair
    chart, a bokeh model; or the JSON of a plotly figure or Vega-Lite chart, also as a saved output of a notebook. Never raises
    on what it is handed: what cannot be read is named in the facts.
    """
    np = columns.numpy()
    # numbers at the edge of what a float holds must not print warnings into the user's cell
    with np.errstate(all="ignore") if np is not None else nullcontext():
        return _describe(figure_or_spec, limit)


def _describe(figure_or_spec: Any, limit: int) -> Facts:
    reading = Reading(Figure("unknown"))
    known = reading.attempt("the figure", _read, figure_or_spec, reading)
    if not known and not reading.figure.unread:
        reading.unread(f"a {words(type(figure_or_spec).__name__, 60)} is no figure of a kind that is known")
    figure = reading.figure
    reading.attempt("its pitfalls", lambda: figure.pitfalls.extend(pitfalls.find(figure)))
    text = reading.attempt("its text", tell, figure, limit)
    return Facts(figure, text if text is not None else "<figure-facts>\nnothing could be read\n</figure-facts>"[:limit])


def _read(thing: Any, reading: Reading) -> bool:
    if isinstance(thing, str | bytes):
        return _read_json(thing, reading)
    if isinstance(thing, Mapping):
        return _read_spec(thing, reading)
    where, names = library(thing), kinds(thing)
    if where & {"plotly", "altair"} and hasattr(thing, "to_dict"):
        return _read_spec(_dictionary(thing, where, reading), reading)
    if "bokeh" in where:
        from .libraries.bokeh import read_bokeh

        return read_bokeh(thing, reading)
    if where & {"matplotlib", "seaborn", "mpl_toolkits", "ipympl"} or _is_axes_list(thing):
        return _read_matplotlib(thing, names, reading)
    return False


def _read_json(text: str | bytes, reading: Reading) -> bool:
    if len(text) > MAX_JSON or text[:1] not in ("{", b"{"):
        return False
    spec = json.loads(text)
    return isinstance(spec, dict) and _read_spec(spec, reading)


def _read_spec(spec: Mapping[str, Any], reading: Reading, depth: int = 0) -> bool:
    """A specification, or what holds one: a saved output, or its bundle of MIME types."""
    inner = spec.get("data")
    if isinstance(inner, Mapping) and "output_type" in spec and depth == 0:
        return _read_spec(inner, reading, 1)
    for mime, held in spec.items():
        if isinstance(mime, str) and _SPEC.match(mime):
            held = json.loads(held) if isinstance(held, str) else held
            return isinstance(held, Mapping) and _read_spec(held, reading, 2)
    if any(isinstance(mime, str) and mime.startswith("image/") for mime in spec):
        reading.unread("the output holds only a picture: its numbers are not in it")
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


def _dictionary(thing: Any, where: set[str], reading: Reading) -> Mapping[str, Any]:
    """The specification of a plotly figure or an altair chart."""
    altair = sys.modules.get("altair")
    if "altair" not in where or altair is None:
        return thing.to_dict()  # type: ignore[no-any-return]  # of an object of another library
    thing = _shortened(thing, reading)
    with altair.data_transformers.enable("default", max_rows=None):  # else charts of more than 5,000 rows raise
        return thing.to_dict(validate=False)  # type: ignore[no-any-return]


def _shortened(chart: Any, reading: Reading) -> Any:
    """A copy of the chart with every k-th row where its table is too long to be turned into JSON in time."""
    data: Any = getattr(chart, "data", None)
    n = len(data) if hasattr(data, "iloc") else 0
    if n <= MAX_ROWS:
        return chart
    step = -(-n // MAX_ROWS)
    reading.figure.notes.append(f"{n} rows of data, of which every {step}th was read")
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
        held = thing.ravel().tolist() if hasattr(thing, "ravel") else thing
        chosen = _with_twins([a for a in held if "_AxesBase" in kinds(a)])
        whole = {id(a.get_figure()) for a in chosen}
        figure = chosen[0].get_figure()
        everything = len(whole) == 1 and len(chosen) >= len([a for a in figure.axes if not hasattr(a, "_colorbar")])
        read_figure(figure, reading, () if everything else chosen)
        return True
    figure = getattr(thing, "figure", None)  # a seaborn grid, a canvas, an artist
    if figure is None or "FigureBase" not in kinds(figure):
        reading.figure.source = "unknown"
        return False
    read_figure(figure, reading)
    return True


def _with_twins(chosen: list[Any]) -> list[Any]:
    """The axes, each with those on top of it or below (`twinx`, pandas' `secondary_y`), the lowest first."""
    found: list[Any] = []
    for axes in chosen:
        figure, group = axes.get_figure(), getattr(axes, "_twinned_axes", None)
        twins = group.get_siblings(axes) if group is not None else []
        found += [a for a in (figure.axes if figure is not None else ()) if a in twins and a not in found]
        found += [axes] if axes not in found else []
    return found


def _is_axes_list(thing: Any) -> bool:
    """An array, list or tuple of axes, as `plt.subplots` and pandas return them."""
    if type(thing) in (list, tuple):
        return 0 < len(thing) <= 500 and any("_AxesBase" in kinds(a) for a in thing)
    np = sys.modules.get("numpy")
    is_array = np is not None and isinstance(thing, np.ndarray) and thing.dtype == object and 0 < thing.size <= 500
    return bool(is_array) and "_AxesBase" in kinds(thing.reshape(-1)[0])
