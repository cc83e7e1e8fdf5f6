"""Charts of altair and Vega-Lite specifications."""

from __future__ import annotations

import altair
import numpy as np
import pandas as pd

from .case import Truth, case, first, frame, series


@case
def altair_means() -> Truth:
    data = frame()
    drawn = (
        altair.Chart(data, title="Trees")
        .mark_bar()
        .encode(x="kind:N", y=altair.Y("mean(size):Q", title="mean size (cm)"))
    )
    means = data.groupby("kind")["size"].mean()
    facts = first(kind="bars", values=[[k, means[k]] for k in means.index]) | {
        "panels/0/axes/y/label": "mean size (cm)"
    }
    return Truth(drawn, facts | {"panels/0/axes/x/categories": ["ash", "birch", "cedar"], "title": "Trees"})


@case
def altair_lines_by_colour() -> Truth:
    table = pd.DataFrame({"d": pd.date_range("2024-01-01", periods=4), "v": [1, 5, 3, 2], "g": ["a", "b", "a", "b"]})
    drawn = altair.Chart(table).mark_line().encode(x="d:T", y="v:Q", color="g:N")
    facts = series(0, name="a", direction="rising", value_max_at="2024-01-03") | series(1, name="b", first=5, last=2)
    return Truth(drawn, facts)


@case
def altair_saved_output() -> Truth:
    drawn = (
        altair.Chart(frame()).mark_point().encode(x=altair.X("age:Q", scale=altair.Scale(domain=[0, 29.5])), y="size:Q")
    )
    output = {
        "data": {"application/vnd.vegalite.v6+json": drawn.to_dict()},
        "output_type": "execute_result",
        "metadata": {},
    }
    r = np.corrcoef(frame()["age"], frame()["size"])[0, 1]
    return Truth(output, first(kind="scatter", n=60, r=r, outside=30) | {"source": "Vega-Lite"}, {"cropped"})


@case
def altair_layers_and_truncated_stack() -> Truth:
    table = pd.DataFrame({"k": ["x", "x", "y"], "g": ["p", "q", "p"], "v": [1, 2, 4]})
    base = altair.Chart(table)
    bars = base.mark_bar().encode(x="k:N", y=altair.Y("v:Q", scale=altair.Scale(domain=[1, 5])), color="g:N")
    drawn = bars + altair.Chart(pd.DataFrame({"at": [3]})).mark_rule().encode(y="at:Q")
    facts = (
        series(0, name="p", sum=5)
        | series(2, kind="stack totals", top=[["y", 4], ["x", 3]])
        | series(3, at=[3], axis="y")
    )
    return Truth(drawn, facts, {"truncated axis"})


@case
def vega_lite_filtered_in_the_browser() -> Truth:
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": [{"a": 1, "b": 2}, {"a": 2, "b": None}, {"a": 3, "b": 4}]},
        "transform": [{"filter": "datum.a > 1"}],
        "mark": "point",
        "encoding": {"x": {"field": "a", "type": "quantitative"}, "y": {"field": "b", "type": "quantitative"}},
    }
    return Truth(
        spec, series(1, kind="values", n=3, missing=1, value_max=4), says=("the chart transforms it first (filter)",)
    )


@case
def vega_lite_without_its_data() -> Truth:
    spec = {"data": {"url": "data/cars.json"}, "mark": "bar", "encoding": {"x": {"field": "a", "type": "nominal"}}}
    return Truth(spec, {"panels/0/series/0/kind": "bar mark"}, says=("never downloaded",), unread=1)


@case
def altair_points_and_their_mean() -> Truth:
    base = altair.Chart(frame())
    drawn = base.mark_point().encode(x="age:Q", y="size:Q") + base.mark_rule().encode(y="mean(size):Q")
    return Truth(drawn, series(1, kind="reference lines", at=[frame()["size"].mean()], axis="y"))


@case
def altair_facets() -> Truth:
    drawn = altair.Chart(frame()).mark_point().encode(x="age:Q", y="size:Q", column="kind:N")
    notes = ['drawn as a small plot for each part of the data: column by "kind"']
    return Truth(drawn, {"panels/0/series": 3, "panels/0/notes": notes} | first(name="ash", n=20))


@case
def altair_cells() -> Truth:
    table = pd.DataFrame({"a": list("xxyy"), "b": list("uvuv"), "v": [1.0, 2, 9, 4]})
    drawn = altair.Chart(table).mark_rect().encode(x="a:N", y="b:N", color="v:Q")
    return Truth(drawn, first(kind="cells", n=4, value_max=9, value_max_at=["y", "u"], colour_label="v"))
