"""Converts values of a JSON specification to positions on an axis of numbers, dates or categories."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..facts.base import Place
from ..model import Axis, clean_text
from . import columns

_DATE = re.compile(r"\d{4}-\d{2}(-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?")
_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = 86400.0
PROBED = 1000

Convert = Callable[[Any], Any]


def map_axis(axis: Axis, data: Iterable[Any], kind: str = "", order: Sequence[Any] = ()) -> Convert:
    """Set the kind of `axis` and how it labels positions; return the function that converts values to positions.

    data: the columns that are drawn along it. kind: number, date or category; empty to detect it. order: of the categories.
    """
    filled = [c for c in data if c is not None and columns.length(c)]
    axis.kind = kind or detect_kind(filled)
    if axis.kind == "date":
        axis.at = axis.near = format_day
        axis.unit = "day"
        return lambda values: [to_day(v) for v in to_list(values)]
    if axis.kind == "category":
        places = _collect_categories(filled, order)
        names = [clean_text(c, 60) for c in places]
        axis.categories = tuple(names[:200])
        axis.at = axis.near = _name_lookup(names)
        return lambda values: [float(places.get(_category_key(v), math.nan)) for v in to_list(values)]
    return lambda values: values


def detect_kind(data: Sequence[Any]) -> str:
    """Return number, date or category, by the first thousand values of each column."""
    detected: set[str] = set()
    for values in data:
        if hasattr(values, "dtype"):
            kind = values.dtype.kind
            if kind in "biuf":
                detected.add("number")
                continue
            if kind == "M":
                detected.add("date")
                continue
        detected |= {_kind_of(v) for v in to_list(values[:PROBED])}
    detected.discard("")
    return detected.pop() if len(detected) == 1 else "category" if detected else "number"


def _kind_of(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool | int | float):
        return "number"
    if isinstance(value, datetime.date) or type(value).__name__ in ("datetime64", "Timestamp"):
        return "date"
    if isinstance(value, str) and _DATE.fullmatch(value):
        return "date"
    number = columns.to_column([value])[0]
    return "number" if number == number else "category"


def to_list(values: Any) -> list[Any]:
    """Convert a column to a list; datetime64 becomes ISO text."""
    if hasattr(values, "dtype") and values.dtype.kind == "M":
        return [None if v == "NaT" else v for v in map(str, values.astype("datetime64[us]").reshape(-1))]
    return values.reshape(-1).tolist() if hasattr(values, "dtype") else list(values)


def _collect_categories(data: Sequence[Any], order: Sequence[Any]) -> dict[Any, int]:
    places: dict[Any, int] = {}
    for values in [order, *data]:
        for value in to_list(values):
            key = _category_key(value)
            if key is not None:
                places.setdefault(key, len(places))
    return places


def _category_key(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, list | tuple):
        return " / ".join(clean_text(v, 60) for v in value)
    return value if isinstance(value, str | bool | int | float) else clean_text(value, 60)


def _name_lookup(names: Sequence[str]) -> Callable[[float], Place]:
    def at(value: float) -> Place:
        near = round(value) if math.isfinite(value) else -1
        return names[near] if 0 <= near < len(names) and abs(near - value) < 0.5 else value

    return at


def to_day(value: Any) -> float:
    """Return the days since 1970 of a date, a datetime, ISO text or milliseconds; NaN for anything else."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return value / _DAY / 1000
    if isinstance(value, datetime.date):
        value = value.isoformat()
    if not isinstance(value, str):
        value = clean_text(value, 60)
    if not _DATE.fullmatch(value):
        return math.nan
    try:
        text = value if len(value) > 7 else value + "-01"
        moment = datetime.datetime.fromisoformat(_to_python_iso(text))
    except ValueError:
        return math.nan
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return (moment - _EPOCH) / datetime.timedelta(days=1)


def _to_python_iso(text: str) -> str:
    """Rewrite for Python 3.10, which reads no Z and only three or six digits of a second."""
    text = re.sub(r"Z$", "+00:00", text)
    return re.sub(r"\.(\d+)", lambda m: "." + m[1][:6].ljust(6, "0"), text)


def format_day(days: float) -> Place:
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=round(days * _DAY * 1e6))
    except (ValueError, OverflowError):
        return days
    return moment.isoformat(sep=" ").removesuffix(" 00:00:00")
