"""Reads a Vega-Lite specification, from altair or a saved output, into panels, one for each view."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...facts.others import NoData
from ...measure.summaries import measure_sample
from ...model import Axis, Panel, Series, clean_text
from ...reader import MAX_PANELS, MAX_SERIES, Reading
from .marks import read_marks
from .view import View

Spec = Mapping[str, Any]
_PARTS = ("mark", "layer", "hconcat", "vconcat", "concat", "spec", "facet", "repeat")
MAX_ROWS = 200_000


def is_vega(spec: Spec) -> bool:
    return "vega" in str(spec.get("$schema", "")) or (any(part in spec for part in _PARTS) and "panels" not in spec)


@dataclass(frozen=True)
class _Inherited:
    """The parts of a view that come from the views around it."""

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
    views = _views(spec, _Inherited(None, {}))
    for number, group in enumerate(views, 1):
        if number > MAX_PANELS:
            into.notes.append(f"more than {MAX_PANELS} panels; the others were not read")
            break
        panel = Panel(number)
        into.panels.append(panel)
        for view, outer in group:
            reading.attempt(f"a view of panel {number}", _read_view, view, outer, named, panel, reading)


def title_of(spec: Spec) -> str:
    title = spec.get("title")
    return clean_text(title.get("text") if isinstance(title, Mapping) else title)


def _views(spec: Spec, outer: _Inherited) -> Iterator[list[tuple[Spec, _Inherited]]]:
    """Yield each panel as its layers, with what they inherit."""
    if outer.depth > 12:
        raise ValueError("views are nested too deeply")
    inner = _inherit(spec, outer)
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
        yield from _views(spec["spec"], _Inherited(inner.data, encoding, inner.transforms, inner.depth))
    elif "mark" in spec or "layer" in spec:
        yield list(_layers(spec, outer))


def _layers(spec: Spec, outer: _Inherited) -> Iterator[tuple[Spec, _Inherited]]:
    if outer.depth > 12:
        raise ValueError("layers are nested too deeply")
    inner = _inherit(spec, outer)
    if "mark" in spec:
        yield spec, inner
    for layer in spec.get("layer", ()):
        yield from _layers(layer, inner)


def _inherit(spec: Spec, outer: _Inherited) -> _Inherited:
    encoding = {**outer.encoding, **(spec.get("encoding") or {})}
    transforms = (*outer.transforms, *(spec.get("transform") or ()))
    # own data replaces the inherited data
    return _Inherited(spec.get("data", outer.data), encoding, transforms, outer.depth + 1)


def _repeated(spec: Spec, repeat: Any) -> Iterator[Spec]:
    """Yield the view once for each repeated field."""
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
        field = part.get("field")
        if isinstance(field, dict) and "repeat" in field:
            part["field"] = fields.get(field["repeat"])
        for value in part.values():
            _fill(value, fields)
    elif isinstance(part, list):
        for value in part:
            _fill(value, fields)


def _read_view(spec: Spec, outer: _Inherited, named: Spec, panel: Panel, reading: Reading) -> None:
    panel.title = panel.title or title_of(spec)
    mark = spec["mark"]
    kind = str(mark.get("type", "") if isinstance(mark, Mapping) else mark)
    rows = _rows(outer.data, named)
    if rows is None:
        reading.unread(f"the data of panel {panel.number}: it is not in the specification, and is never downloaded")
        panel.series.append(Series(f"{clean_text(kind, 30)} mark", "", NoData(data="not in the specification")))
        return
    if len(rows) > MAX_ROWS:
        step = -(-len(rows) // MAX_ROWS)
        panel.notes.append(f"{len(rows)} rows of data, of which one in {step} was read")
        rows = rows[::step]
    if len(panel.series) >= MAX_SERIES:
        panel.skip(clean_text(kind, 30))
        return
    options = mark if isinstance(mark, Mapping) else {}
    view = View(kind, options, outer.encoding, rows, outer.transforms, panel, reading)
    read_marks(view)
    parts = [f'{name} by "{clean_text(view.field(name))}"' for name in ("row", "column", "facet") if view.field(name)]
    if parts:
        panel.notes.append(f"drawn as a small plot for each part of the data: {', '.join(parts)}")


def _rows(data: Any, named: Spec) -> list[Any] | None:
    """Return the rows of inline or named data; None if they are elsewhere."""
    if not isinstance(data, Mapping):
        return None
    values = data.get("values")
    if values is None and data.get("name") in named:
        values = named[data["name"]]
    if isinstance(values, Mapping):
        values = [values]
    if not isinstance(values, list):
        return None
    return [row if isinstance(row, Mapping) else {"data": row} for row in values]


def _read_tables(spec: Spec, reading: Reading) -> None:
    """Read only the data of a Vega specification: its marks are programs."""
    panel = Panel(1)
    reading.figure.panels.append(panel)
    panel.notes.append("the browser computes the marks; these are the data that it starts from")
    for data in [d for d in spec.get("data") or () if isinstance(d, Mapping)][:20]:
        rows = [r for r in data.get("values") or () if isinstance(r, Mapping)][:MAX_ROWS]
        for field in list(dict.fromkeys(k for row in rows[:100] for k in row))[:20]:
            facts = measure_sample([row.get(field) for row in rows], Axis(str(field)), reading.allowance)
            if facts.quartiles is not None:
                panel.series.append(Series("values", clean_text(field), facts))
