"""The base of all facts, and the parts that several kinds share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeAlias

# a number, an ISO date or the name of a category: a position as the reader of the figure sees it
Place: TypeAlias = float | str
Orientation: TypeAlias = Literal["horizontal", "vertical"]
# marks a field whose own fields are merged into the `to_dict()` of its owner
FLAT: Mapping[str, bool] = {"flat": True}


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """The facts of one series, or a part of them."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists. A field that has its default value is left out, `FLAT` fields are merged in."""
        data: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.default is not MISSING and value == each.default:
                continue
            if each.metadata.get("flat"):
                data |= value.to_dict()
            else:
                data[each.name.rstrip("_")] = _to_plain(value)
        return data


def _to_plain(value: Any) -> Any:
    if isinstance(value, SeriesFacts):
        return value.to_dict()
    return [_to_plain(each) for each in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, kw_only=True)
class Extent(SeriesFacts):
    min: Place
    max: Place


@dataclass(frozen=True, kw_only=True)
class Spread(Extent):
    """Extremes, mean and median.

    *_at: the position of the first such value, x and y for a field. *_times: how often it occurs.
    """

    min_at: Place | tuple[Place, ...] | None = None
    max_at: Place | tuple[Place, ...] | None = None
    min_times: int | None = None
    max_times: int | None = None
    mean: Place | None  # None if it overflows
    median: Place


@dataclass(frozen=True, kw_only=True)
class Quartiles(SeriesFacts):
    """The distribution of values. outliers: None for fewer than 4 values."""

    value: Spread
    q1: Place
    q3: Place
    outliers: int | None = None


@dataclass(frozen=True, kw_only=True)
class Group(SeriesFacts):
    """The values of one category."""

    at: Place
    n: int
    spread: Spread = field(metadata=FLAT)
    q1: Place | None = None
    q3: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Sample(SeriesFacts):
    """Raw values that the library summarizes when it draws. read: how many were read, if not all. note: what was not computed."""

    n: int
    missing: int
    read: int | None = None
    quartiles: Quartiles | None = field(default=None, metadata=FLAT)
    groups: tuple[Group, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ColourScale(SeriesFacts):
    """How values become colours."""

    colour_map: str
    colour_label: str
    colour_limits: tuple[float | None, float | None]
    colour_scale: str
    colour_bar: bool


@dataclass(frozen=True, kw_only=True)
class Colours(SeriesFacts):
    """The values that colours stand for, and their scale."""

    sample: Sample = field(metadata=FLAT)
    scale: ColourScale = field(metadata=FLAT)
