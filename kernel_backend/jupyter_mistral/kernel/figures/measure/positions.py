"""Values of a JSON specification as positions on an axis: numbers, dates, or categories. Knows no plotting library."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..model import Axis, Place, words
from . import columns

_DATE = re.compile(r"\d{4}-\d{2}(-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?")
_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = 86400.0
PROBED = 1000

Convert = Callable[[Any], Any]


def mapped(axis: Axis, held: Iterable[Any], kind: str = "", order: Sequence[Any] = ()) -> Convert:
    """Sets what `axis` shows, and returns what turns values into its positions.

    held: the columns that will stand on it. kind: number, date or category; empty to tell from the values. order: categories.
    """
    filled = [c for c in held if c is not None and columns.length(c)]
    axis.kind = kind or tell_kind(filled)
    if axis.kind == "date":
        axis.at = axis.near = shown_date
        axis.unit = "day"
        return lambda values: [day(v) for v in listed(values)]
    if axis.kind == "category":
        places = _categories(filled, order)
        names = [words(c, 60) for c in places]
        axis.categories = tuple(names[:200])
        axis.at = axis.near = _named(names)
        return lambda values: [float(places.get(_key(v), math.nan)) for v in listed(values)]
    return lambda values: values


def tell_kind(held: Sequence[Any]) -> str:
    """number, date or category, by the first thousand values of each column."""
    found: set[str] = set()
    for values in held:
        if hasattr(values, "dtype"):
            kind = values.dtype.kind
            if kind in "biuf":
                found.add("number")
                continue
            if kind == "M":
                found.add("date")
                continue
        found |= {_kind(v) for v in listed(values[:PROBED])}
    found.discard("")
    return found.pop() if len(found) == 1 else "category" if found else "number"


def _kind(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool | int | float):
        return "number"
    if isinstance(value, datetime.date) or type(value).__name__ in ("datetime64", "Timestamp"):
        return "date"
    if isinstance(value, str):
        if _DATE.fullmatch(value):
            return "date"
        return "number" if columns.column([value])[0] == columns.column([value])[0] else "category"
    return "number" if columns.column([value])[0] == columns.column([value])[0] else "category"


def listed(values: Any) -> list[Any]:
    """A column as a list; datetime64 as ISO text."""
    if hasattr(values, "dtype") and values.dtype.kind == "M":
        return [None if v == "NaT" else v for v in map(str, values.astype("datetime64[us]").reshape(-1))]
    return values.reshape(-1).tolist() if hasattr(values, "dtype") else list(values)


def _categories(held: Sequence[Any], order: Sequence[Any]) -> dict[Any, int]:
    places: dict[Any, int] = {}
    for values in [order, *held]:
        for value in listed(values):
            key = _key(value)
            if key is not None:
                places.setdefault(key, len(places))
    return places


def _key(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, list | tuple):
        return " / ".join(words(v, 60) for v in value)
    return value if isinstance(value, str | bool | int | float) else words(value, 60)


def _named(names: Sequence[str]) -> Callable[[float], Place]:
    def at(value: float) -> Place:
        near = round(value) if math.isfinite(value) else -1
        return names[near] if 0 <= near < len(names) and abs(near - value) < 0.5 else value

    return at


def day(value: Any) -> float:
    """Days since 1970 of a date, a datetime, ISO text, or milliseconds; nan for anything else."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return value / _DAY / 1000
    if isinstance(value, datetime.date):
        value = value.isoformat()
    if not isinstance(value, str):
        value = words(value, 60)
    if not _DATE.fullmatch(value):
        return math.nan
    try:
        text = value if len(value) > 7 else value + "-01"
        moment = datetime.datetime.fromisoformat(_python_iso(text))
    except ValueError:
        return math.nan
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return (moment - _EPOCH) / datetime.timedelta(days=1)


def _python_iso(text: str) -> str:
    """What Python 3.10 reads too: no Z, three or six digits of a second."""
    text = re.sub(r"Z$", "+00:00", text)
    return re.sub(r"\.(\d+)", lambda m: "." + m[1][:6].ljust(6, "0"), text)


def shown_date(days: float) -> Place:
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=round(days * _DAY * 1e6))
    except (ValueError, OverflowError):
        return days
    return moment.isoformat(sep=" ").removesuffix(" 00:00:00")
