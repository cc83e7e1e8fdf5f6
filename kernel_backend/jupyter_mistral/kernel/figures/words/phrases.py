"""One series' facts in words, by its kind. Says nothing that is not in the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..model import Axis
from .column_phrases import PHRASES
from .terms import Facts, colours, count, num, some, spread

Axes = Mapping[str, Axis]


def phrase(kind: str, facts: Facts, axes: Axes, items: int) -> str:
    tell = _PHRASES.get(kind, _plain)
    return "; ".join(part for part in tell(facts, axes, items) if part)


def _points(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [count(facts, "points"), _steps(facts)]
    parts.append(f"drawn as {facts['drawn_as']}" if "drawn_as" in facts else "")
    along = facts.get("along")
    if "combinations" in facts:
        pairs = [f"{num(a)} with {num(b)}: {n}" for a, b, n in facts["combinations"]]
        return [*parts, "both axes are categories: " + some(pairs, items)]
    if "value" not in facts:
        return [*parts, "nothing that could be drawn"]
    place = "x" if along == "y" else "y"
    parts.append(f"{place} from {num(facts['place']['min'])} to {num(facts['place']['max'])}")
    parts.append(f"{along} {spread(facts['value'], place)}")
    if "first" in facts:
        parts.append(f"first {num(facts['first'])}, last {num(facts['last'])}")
    if "direction" in facts:
        parts.append(_DIRECTIONS[facts["direction"]])
    for group in facts.get("groups", ())[:items]:
        parts.append(f"at {num(group['at'])}: {count({'n': group['n']}, 'points')}, {spread(group, '')}")
    parts += [_straight(facts, axes, place), _outliers(facts)]
    for name in ("x", "y"):
        error = facts.get(f"{name}_error")
        if error and error["n"]:
            parts.append(f"{name} error bars {num(error['shortest'])} to {num(error['longest'])} long from end to end")
    if "colours" in facts:
        parts.append("colour " + colours(facts["colours"]))
    if "sizes" in facts:
        parts.append("marker sizes differ")
    if "points" in facts and len(facts["points"]) <= items:
        parts.append("all: " + " ".join(f"({num(a)}, {num(b)})" for a, b in facts["points"]))
    return parts


_DIRECTIONS = {
    "constant": "constant",
    "rising": "rises at every step",
    "falling": "falls at every step",
    "never falling": "never falls",
    "never rising": "never rises",
    "mixed": "rises and falls (not monotone)",
}


def _steps(facts: Facts) -> str:
    return f"steps ({facts['steps']})" if "steps" in facts else ""


def _straight(facts: Facts, axes: Axes, place: str) -> str:
    r, slope = facts.get("r"), facts.get("slope")
    if r is None or slope is None:
        return ""
    unit = axes[place].unit if place in axes else ""
    is_log = any(axes[name].scale not in ("linear", "date") for name in ("x", "y") if name in axes)
    of = " of the values themselves, not of their logs" if is_log else ""
    return f"correlation r {num(round(r, 6))}, straight-line fit {num(slope)} per {unit or place}{of}"


def _outliers(facts: Facts) -> str:
    n = facts.get("outliers")
    return f"outliers beyond 1.5 IQR: {n}" if n else ""


def _bars(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [f"{facts['orientation']}, {count(facts, 'bars')}"]
    if "top" not in facts:
        return [*parts, "nothing that could be drawn"]
    if facts.get("layers"):
        parts.append(f"of {facts['layers']} layers")
    is_listed = "values" in facts and len(facts["values"]) <= items
    if is_listed:
        parts.append("all: " + ", ".join(f"{num(a)} {num(v)}" for a, v in facts["values"]))
    again = f" ({facts['top_times']} are as high)" if facts["top_times"] > 1 else ""
    parts.append("highest " + ", ".join(f"{num(a)} {num(v)}" for a, v in facts["top"][: 1 if is_listed else 3]) + again)
    again = f" (first of {facts['lowest_times']})" if facts["lowest_times"] > 1 else ""
    parts.append(f"lowest {num(facts['lowest'][0])} {num(facts['lowest'][1])}{again}")
    parts.append(f"sum {num(facts['sum'])}, mean {num(facts['mean'])}")
    if facts.get("base") is None:
        parts.append("a layer of a stack" if facts.get("stacked") else "bars that do not start at one base")
    elif facts["base"] != 0:
        parts.append(f"bars start at {num(facts['base'])}")
    return [*parts, "with error bars" if facts.get("error_bars") else ""]


def _waterfall(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [f"{facts['orientation']}, {count(facts, 'bars')}"]
    parts[0] += f": {facts['rises']} rise, {facts['falls']} fall, {facts['totals']} totals"
    if not facts["n"]:
        return [*parts, "nothing that could be drawn"]
    if len(facts.get("bars", ())) in range(1, items + 1):
        parts.append("in order: " + ", ".join(map(_step, facts["bars"])))
    for name in ("largest_rise", "largest_fall"):
        if name in facts:
            parts.append(f"{name.replace('_', ' ')} {num(facts[name][0])} {num(facts[name][1])}")
    if "level" in facts:
        level = {k: v for k, v in facts["level"].items() if k not in ("mean", "median")}
        parts.append(f"level {spread(level, 'bar')}, ends at {num(facts['ends_at'])}")
    return [*parts, f"levels count from {num(facts['base'])}" if facts["base"] else ""]


def _step(row: Sequence[Any]) -> str:
    """`row`: place, what the bar is, its number, the level after it."""
    place, kind, number, level = row
    if kind == "change":
        return f"{num(place)} " + ("missing" if number is None else f"{num(number)} to {num(level)}")
    return f"total {num(place)} {num(number)}" if kind == "total" else f"{num(place)} {kind} {num(number)}"


def _density(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [*_points(facts, axes, items), f"z {spread(facts['z'], '')}" if facts.get("z") else ""]
    return [*parts, *(f"{name} bins {told}" for name, told in facts["bins"].items()), facts["said"]]


def _histogram(facts: Facts, axes: Axes, items: int) -> list[str]:
    peak = facts["peak"]
    again = f" (first of {facts['peak_times']})" if facts["peak_times"] > 1 else ""
    parts = [
        f"{facts['orientation']}, {facts['bins']} bins from {num(facts['from'])} to {num(facts['to'])}",
        f"heights add up to {num(facts['sum'])}",
        f"highest bin {num(peak[0])} to {num(peak[1])} with {num(peak[2])}{again}",
        f"empty bins: {facts['empty_bins']}" if facts["empty_bins"] else "",
    ]
    if abs(facts["area"] - 1) < 1e-6:
        parts.append("the area is 1 (a density)")
    if "counts" in facts and len(facts["counts"]) <= items:
        parts.append("heights in order: " + ", ".join(num(v) for v in facts["counts"]))
    return [*parts, "a layer of a stack" if facts.get("stacked") else ""]


def _area(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [count(facts, "points"), _steps(facts)]
    if "lower" not in facts:
        return [*parts, "nothing that could be drawn"]
    value = facts["along"]
    place = "x" if value == "y" else "y"
    lower, upper, width = facts["lower"], facts["upper"], facts["width"]
    parts.append(f"{place} from {num(facts['place']['min'])} to {num(facts['place']['max'])}")
    if lower["min"] == lower["max"]:
        return [*parts, f"between {num(lower['min'])} and a curve, {value} {spread(upper, place)}"]
    parts.append(f"lower edge {value} {spread(lower, place)}")
    parts.append(f"upper edge {value} {spread(upper, place)}")
    return [*parts, f"width {spread(width, place)}"]


def _grid(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [f"{facts['rows']} rows × {facts['columns']} columns" if "rows" in facts else count(facts, "cells")]
    if facts.get("missing") and "rows" in facts:
        parts.append(f"{facts['missing']} cells are missing")
    if "read" in facts:
        parts.append(f"too many to read all: what follows is from {facts['read']} evenly spaced ones")
    if facts.get("sum") is not None:
        parts.append(f"sum {num(facts['sum'])}")
    if "value" in facts:
        parts.append("values " + spread(facts["value"], "(x, y)"))
    if "values" in facts and facts["rows"] * facts["columns"] <= 2 * items:
        parts.append("rows: " + " | ".join(", ".join(num(v) for v in row) for row in facts["values"]))
    if "colour_map" in facts:
        parts.append("colour " + colours({**facts, "value": None}))
    return parts


def _picture(facts: Facts, axes: Axes, items: int) -> list[str]:
    return [f"{facts['rows']} × {facts['columns']} pixels, {facts['picture']}: no values to read"]


def _contours(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = ["filled" if facts["filled"] else "lines", f"{facts['n']} levels: "]
    parts[-1] += some([num(v) for v in facts["levels"]], items)
    if "value" in facts:
        parts.append(f"values from {num(facts['value']['min'])} to {num(facts['value']['max'])}")
    return [*parts, "colour " + colours({**facts, "value": None})]


def _boxes(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [f"{facts['orientation']}, {facts['n']} box{'' if facts['n'] == 1 else 'es'}"]
    for box in facts["boxes"][:items]:
        text = f"{num(box['at'])}{_hue(box)}: median {num(box['median'])}, quartiles {num(box['q1'])} and {num(box['q3'])}, "
        text += f"whiskers {num(box['whisker_low'])} to {num(box['whisker_high'])}"
        text += f", mean {num(box['mean'])}" if "mean" in box else ""
        if box["outliers"]:
            text += f", points beyond them: {box['outliers']} ({num(box['outlier_min'])} to {num(box['outlier_max'])})"
        parts.append(text)
    return parts + ([f"… {facts['n'] - items} more"] if facts["n"] > items else [])


def _hue(row: Facts) -> str:
    return f' of "{row["name"]}"' if row.get("name") else ""


def _violins(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [f"{facts['orientation']}, {count({'n': facts['n']}, 'violins')}"]
    for row in facts["violins"][:items]:
        text = f"{num(row['at'])}{_hue(row)}: drawn from {num(row['from'])} to {num(row['to'])}, widest at {num(row['widest_at'])}"
        text += f", marks at {some([num(v) for v in row['marks']], 6)}" if row["marks"] else ""
        for line in row.get("inner", ())[:4]:
            text += f", inner mark {' to '.join(num(v) for v in line)}"
        parts.append(text)
    return parts + ([f"… {facts['n'] - items} more"] if facts["n"] > items else [])


def _pie(facts: Facts, axes: Axes, items: int) -> list[str]:
    def told(row: Facts, i: int) -> str:
        name = num(row["name"]) if row["name"] and not row["name"][0].isdigit() else f'"{row["name"] or i}"'
        value = f" ({num(row['value'])})" if "value" in row else ""
        return f"{name} {num(round(100 * row['share'], 4))}%{value}"

    rows = sorted(enumerate(facts["slices"], 1), key=lambda pair: -pair[1]["share"])
    parts = [count(facts, "slices"), "largest first: " + some([told(row, i) for i, row in rows], items)]
    return [*parts, "" if abs(facts["whole"] - 1) < 1e-6 else f"together {num(100 * facts['whole'])}% of a circle"]


def _sample(facts: Facts, axes: Axes, items: int) -> list[str]:
    """Raw values that the library bins or summarizes when it draws."""
    parts = [count(facts, "values")]
    if "value" in facts:
        parts.append(f"{spread(facts['value'], '')}, quartiles {num(facts['q1'])} and {num(facts['q3'])}")
        parts.append(_outliers(facts))
    for group in facts.get("groups", ())[:items]:
        ends = f"quartiles {num(group['q1'])} and {num(group['q3'])}"
        parts.append(f"at {num(group['at'])}: {count({'n': group['n']}, 'values')}, {spread(group, '')}, {ends}")
    return [*parts, str(facts.get("said", ""))]


def _reference(facts: Facts, axes: Axes, items: int) -> list[str]:
    if "through" in facts:
        x, y = facts["through"]
        return [f"through x {num(x)}, y {num(y)}", f"slope {num(facts['slope'])}"]
    if "from" in facts:
        return [f"{facts['axis']} from {num(facts['from'])} to {num(facts['to'])}"]
    at = facts.get("at")
    if isinstance(at, list):
        return [f"{facts['n']} at {facts['axis']} " + some([num(v) for v in at], items)]
    return [f"at {facts['axis']} {num(at)}" if at is not None else f"{facts['n']} of them"]


def _broken_bars(facts: Facts, axes: Axes, items: int) -> list[str]:
    row = f'in the row "{facts["at"]}" (y ' if "at" in facts else "in one row (y "
    again = f" (first of {facts['longest_times']})" if facts["longest_times"] > 1 else ""
    unit = f" in {facts['unit']}s" if facts["unit"] else ""
    spans = [f"{num(start)} to {num(end)}" for start, end in facts["spans"]]
    parts = [f"{count(facts, 'bars')}, {row}{num(facts['row'][0])} to {num(facts['row'][1])})"]
    parts.append(f"x from {num(facts['from'])} to {num(facts['to'])}")
    parts.append("longest " + " to ".join(map(num, facts["longest"])) + again)
    parts.append(f"lengths{unit} add up to {num(facts['sum'])}")
    return [*parts, "all: " + ", ".join(spans) if len(spans) <= items else ""]


def _space(facts: Facts, axes: Axes, items: int) -> list[str]:
    parts = [count(facts, "points") if "n" in facts else f"{facts['faces']} faces" if facts.get("faces") else ""]
    return parts + [f"{name} {spread(facts[name], '')}" for name in "xyz" if name in facts]


def _plain(facts: Facts, axes: Axes, items: int) -> list[str]:
    """Facts of a kind that has no sentence of its own."""
    return [
        f"{name.replace('_', ' ')} {_value(value, items)}"
        for name, value in facts.items()
        if value not in (None, "", [])
    ]


def _value(value: Any, items: int) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(v, items)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return some([_value(v, items) for v in value], items)
    return str(value).lower() if isinstance(value, bool) else num(value)


_PHRASES: dict[str, Callable[[Facts, Axes, int], list[str]]] = {
    **dict.fromkeys(("line", "points", "step line", "scatter", "stems"), _points),
    **dict.fromkeys(("bars", "funnel", "stack totals"), _bars),
    **dict.fromkeys(("heatmap", "hexagons", "cells"), _grid),
    **dict.fromkeys(("reference line", "reference lines", "span", "line segments"), _reference),
    **dict.fromkeys(("3D line", "3D points", "surface"), _space),
    **dict.fromkeys(("values of a histogram", "values of boxes", "values of violins", "values"), _sample),
    **PHRASES,
    "waterfall": _waterfall,
    "values of a density heatmap": _density,
    "histogram": _histogram,
    "area": _area,
    "picture": _picture,
    "contours": _contours,
    "box plot": _boxes,
    "violin plot": _violins,
    "broken bars": _broken_bars,
    "pie": _pie,
}
