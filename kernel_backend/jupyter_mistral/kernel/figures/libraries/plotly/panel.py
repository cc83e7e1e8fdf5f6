"""The panel that plotly's traces are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...facts.bars import Bars
from ...facts.base import Colours, ColourScale, SeriesFacts
from ...measure import columns
from ...measure.bars import measure_bars
from ...measure.positions import Convert
from ...measure.summaries import measure_sample
from ...model import Axis, Panel, Series, clean_text
from ...reader import Reading
from .arrays import read_array

Spec = Mapping[str, Any]


@dataclass
class _BarTrace:
    series: Series
    facts: Bars
    lengths: dict[float, float]  # by position
    is_horizontal: bool


class Traces:
    """The panel that traces are read into, and the functions that convert their values to positions on its axes."""

    def __init__(self, panel: Panel, reading: Reading, converts: Mapping[str, Convert], layout: Spec) -> None:
        self.panel, self.reading, self.layout = panel, reading, layout
        self._converts = converts
        self._bars: list[_BarTrace] = []

    def axis(self, name: str) -> Axis:
        return self.panel.axes.get(name) or Axis(name)

    def positions(self, name: str, trace: Spec, count: int = 0) -> Any:
        """Return the trace's positions along an axis; counted from `x0` by `dx` if it has none."""
        data = read_array(trace.get(name))
        if data is None:
            start, step = trace.get(f"{name}0", 0), trace.get(f"d{name}", 1)
            start = start if isinstance(start, int | float) else 0
            return [start + i * step for i in range(count)]
        convert = self._converts.get(name)
        return convert(data) if convert else data

    def add(self, kind: str, trace: Spec, facts: SeriesFacts) -> Series:
        series = Series(kind, clean_text(trace.get("name")), facts, _read_colour(trace))
        self.panel.series.append(series)
        return series

    def add_bars(self, trace: Spec, places: Any, lengths: Any, bases: list[float], is_horizontal: bool) -> None:
        axis = self.axis("y" if is_horizontal else "x")
        places, lengths = columns.to_floats(columns.to_column(places)), columns.to_floats(columns.to_column(lengths))
        facts = measure_bars([axis.near(p) for p in places], lengths, bases, is_horizontal)
        series = self.add("bars", trace, facts)
        self._bars.append(_BarTrace(series, facts, dict(zip(places, lengths, strict=True)), is_horizontal))

    def finish(self) -> None:
        """Note whether bars are grouped or stacked; add the totals of a stack."""
        mode = str(self.layout.get("barmode", "group"))
        if len(self._bars) < 2 or mode == "overlay":
            return
        if mode in ("stack", "relative"):
            self._add_totals()
        else:
            self.panel.notes.append(f"{len(self._bars)} series of bars are side by side (grouped)")

    def _add_totals(self) -> None:
        totals: dict[float, float] = {}
        for bars in self._bars:
            bars.series.facts = replace(bars.facts, stacked=True)
            for place, length in bars.lengths.items():
                totals[place] = totals.get(place, 0.0) + (length if length == length else 0.0)
        is_horizontal = self._bars[0].is_horizontal
        axis = self.axis("y" if is_horizontal else "x")
        names, bases = [axis.near(p) for p in totals], [0.0] * len(totals)
        facts = measure_bars(names, list(totals.values()), bases, is_horizontal, layers=len(self._bars))
        self.panel.series.append(Series("stack totals", "", facts))
        self.panel.notes.append(f"{len(self._bars)} series of bars are stacked")


def _read_colour(trace: Spec) -> str:
    for name in ("line", "marker"):
        style = trace.get(name)
        colour = style.get("color") if isinstance(style, Mapping) else None
        if isinstance(colour, str) and len(colour) < 30:
            return clean_text(colour)
    return ""


def read_colours(traces: Traces, style: Spec) -> Colours | None:
    """Read what the colours of a marker or line stand for; None if they do not stand for values."""
    values = read_array(style.get("color"))
    if values is None or any(isinstance(c, str) for c in values[:10]):
        return None
    sample = measure_sample(values, Axis("colour"), traces.reading.allowance)
    return Colours(sample=sample, scale=read_colour_scale(traces, style))


def read_colour_scale(traces: Traces, style: Spec) -> ColourScale:
    shared = style.get("coloraxis")
    own = traces.layout.get(shared) if isinstance(shared, str) else style
    own = own if isinstance(own, Mapping) else {}
    bar = own.get("colorbar") or {}
    title = bar.get("title") if isinstance(bar, Mapping) else None
    low, high = own.get("cmin", own.get("zmin")), own.get("cmax", own.get("zmax"))
    name = own.get("colorscale")
    return ColourScale(
        colour_map=name if isinstance(name, str) else "custom colours",
        colour_label=clean_text(title.get("text") if isinstance(title, Mapping) else title),
        colour_limits=(
            low if isinstance(low, int | float) else None,
            high if isinstance(high, int | float) else None,
        ),
        colour_scale="linear",
        colour_bar=bool(own.get("showscale", shared is not None or "z" in style)),
    )
