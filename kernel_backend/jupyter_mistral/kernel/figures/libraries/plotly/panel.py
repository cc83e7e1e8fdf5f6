"""The panel that plotly's traces are read into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...measure import columns, series
from ...measure.positions import Convert
from ...model import Axis, Panel, Series, words
from ...reader import Reading
from .arrays import values

Spec = Mapping[str, Any]


class Traces:
    """The panel that traces are read into, and what turns their values into positions on its axes."""

    def __init__(self, panel: Panel, reading: Reading, converts: Mapping[str, Convert], layout: Spec) -> None:
        self.panel, self.reading, self.layout = panel, reading, layout
        self._converts = converts
        self._bars: list[tuple[Series, dict[float, float], bool]] = []

    def axis(self, name: str) -> Axis:
        return self.panel.axes.get(name) or Axis(name)

    def positions(self, name: str, trace: Spec, count: int = 0) -> Any:
        """The trace's values along an axis; counted from `x0` by `dx` where it has none."""
        held = values(trace.get(name))
        if held is None:
            start, step = trace.get(f"{name}0", 0), trace.get(f"d{name}", 1)
            start = start if isinstance(start, int | float) else 0
            return [start + i * step for i in range(count)]
        convert = self._converts.get(name)
        return convert(held) if convert else held

    def add(self, kind: str, trace: Spec, facts: dict[str, Any]) -> Series:
        found = Series(kind, words(trace.get("name")), facts, _colour(trace))
        self.panel.series.append(found)
        return found

    def add_bars(self, trace: Spec, places: Any, lengths: Any, bases: list[float], is_horizontal: bool) -> None:
        axis = self.axis("y" if is_horizontal else "x")
        places, lengths = columns.plain(columns.column(places)), columns.plain(columns.column(lengths))
        facts = series.bars([axis.near(p) for p in places], lengths, bases, is_horizontal)
        found = self.add("bars", trace, facts)
        self._bars.append((found, dict(zip(places, lengths, strict=True)), is_horizontal))

    def finish(self) -> None:
        """Totals where bars are stacked."""
        mode = str(self.layout.get("barmode", "group"))
        if len(self._bars) < 2 or mode == "overlay":
            return
        if mode not in ("stack", "relative"):
            self.panel.notes.append(f"{len(self._bars)} series of bars stand side by side (grouped)")
            return
        totals: dict[float, float] = {}
        for found, lengths, _ in self._bars:
            found.facts["stacked"] = True
            for place, length in lengths.items():
                totals[place] = totals.get(place, 0.0) + (length if length == length else 0.0)
        is_horizontal = self._bars[0][2]
        axis = self.axis("y" if is_horizontal else "x")
        names = [axis.near(p) for p in totals]
        facts = series.bars(names, list(totals.values()), [0.0] * len(totals), is_horizontal)
        self.panel.series.append(Series("stack totals", "", facts | {"layers": len(self._bars)}))
        self.panel.notes.append(f"{len(self._bars)} series of bars are stacked")


def _colour(trace: Spec) -> str:
    for name in ("line", "marker"):
        held = trace.get(name)
        colour = held.get("color") if isinstance(held, Mapping) else None
        if isinstance(colour, str) and len(colour) < 30:
            return words(colour)
    return ""


def colour_scale(traces: Traces, held: Spec) -> dict[str, Any]:
    shared = held.get("coloraxis")
    own = traces.layout.get(shared) if isinstance(shared, str) else held
    own = own if isinstance(own, Mapping) else {}
    bar = own.get("colorbar") or {}
    title = bar.get("title") if isinstance(bar, Mapping) else None
    ends = [own.get("cmin", own.get("zmin")), own.get("cmax", own.get("zmax"))]
    name = own.get("colorscale")
    return {
        "colour_map": name if isinstance(name, str) else "own colours",
        "colour_label": words(title.get("text") if isinstance(title, Mapping) else title),
        "colour_limits": [v if isinstance(v, int | float) else None for v in ends],
        "colour_scale": "linear",
        "colour_bar": bool(own.get("showscale", shared is not None or "z" in held)),
    }
