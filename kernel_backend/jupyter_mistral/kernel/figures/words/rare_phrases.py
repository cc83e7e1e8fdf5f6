"""Rare kinds of series in words: prices, maps, flows, time spans, named values, arrows."""

from __future__ import annotations

from ..facts.bars import Bar, NamedValues, TimeSpans
from ..facts.base import SeriesFacts
from ..facts.fields import Arrows
from ..facts.others import Candles, Flows, MapPoints, Price
from .other_phrases import write_sample
from .point_phrases import NOTHING
from .terms import count, join_some, num, spread


def write_rare(facts: SeriesFacts, items: int) -> list[str]:
    """Describe the facts of a rare kind; [] for other facts."""
    match facts:
        case NamedValues():
            return _named_values(facts, items)
        case TimeSpans():
            spans = [f"{num(s.at)} {num(s.start)} to {num(s.end)}" for s in facts.spans]
            return [count(facts.n, "bars", facts.missing), join_some(spans, items)]
        case Flows():
            flows = [f"{num(flow.source)} to {num(flow.target)} {num(flow.value)}" for flow in facts.flows]
            return [count(facts.n, "flows"), join_some(flows, items)]
        case Arrows():
            length = f"length {spread(facts.length)}" if facts.length is not None else ""
            return [count(facts.n, "arrows", facts.missing), length]
        case Candles():
            prices = (("open", facts.open), ("high", facts.high), ("low", facts.low), ("close", facts.close))
            return [count(facts.n, "periods"), *(_price(name, price) for name, price in prices if price is not None)]
        case MapPoints():
            samples = (("latitude", facts.lat), ("longitude", facts.lon))
            return [
                f"{name}: {', '.join(filter(None, write_sample(s, items)))}" for name, s in samples if s is not None
            ]
    return []


def _named_values(facts: NamedValues, items: int) -> list[str]:
    parts = [count(facts.n, "values", facts.missing)]
    if facts.lowest is None:
        return [*parts, NOTHING]
    if 0 < len(facts.values) <= items:
        parts.append("all: " + ", ".join(map(_bar, facts.values)))
    return [*parts, "highest " + ", ".join(map(_bar, facts.top)), f"lowest {_bar(facts.lowest)}"]


def _bar(bar: Bar) -> str:
    return f"{num(bar.at)} {num(bar.length)}"


def _price(name: str, price: Price) -> str:
    text = f"{name} {spread(price.spread, 'x')}"
    text += f", first {num(price.first)}, last {num(price.last)}" if price.first is not None else ""
    return text + (f", {price.missing} missing" if price.missing else "")
