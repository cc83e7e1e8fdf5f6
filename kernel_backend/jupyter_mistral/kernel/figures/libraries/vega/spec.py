"""A Vega-Lite specification (what altair makes, or a saved output holds) into panels, one for each view."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...measure import series
from ...model import Axis, Panel, Series, words
from ...reader import MAX_PANELS, MAX_SERIES, Reading
from .marks import read_marks
from .view import View

Spec = Mapping[str, Any]
_PARTS = ("mark", "layer", "hconcat", "vconcat", "concat", "spec", "facet", "repeat")
MAX_ROWS = 200_000


def is_vega(spec: Spec) -> bool:
    return "vega" in str(spec.get("$schema", "")) or (any(part in spec for part in _PARTS) and "panels" not in spec)


@dataclass(frozen=True)
class _Around:
    """What a view inherits from those around it."""

    data: Any
    encoding: Spec
    transforms: tuple[Any, ...] = ()
    depth: int = 0


def read_vega(spec: Spec, reading: Reading) -> None:
    into = reading.figure
    schema = str(spec.get("$schema", ""))
    if "/vega/" in schema and "vega-lite" not in schema:
        into.source, into.title = "Vega", title_of(spec)
        _read_tables(spec, reading)
        return
    into.source, into.title = "Vega-Lite", title_of(spec)
    named = spec.get("datasets") if isinstance(spec.get("datasets"), Mapping) else {}
    views = _views(spec, _Around(None, {}))
    for number, group in enumerate(views, 1):
        if number > MAX_PANELS:
            into.notes.append(f"more than {MAX_PANELS} panels, of which those were read")
            break
        panel = Panel(number)
        into.panels.append(panel)
        for view, around in group:
            reading.attempt(f"a view of panel {number}", _read_view, view, around, named, panel, reading)


def title_of(spec: Spec) -> str:
    title = spec.get("title")
    return words(title.get("text") if isinstance(title, Mapping) else title)


def _views(spec: Spec, around: _Around) -> Iterator[list[tuple[Spec, _Around]]]:
    """Each panel as its layers, with what they inherit."""
    if around.depth > 12:
        raise ValueError("views are nested too deeply")
    inner = _inherit(spec, around)
    for name in ("hconcat", "vconcat", "concat"):
        for part in spec.get(name, ()):
            yield from _views(part, inner)
    if "repeat" in spec and isinstance(spec.get("spec"), Mapping):
        for part in _repeated(spec["spec"], spec["repeat"]):
            yield from _views(part, inner)
    elif isinstance(spec.get("spec"), Mapping):
        facet = spec.get("facet")
        channels = facet if isinstance(facet, Mapping) and "field" not in facet else {"facet": facet}
        encoding = {**inner.encoding, **{k: v for k, v in channels.items() if v}}
        yield from _views(spec["spec"], _Around(inner.data, encoding, inner.transforms, inner.depth))
    elif "mark" in spec or "layer" in spec:
        yield list(_layers(spec, around))


def _layers(spec: Spec, around: _Around) -> Iterator[tuple[Spec, _Around]]:
    if around.depth > 12:
        raise ValueError("layers are nested too deeply")
    inner = _inherit(spec, around)
    if "mark" in spec:
        yield spec, inner
    for layer in spec.get("layer", ()):
        yield from _layers(layer, inner)


def _inherit(spec: Spec, around: _Around) -> _Around:
    encoding = {**around.encoding, **(spec.get("encoding") or {})}
    transforms = (*around.transforms, *(spec.get("transform") or ()))
    # data of its own starts afresh
    return _Around(spec.get("data", around.data), encoding, transforms, around.depth + 1)


def _repeated(spec: Spec, repeat: Any) -> Iterator[Spec]:
    """The view once for each repeated field."""
    axes: Spec = repeat if isinstance(repeat, Mapping) else {"repeat": repeat}
    rows: Sequence[Any] = axes.get("row") or [None]
    columns: Sequence[Any] = axes.get("column") or axes.get("layer") or axes.get("repeat") or [None]
    for row in rows:
        for column in columns:
            part = copy.deepcopy(dict(spec))
            _fill(part, {"row": row, "column": column, "layer": column, "repeat": column})
            yield part


def _fill(part: Any, fields: Mapping[str, Any]) -> None:
    if isinstance(part, dict):
        held = part.get("field")
        if isinstance(held, dict) and "repeat" in held:
            part["field"] = fields.get(held["repeat"])
        for value in part.values():
            _fill(value, fields)
    elif isinstance(part, list):
        for value in part:
            _fill(value, fields)


def _read_view(spec: Spec, around: _Around, named: Spec, panel: Panel, reading: Reading) -> None:
    panel.title = panel.title or title_of(spec)
    mark = spec["mark"]
    kind = str(mark.get("type", "") if isinstance(mark, Mapping) else mark)
    rows = _rows(around.data, named)
    if rows is None:
        reading.unread(f"the data of panel {panel.number}: it is not in the specification, and is never fetched")
        panel.series.append(Series(f"{words(kind, 30)} mark", "", {"data": "not in the specification"}))
        return
    if len(rows) > MAX_ROWS:
        panel.notes.append(f"{len(rows)} rows of data, of which every {-(-len(rows) // MAX_ROWS)}th was read")
        rows = rows[:: -(-len(rows) // MAX_ROWS)]
    if len(panel.series) >= MAX_SERIES:
        panel.more[words(kind, 30)] = panel.more.get(words(kind, 30), 0) + 1
        return
    options = mark if isinstance(mark, Mapping) else {}
    view = View(kind, options, around.encoding, rows, around.transforms, panel, reading)
    read_marks(view)
    parts = [f'{name} by "{words(view.field(name))}"' for name in ("row", "column", "facet") if view.field(name)]
    if parts:
        panel.notes.append(f"drawn as a small plot for each part of the data: {', '.join(parts)}")


def _rows(data: Any, named: Spec) -> list[Any] | None:
    """The rows of inline or named data; None where they are elsewhere."""
    if not isinstance(data, Mapping):
        return None
    held = data.get("values")
    if held is None and data.get("name") in named:
        held = named[data["name"]]
    if isinstance(held, Mapping):
        held = [held]
    if not isinstance(held, list):
        return None
    return [row if isinstance(row, Mapping) else {"data": row} for row in held]


def _read_tables(spec: Spec, reading: Reading) -> None:
    """Of Vega proper only the data is read: its marks are programs."""
    panel = Panel(1)
    reading.figure.panels.append(panel)
    panel.notes.append("the marks are worked out by the browser; what follows is the data that it starts from")
    for data in [d for d in spec.get("data") or () if isinstance(d, Mapping)][:20]:
        rows = [r for r in data.get("values") or () if isinstance(r, Mapping)][:MAX_ROWS]
        for field in list(dict.fromkeys(k for row in rows[:100] for k in row))[:20]:
            facts = series.sample([row.get(field) for row in rows], Axis(str(field)), reading.allowance)
            if "value" in facts:
                panel.series.append(Series("values", words(field), facts))
