"""Boxes, violins, samples and reference lines in words, and a plain list for every kind without a phrase of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..facts.base import Sample, SeriesFacts
from ..facts.boxes import Box, Boxes, Violin, Violins
from ..facts.points import LineSegments, ReferenceLine, ReferenceLines, SlopedLine, Span
from .point_phrases import outliers
from .terms import count, join_some, num, spread


def write_boxes(facts: Boxes, items: int) -> list[str]:
    parts = [f"{facts.orientation}, {facts.n} box{'' if facts.n == 1 else 'es'}"]
    return parts + [_box(box) for box in facts.boxes[:items]] + _more(facts.n - items)


def _box(box: Box) -> str:
    text = f"{num(box.at)}{_hue(box.name)}: median {num(box.median)}, quartiles {num(box.q1)} and {num(box.q3)}"
    text += f", whiskers {num(box.whisker_low)} to {num(box.whisker_high)}"
    text += f", mean {num(box.mean)}" if box.mean is not None else ""
    if box.outliers:
        text += f", points beyond them: {box.outliers} ({num(box.outlier_min)} to {num(box.outlier_max)})"
    return text


def _hue(name: str) -> str:
    return f' of "{name}"' if name else ""


def _more(n: int) -> list[str]:
    return [f"… {n} more"] if n > 0 else []


def write_violins(facts: Violins, items: int) -> list[str]:
    parts = [f"{facts.orientation}, {count(facts.n, 'violins')}"]
    return parts + [_violin(violin) for violin in facts.violins[:items]] + _more(facts.n - items)


def _violin(violin: Violin) -> str:
    text = f"{num(violin.at)}{_hue(violin.name)}: drawn from {num(violin.from_)} to {num(violin.to)}"
    text += f", widest at {num(violin.widest_at)}"
    text += f", marks at {join_some([num(v) for v in violin.marks], 6)}" if violin.marks else ""
    return text + "".join(f", inner mark {' to '.join(map(num, line))}" for line in violin.inner[:4])


def write_sample(facts: Sample, items: int) -> list[str]:
    parts = [count(facts.n, "values", facts.missing, facts.read)]
    if facts.quartiles is not None:
        own = facts.quartiles
        parts.append(f"{spread(own.value)}, quartiles {num(own.q1)} and {num(own.q3)}")
        parts.append(outliers(own.outliers))
    for group in facts.groups[:items]:
        ends = f"quartiles {num(group.q1)} and {num(group.q3)}"
        parts.append(f"at {num(group.at)}: {count(group.n, 'values')}, {spread(group.spread)}, {ends}")
    return [*parts, facts.note]


def write_reference(facts: SeriesFacts, items: int) -> list[str]:
    """Describe reference lines and spans; [] for other facts."""
    match facts:
        case ReferenceLine():
            return [f"at {facts.axis} {num(facts.at)}"]
        case ReferenceLines():
            return [f"{facts.n} at {facts.axis} " + join_some([num(v) for v in facts.at], items)]
        case SlopedLine(through=(x, y), slope=slope):
            return [f"through x {num(x)}, y {num(y)}", f"slope {num(slope)}"]
        case Span():
            return [f"{facts.axis} from {num(facts.from_)} to {num(facts.to)}"]
        case LineSegments():
            return [f"{facts.n} of them"]
    return []


def list_fields(facts: SeriesFacts, items: int) -> list[str]:
    """List names and values of the facts."""
    return [
        f"{name.replace('_', ' ')} {_value(value, items)}"
        for name, value in facts.to_dict().items()
        if value not in (None, "", [])
    ]


def _value(value: Any, items: int) -> str:  # Any: what to_dict() returns
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(v, items)}" for k, v in value.items())
    if isinstance(value, list):
        return join_some([_value(v, items) for v in value], items)
    return str(value).lower() if isinstance(value, bool) else num(value)
