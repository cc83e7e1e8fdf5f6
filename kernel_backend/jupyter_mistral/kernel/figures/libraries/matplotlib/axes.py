"""Reads one axis of a matplotlib plot: label, limits, scale, and what its positions mean (dates, periods, categories)."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ...facts.base import Place
from ...model import Axis, clean_text
from ...reader import class_names

_DATES = {"_SwitchableDateConverter", "DateConverter", "ConciseDateConverter", "DatetimeConverter", "TimeConverter"}
MAX_CATEGORIES = 200


def read_axis(axes: Any, name: str) -> Axis:
    """Read the axis `name` (x, y or z). Reading the limits applies pending autoscaling, as drawing would."""
    mpl_axis = getattr(axes, f"{name}axis")
    low, high = (float(v) for v in getattr(axes, f"get_{name}lim")())
    axis = Axis(name, clean_text(mpl_axis.label.get_text()), clean_text(mpl_axis.get_scale(), 20), note=_note(mpl_axis))
    if math.isfinite(low) and math.isfinite(high):
        axis.limits = (low, high)
        axis.is_circle = name == "x" and axes.name == "polar" and abs(high - low) > math.tau - 1e-6
    frequency, converter = getattr(mpl_axis, "freq", None), _converter_names(mpl_axis)
    if frequency is not None and "pandas" in sys.modules:
        axis.kind, axis.at = "date", _period_at(frequency)
        axis.unit = "period"
    elif converter & _DATES:
        axis.kind, axis.at, axis.unit = "date", _date_at(mpl_axis.get_units()), "day"
    else:
        _set_names(axis, _tick_names(mpl_axis, converter))
        return axis
    axis.near = axis.at
    return axis


def _converter_names(mpl_axis: Any) -> set[str]:
    get = getattr(mpl_axis, "get_converter", None)  # matplotlib 3.10
    converter = get() if get else getattr(mpl_axis, "converter", None)
    return set() if converter is None else class_names(converter)


def _set_names(axis: Axis, labels: dict[float, str]) -> None:
    """Take tick labels at a distance of 1 as categories; note other tick labels that are not their positions."""
    if not labels:
        return
    places = sorted(labels)
    if all(abs(b - a - 1) < 1e-9 for a, b in itertools.pairwise(places)) and axis.scale == "linear":
        axis.kind = "category"
        axis.categories = tuple(labels[p] for p in places[:MAX_CATEGORIES])
        axis.at, axis.near = _name_lookup(labels, 1e-9), _name_lookup(labels, 0.5)
    elif not all(_equals_number(labels[p], p) for p in places):
        named = ", ".join(f'{p:g} is "{labels[p]}"' for p in places[:12])
        axis.note = "; ".join(filter(None, [axis.note, f"tick labels are set by hand: {named}"]))


def name_between(axes: Any, name: str, low: float, high: float) -> str:
    """Return the label of the only tick from `low` to `high`; "" if there is none, or several."""
    mpl_axis = getattr(axes, f"{name}axis")
    names = [text for place, text in _tick_names(mpl_axis, _converter_names(mpl_axis)).items() if low <= place <= high]
    return names[0] if len(names) == 1 else ""


def _equals_number(label: str, place: float) -> bool:
    try:
        return math.isclose(float(label.replace("−", "-").replace(",", "")), place, rel_tol=0.01, abs_tol=1e-9)
    except ValueError:
        return False


def _name_lookup(labels: Mapping[float, str], within: float) -> Callable[[float], Place]:
    places = sorted(labels)

    def at(value: float) -> Place:
        if not math.isfinite(value):
            return value
        nearest = min(places, key=lambda p: abs(p - value))
        return labels[nearest] if abs(nearest - value) < within else value

    return at


def _tick_names(mpl_axis: Any, converter: set[str]) -> dict[float, str]:
    """Return names of positions: of matplotlib's categorical units, else the labels that were set on fixed ticks."""
    if "StrCategoryConverter" in converter:
        mapping = getattr(mpl_axis.get_units(), "_mapping", None) or {}
        return {float(place): clean_text(text, 60) for text, place in list(mapping.items())[:2000]}
    locator, formatter = mpl_axis.get_major_locator(), mpl_axis.get_major_formatter()
    if "FixedLocator" not in class_names(locator):
        return {}
    if "FixedFormatter" in class_names(formatter):
        pairs = list(zip(locator.locs, formatter.seq, strict=False))
    else:  # set_xticks(places, names) leaves a partial of a method, with the names by position
        arguments = getattr(getattr(formatter, "func", None), "args", ())
        pairs = list(arguments[0].items()) if arguments and isinstance(arguments[0], dict) else []
    names = {
        float(place): clean_text(getattr(text, "get_text", lambda t=text: t)(), 60) for place, text in pairs[:2000]
    }
    return {place: text for place, text in names.items() if text}


def _note(mpl_axis: Any) -> str:
    parts = []
    scale, transform = mpl_axis.get_scale(), mpl_axis.get_transform()
    if scale == "log" and getattr(transform, "base", 10) != 10:
        parts.append(f"base {transform.base:g}")
    if scale == "symlog":
        parts.append(f"linear between -{transform.linthresh:g} and {transform.linthresh:g}")
    formatter = mpl_axis.get_major_formatter()
    if "PercentFormatter" in class_names(formatter):
        parts.append(f"ticks are shown as percent of {formatter.xmax:g}")
    return "; ".join(parts)


def _date_at(zone: Any) -> Callable[[float], Place]:
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


def _period_at(frequency: Any) -> Callable[[float], Place]:
    pandas = sys.modules["pandas"]

    def at(value: float) -> Place:
        try:
            return str(pandas.Period(ordinal=round(value), freq=frequency))
        except (ValueError, OverflowError, TypeError):
            return value

    return at
