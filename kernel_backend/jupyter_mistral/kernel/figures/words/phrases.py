"""Puts the facts of one series into words. States nothing that is not in the facts."""

from __future__ import annotations

from collections.abc import Mapping

from ..facts import bars, boxes, fields, points, tables
from ..facts.base import Sample, SeriesFacts
from ..model import Axis, Series
from . import bar_phrases, field_phrases, other_phrases, point_phrases, rare_phrases, table_phrases


def phrase(series: Series, axes: Mapping[str, Axis], items: int) -> str:
    """Return the facts of a series in words. items: how many entries of a list are written out."""
    facts = series.facts
    if isinstance(facts, points.Points | points.Density):
        parts = point_phrases.write_points(facts, axes, items)
    elif isinstance(facts, tables.Table | tables.Dimensions):
        parts = table_phrases.write_columns(facts, series.kind, items)
    else:
        parts = _write(facts, items)
    return "; ".join(part for part in parts if part)


def _write(facts: SeriesFacts, items: int) -> list[str]:
    match facts:
        case bars.Bars():
            return bar_phrases.write_bars(facts, items)
        case bars.Histogram():
            return bar_phrases.write_histogram(facts, items)
        case bars.Waterfall():
            return bar_phrases.write_waterfall(facts, items)
        case bars.BrokenBars():
            return bar_phrases.write_broken_bars(facts, items)
        case bars.Pie():
            return bar_phrases.write_pie(facts, items)
        case points.Area():
            return point_phrases.write_area(facts)
        case points.Points3D() | points.Surface():
            return point_phrases.write_space(facts)
        case fields.Grid():
            return field_phrases.write_grid(facts, items)
        case fields.Cells():
            return field_phrases.write_cells(facts)
        case fields.Picture():
            return field_phrases.write_picture(facts)
        case fields.Contours():
            return field_phrases.write_contours(facts, items)
        case boxes.Boxes():
            return other_phrases.write_boxes(facts, items)
        case boxes.Violins():
            return other_phrases.write_violins(facts, items)
        case Sample():
            return other_phrases.write_sample(facts, items)
    written = other_phrases.write_reference(facts, items) or rare_phrases.write_rare(facts, items)
    return written or other_phrases.list_fields(facts, items)
