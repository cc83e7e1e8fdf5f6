"""Plots of bokeh."""

from __future__ import annotations

import pandas as pd
from bokeh.models import Range1d
from bokeh.plotting import figure as bokeh_figure

from .case import Truth, case, first


@case
def bokeh_line_and_bars() -> Truth:
    drawn = bokeh_figure(title="Flow", x_axis_label="t (h)", y_axis_type="log")
    drawn.line([1, 2, 3], [10, 100, 50], legend_label="flow")
    facts = first(kind="line", name="flow", value_max=100, value_max_at=2) | {
        "panels/0/axes/x/label": "t (h)",
        "panels/0/title": "Flow",
    }
    return Truth(drawn, facts, {"scale"})


@case
def bokeh_truncated_bars() -> Truth:
    drawn = bokeh_figure(x_range=["a", "b"], y_range=Range1d(2, 9))
    drawn.vbar(x=["a", "b"], top=[3, 8], width=0.8)
    return Truth(drawn, first(kind="bars", top=[["b", 8], ["a", 3]]), {"truncated axis"})


@case
def bokeh_dates() -> Truth:
    drawn = bokeh_figure(x_axis_type="datetime")
    drawn.line(pd.Series(pd.date_range("2024-01-30", periods=3)), pd.Series([1.0, 9, 3]))
    return Truth(drawn, first(kind="line", value_max=9, value_max_at="2024-01-31"))
