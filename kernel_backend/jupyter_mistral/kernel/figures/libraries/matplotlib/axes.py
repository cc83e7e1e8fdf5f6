"""One axis of a matplotlib plot: label, limits, scale, and how its positions read (dates, periods, categories)."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ...model import Axis, Place, words
from ...reader import kinds

_DATES = {"_SwitchableDateConverter", "DateConverter", "ConciseDateConverter", "DatetimeConverter", "TimeConverter"}
MAX_CATEGORIES = 200


def read_axis(axes: Any, name: str) -> Axis:
    """The axis `name` (x, y or z) of `axes`. Reading limits settles autoscaling, as drawing would, and changes nothing else."""
    own = getattr(axes, f"{name}axis")
    low, high = (float(v) for v in getattr(axes, f"get_{name}lim")())
    axis = Axis(name, words(own.label.get_text()), words(own.get_scale(), 20), note=_note(own))
    if math.isfinite(low) and math.isfinite(high):
        axis.limits = (low, high)
        axis.is_circle = name == "x" and axes.name == "polar" and abs(high - low) > math.tau - 1e-6
    frequency, converter = getattr(own, "freq", None), _converter(own)
    if frequency is not None and "pandas" in sys.modules:
        axis.kind, axis.at = "date", _period(frequency)
        axis.unit = "period"
    elif converter & _DATES:
        axis.kind, axis.at, axis.unit = "date", _date(own.get_units()), "day"
    else:
        _name(axis, _labels(own, converter))
        return axis
    axis.near = axis.at
    return axis


def _converter(own: Any) -> set[str]:
    get = getattr(own, "get_converter", None)  # matplotlib 3.10
    converter = get() if get else getattr(own, "converter", None)
    return set() if converter is None else kinds(converter)


def _name(axis: Axis, labels: dict[float, str]) -> None:
    """Ticks one apart that bear names are categories; other names on ticks become a note."""
    if not labels:
        return
    places = sorted(labels)
    if all(abs(b - a - 1) < 1e-9 for a, b in itertools.pairwise(places)) and axis.scale == "linear":
        axis.kind = "category"
        axis.categories = tuple(labels[p] for p in places[:MAX_CATEGORIES])
        axis.at, axis.near = _named(labels, 1e-9), _named(labels, 0.5)
    elif not all(_says(labels[p], p) for p in places):
        said = ", ".join(f'{p:g} is "{labels[p]}"' for p in places[:12])
        axis.note = "; ".join(filter(None, [axis.note, f"tick labels are set by hand: {said}"]))


def name_between(axes: Any, name: str, low: float, high: float) -> str:
    """The name on the one tick of an axis from `low` to `high`; "" where there is none, or several."""
    own = getattr(axes, f"{name}axis")
    found = [text for place, text in _labels(own, _converter(own)).items() if low <= place <= high]
    return found[0] if len(found) == 1 else ""


def _says(label: str, place: float) -> bool:
    try:
        return math.isclose(float(label.replace("−", "-").replace(",", "")), place, rel_tol=0.01, abs_tol=1e-9)
    except ValueError:
        return False


def _named(labels: Mapping[float, str], within: float) -> Callable[[float], Place]:
    places = sorted(labels)

    def at(value: float) -> Place:
        if not math.isfinite(value):
            return value
        nearest = min(places, key=lambda p: abs(p - value))
        return labels[nearest] if abs(nearest - value) < within else value

    return at


def _labels(own: Any, converter: set[str]) -> dict[float, str]:
    """Names of positions: of matplotlib's categorical units, else those that were set on fixed ticks."""
    if "StrCategoryConverter" in converter:
        mapping = getattr(own.get_units(), "_mapping", None) or {}
        return {float(place): words(text, 60) for text, place in list(mapping.items())[:2000]}
    locator, formatter = own.get_major_locator(), own.get_major_formatter()
    if "FixedLocator" not in kinds(locator):
        return {}
    if "FixedFormatter" in kinds(formatter):
        pairs = list(zip(locator.locs, formatter.seq, strict=False))
    else:  # what set_xticks(places, names) leaves: a partial of a method with the names by place
        held = getattr(getattr(formatter, "func", None), "args", ())
        pairs = list(held[0].items()) if held and isinstance(held[0], dict) else []
    found = {float(place): words(getattr(text, "get_text", lambda t=text: t)(), 60) for place, text in pairs[:2000]}
    return {place: text for place, text in found.items() if text}


def _note(own: Any) -> str:
    parts = []
    scale, transform = own.get_scale(), own.get_transform()
    if scale == "log" and getattr(transform, "base", 10) != 10:
        parts.append(f"base {transform.base:g}")
    if scale == "symlog":
        parts.append(f"linear between -{transform.linthresh:g} and {transform.linthresh:g}")
    formatter = own.get_major_formatter()
    if "PercentFormatter" in kinds(formatter):
        parts.append(f"ticks are shown as percent of {formatter.xmax:g}")
    return "; ".join(parts)


def _date(zone: Any) -> Callable[[float], Place]:
    dates = sys.modules["matplotlib.dates"]

    def at(value: float) -> Place:
        try:
            moment = dates.num2date(value, tz=zone) if hasattr(zone, "utcoffset") else dates.num2date(value)
        except (ValueError, OverflowError):
            return value
        if not moment.utcoffset():
            moment = moment.replace(tzinfo=None)
        text = str(moment.isoformat(sep=" "))
        return text.removesuffix(" 00:00:00")

    return at


def _period(frequency: Any) -> Callable[[float], Place]:
    pandas = sys.modules["pandas"]

    def at(value: float) -> Place:
        try:
            return str(pandas.Period(ordinal=round(value), freq=frequency))
        except (ValueError, OverflowError, TypeError):
            return value

    return at
