"""Figures and saved outputs of plotly."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import plotly.express
import plotly.graph_objects as go

from .case import Truth, case, first, frame, series


@case
def plotly_lines() -> Truth:
    drawn = go.Figure(
        [go.Scatter(x=["2024-01-01", "2024-01-03"], y=[2, 6], name="a"), go.Scatter(x=["2024-01-02"], y=[9], name="b")]
    )
    drawn.update_layout(title="Trip", xaxis_title="day", yaxis_title="km")
    facts = series(0, kind="line", name="a", value_max_at="2024-01-03", direction="rising") | series(1, name="b", n=1)
    facts |= {
        "title": "Trip",
        "panels/0/axes/x/kind": "date",
        "panels/0/axes/y/label": "km",
        "panels/0/legend": ["a", "b"],
    }
    return Truth(drawn, facts)


@case
def plotly_saved_output_with_binary_arrays() -> Truth:
    values = np.array([[0.5, -1.5, 3.25], [8.0, 2.0, 4.0]])
    drawn = go.Figure(go.Heatmap(z=values, x=["a", "b", "c"], y=["r", "s"], colorbar_title="mV"))
    spec = json.loads(drawn.to_json())
    assert "bdata" in spec["data"][0]["z"]
    output = {"output_type": "display_data", "data": {"application/vnd.plotly.v1+json": spec, "text/html": "<div/>"}}
    facts = first(
        kind="heatmap",
        value_max=8,
        value_max_at=["a", "s"],
        value_min=-1.5,
        value_mean=values.mean(),
        colour_label="mV",
    )
    return Truth(output, facts | {"source": "plotly"})


@case
def plotly_stacked_bars_on_log() -> Truth:
    drawn = go.Figure([go.Bar(x=["u", "v"], y=[1, 20], name="p"), go.Bar(x=["u", "v"], y=[300, 4], name="q")])
    drawn.update_layout(barmode="stack", yaxis_type="log", yaxis_range=[0, 3])
    facts = series(2, kind="stack totals", top=[["u", 301], ["v", 24]]) | {"panels/0/axes/y/limits": [1, 1000]}
    return Truth(drawn, facts, {"scale", "bars on log axis"})


@case
def plotly_two_axes_and_pie() -> Truth:
    drawn = go.Figure(
        [
            go.Bar(x=[1, 2], y=[5, 6]),
            go.Scatter(x=[1, 2], y=[0.1, 0.2], yaxis="y2"),
            go.Pie(labels=["a", "b", "a"], values=[1, 2, 1]),
        ]
    )
    drawn.update_layout(yaxis_range=[4, 7], yaxis2={"overlaying": "y", "side": "right", "title": {"text": "ratio"}})
    facts = {"panels/1/twin_of": 1, "panels/1/axes/y/label": "ratio", "panels/2/series/0/slices/0/share": 0.5}
    return Truth(drawn, facts | {"panels/2/series/0/slices/0/value": 2}, {"dual axes", "truncated axis"})


@case
def plotly_raw_samples() -> Truth:
    data = frame()
    drawn = go.Figure(go.Box(x=data["kind"], y=data["size"]))
    held = data[data.kind == "cedar"]["size"]
    facts = {"panels/0/series/0/groups/2/median": held.median(), "panels/0/series/0/groups/2/at": "cedar"}
    return Truth(drawn, facts | first(kind="values of boxes", n=60, value_max=data["size"].max()))


@case
def plotly_timeline() -> Truth:
    table = pd.DataFrame(
        {"from": ["2024-01-01", "2024-03-01"], "to": ["2024-02-01", "2024-03-02"], "task": ["plan", "do"]}
    )
    drawn = plotly.express.timeline(table, x_start="from", x_end="to", y="task")
    spans = [["plan", "2024-01-01", "2024-02-01"], ["do", "2024-03-01", "2024-03-02"]]
    return Truth(drawn, first(kind="time spans", spans=spans))


@case
def plotly_stacked_areas() -> Truth:
    drawn = go.Figure([go.Scatter(x=[1, 2], y=[v, 2], stackgroup="one", name=str(v)) for v in (1, 5)])
    notes = {"panels/0/notes": ["areas are stacked: the values of each series are its own heights"]}
    return Truth(drawn, series(1, name="5", first=5, direction="falling") | notes)


@case
def plotly_funnel() -> Truth:
    drawn = go.Figure(go.Funnel(y=["seen", "bought"], x=[120, 30]))
    return Truth(drawn, first(kind="funnel", orientation="horizontal", top=[["seen", 120], ["bought", 30]]))


@case
def plotly_indicator() -> Truth:
    gauge = {"axis": {"range": [0, 90]}}
    drawn = go.Figure(go.Indicator(mode="gauge+number", value=42, title={"text": "speed"}, gauge=gauge))
    return Truth(drawn, first(kind="indicator", value=42, gauge=[0, 90], title="speed"))


@case
def plotly_radar() -> Truth:
    drawn = go.Figure(go.Scatterpolar(r=[1, 5, 3], theta=["cost", "speed", "size"]))
    return Truth(drawn, first(kind="points on a polar plot") | {"panels/0/series/0/r/max": 5}, says=('"speed", 5',))


@case
def plotly_sankey() -> Truth:
    link = {"source": [0, 0], "target": [1, 2], "value": np.array([3, 4])}
    drawn = go.Figure(go.Sankey(node={"label": ["in", "used", "lost"]}, link=link))
    return Truth(drawn, first(kind="sankey", flows=[["in", "used", 3], ["in", "lost", 4]]))


@case
def plotly_waterfall() -> Truth:
    steps = {"measure": ["absolute", "relative", "relative", "total", "relative"], "y": [100, 60, -40, None, None]}
    drawn = go.Figure(go.Waterfall(x=["start", "sold", "costs", "sum", "lost"], **steps))
    drawn.update_layout(yaxis_range=[50, 170])
    facts = first(kind="waterfall", orientation="vertical", n=5, missing=1, rises=1, falls=1, totals=2, ends_at=120)
    facts |= first(largest_rise=["sold", 60], largest_fall=["costs", -40])
    facts |= {"panels/0/series/0/level/max": 160, "panels/0/series/0/level/max_at": "sold"}
    says = ('"start" is set to 100, "sold" 60 to 160, "costs" -40 to 120, total "sum" 120', "ends at 120")
    return Truth(drawn, facts, {"truncated axis"}, says)


@case
def plotly_horizontal_waterfall_from_a_base() -> Truth:
    drawn = go.Figure(go.Waterfall(y=["2024-01-01", "2024-02-01"], x=[-5, -2], base=1, orientation="h"))
    facts = first(orientation="horizontal", base=1, ends_at=-7, largest_rise=KeyError, falls=2)
    return Truth(
        drawn, facts | first(largest_fall=["2024-01-01", -5]), says=("2024-02-01 -2 to -7", "levels count from 1")
    )


@case
def plotly_table() -> Truth:
    header = ["city", "<b>people", "since", "password"]
    cells = [["Rome", "Oslo", "Rome"], np.array([3.0, 1.0, np.nan]), ["2024-01-03", "2024-01-01", None], ["a", "b", 3]]
    drawn = go.Figure(go.Table(header={"values": header}, cells={"values": cells}))
    facts = first(kind="table", rows=3, n=4)
    columns = "panels/0/series/0/columns"
    facts |= {f"{columns}/0/counts": [["Rome", 2], ["Oslo", 1]], f"{columns}/0/different": 2}
    facts |= {f"{columns}/1/value/max": 3, f"{columns}/1/value/mean": 2, f"{columns}/1/missing": 1}
    facts |= {f"{columns}/2/value/min": "2024-01-01", f"{columns}/3/hidden": True, f"{columns}/3/counts": KeyError}
    facts |= {"panels/0/series/0/cells/0": ["Rome", 3, "2024-01-03", "‹hidden›"]}
    return Truth(drawn, facts, says=("4 columns of 3 rows", '"Rome" 2, "Oslo" 1', '"password": hidden'))


@case
def plotly_parallel_coordinates() -> Truth:
    a, b, c = [1, 2, 3, 4], [10.0, 30.0, 20.0, 40.0], [0, 1, 0, 0]
    dimensions = [
        {"label": "size", "values": a, "constraintrange": [2, 3], "range": [0, 5]},
        {"label": "price", "values": b},
        {"label": "kind", "values": c, "tickvals": [0, 1], "ticktext": ["ash", "birch"]},
        {"label": "unseen", "values": [1], "visible": False},
    ]
    drawn = go.Figure(go.Parcoords(line={"color": b, "colorscale": "Viridis"}, dimensions=dimensions))
    facts = first(kind="parallel coordinates", n=4) | {"panels/0/series/0/columns": 3}
    facts |= {
        "panels/0/series/0/columns/0/value/max": 4,
        "panels/0/series/0/columns/0/r_to_next": np.corrcoef(a, b)[0, 1],
    }
    facts |= {"panels/0/series/0/columns/0/chosen": [[2, 3]], "panels/0/series/0/columns/0/inside": 2}
    facts |= {"panels/0/series/0/columns/0/shown": [0, 5], "panels/0/series/0/columns/1/r_to_next": KeyError}
    facts |= {"panels/0/series/0/columns/2/counts": [["ash", 3], ["birch", 1]]}
    facts |= {"panels/0/series/0/colours/value/max": 40}
    return Truth(drawn, facts, says=("4 lines over 3 axes", "selected from 2 to 3 (2 of the values)", "with the next"))


@case
def plotly_scatter_matrix() -> Truth:
    drawn = plotly.express.scatter_matrix(frame(), dimensions=["size", "age"])
    r = np.corrcoef(frame()["size"], frame()["age"])[0, 1]
    facts = first(kind="scatter matrix", n=60) | {"panels/0/series/0/columns/0/r_to_next": r}
    return Truth(drawn, facts | {"panels/0/series/0/columns/1/value/max": 59}, says=("60 points over 2 axes",))


@case
def plotly_density_of_numbers() -> Truth:
    drawn = go.Figure(
        go.Histogram2d(x=[1, 2, 3, None], y=[4, 9, 5, 6], nbinsx=8, ybins={"start": 0, "end": 10, "size": 5})
    )
    facts = first(kind="values of a density heatmap", n=4, missing=1, value_max=9, value_max_at=2, place_max=3)
    facts |= {"panels/0/series/0/bins/x": "at most 8", "panels/0/series/0/bins/y": "of 5 from 0 to 10"}
    return Truth(drawn, facts, says=("x bins at most 8", "counted", "in bins that the browser computes"))


@case
def plotly_density_of_categories() -> Truth:
    drawn = plotly.express.density_heatmap(pd.DataFrame({"a": list("uuvu"), "b": list("ppqq")}), x="a", y="b")
    facts = first(kind="heatmap", rows=2, columns=2, sum=4, value_max=2, value_max_at=["u", "p"])
    return Truth(drawn, facts | first(values=[[2, 0], [1, 1]], drawn_as="histogram2d"))


@case
def plotly_density_contours_of_means_over_dates() -> Truth:
    given = {"x": ["2024-01-01", "2024-01-02", "2024-01-09"], "y": ["a", "b", "a"], "z": [5, 1, 3], "histfunc": "avg"}
    drawn = go.Figure(go.Histogram2dContour(**given, histnorm="percent"))
    facts = first(kind="values of a density heatmap", drawn_as="histogram2dcontour", n=3)
    facts |= {"panels/0/series/0/groups/0/at": "a", "panels/0/series/0/groups/0/max": "2024-01-09"}
    facts |= {"panels/0/series/0/z/max": 5, "panels/0/series/0/z/min": 1}
    return Truth(drawn, facts, says=("the avg of z", "as percent", "max 2024-01-09"))
