"""A figure as plain values: panels, axes, series, pitfalls. Imports no plotting library and no wording."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..variables.masking import mask
from .facts.base import Place, SeriesFacts

MAX_TEXT = 160  # characters kept of a title, label or annotation


@dataclass
class Axis:
    """One axis. limits: as drawn, the left or lower end first; None if the library chooses them when it draws.

    at: converts a position to what the axis shows there; near: to the nearest category. unit: what one step of a position
    is, "day" on a date axis. is_circle: a full turn of angles, which no position lies outside of.
    """

    name: str
    label: str = ""
    scale: str = "linear"
    kind: str = "number"
    limits: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    note: str = ""
    unit: str = ""
    reversed: bool = False
    is_circle: bool = False
    at: Callable[[float], Place] = float
    near: Callable[[float], Place] = float

    @property
    def is_inverted(self) -> bool:
        return self.reversed or (self.limits is not None and self.limits[0] > self.limits[1])

    @property
    def span(self) -> tuple[float, float] | None:
        """The limits, the smaller one first."""
        return None if self.limits is None else (min(self.limits), max(self.limits))

    def to_dict(self) -> dict[str, Any]:
        data: dict[str, Any] = {"label": self.label, "scale": self.scale, "kind": self.kind}
        data["limits"] = None if self.limits is None else [self.at(v) for v in self.limits]
        data["inverted"] = self.is_inverted
        if self.categories:
            data["categories"] = list(self.categories)
        return data | ({"note": self.note} if self.note else {})


@dataclass
class Series:
    """One artist, trace or glyph. The class of `facts` depends on `kind`."""

    kind: str
    name: str = ""
    facts: SeriesFacts = field(default_factory=SeriesFacts)
    colour: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "colour": self.colour, **self.facts.to_dict()}


@dataclass
class Pitfall:
    """Something that may mislead a reader. panel: counts from 1; 0 means the whole figure."""

    kind: str
    text: str
    panel: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "panel": self.panel, "text": self.text}


@dataclass
class Panel:
    """One system of axes. twin_of: the number of the panel below it. more: how many series were not read, by kind."""

    number: int = 1
    title: str = ""
    position: tuple[int, int] | None = None
    axes: dict[str, Axis] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    legend_title: str = ""
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    twin_of: int | None = None
    more: dict[str, int] = field(default_factory=dict)

    @property
    def is_pie(self) -> bool:
        return bool(self.series) and all(series.kind == "pie" for series in self.series)

    def skip(self, kind: str) -> None:
        """Count a series that is not read."""
        self.more[kind] = self.more.get(kind, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "title": self.title,
            "position": None if self.position is None else list(self.position),
            "twin_of": self.twin_of,
            "axes": {name: axis.to_dict() for name, axis in self.axes.items()},
            "legend": list(self.legend),
            "texts": list(self.texts),
            "series": [series.to_dict() for series in self.series],
            "notes": list(self.notes),
            "more": dict(self.more),
        }


@dataclass
class Figure:
    """A whole figure. source: its library. unread: what could not be read, in words."""

    source: str
    title: str = ""
    panels: list[Panel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    pitfalls: list[Pitfall] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        data = {
            "source": self.source,
            "title": self.title,
            "panels": [panel.to_dict() for panel in self.panels],
            "notes": list(self.notes),
            "pitfalls": [pitfall.to_dict() for pitfall in self.pitfalls],
            "unread": list(self.unread),
        }
        json_data = to_json_types(data)
        assert isinstance(json_data, dict)
        return json_data


@dataclass(frozen=True)
class Facts:
    """A figure in numbers. `str()` is a text of bounded length for the model, `to_dict()` the exact values."""

    figure: Figure
    text: str

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        return self.figure.to_dict()

    @property
    def has_numbers(self) -> bool:
        """Whether anything that is drawn could be read."""
        return any(panel.series for panel in self.figure.panels)


def clean_text(text: object, longest: int = MAX_TEXT) -> str:
    """Return a figure's own text on one line: secrets masked, no control characters, shortened. Calls no code of its class."""
    if type(text) in (int, float, bool):
        text = str(text)
    if type(text) in (list, tuple) and isinstance(text, list | tuple):
        text = " ".join(part for part in text[:20] if type(part) is str)
    if not isinstance(text, str):
        module = type(text).__module__.partition(".")[0]
        text = str(text) if module in ("numpy", "pandas", "datetime") and "array" not in type(text).__name__ else ""
    text = mask(str.__str__(text)[: 8 * longest])
    text = "".join(c if c.isprintable() else " " for c in text.replace("<br>", " "))
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def to_json_types(value: Any) -> Any:
    """Convert to the types of JSON: NumPy's numbers to Python's, numbers that are not finite to None."""
    if isinstance(value, Mapping):
        return {str(k): to_json_types(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
