"""Figures of every kind with known truth: each case builds a figure and says what must be read from it.

The truth is written down as literals or worked out here from the data by numpy, never by the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import altair
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.express
import plotly.graph_objects as go
import seaborn as sns
from bokeh.models import Range1d
from bokeh.plotting import figure as bokeh_figure
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

RNG = 7


@dataclass
class Truth:
    """facts: path into `to_dict()` -> value. pitfalls: kinds, all of them. says: pieces of the text. unread: how many."""

    figure: Any
    facts: dict[str, Any]
    pitfalls: set[str] = field(default_factory=set)
    says: tuple[str, ...] = ()
    unread: int = 0


CASES: dict[str, Callable[[], Truth]] = {}


def case(build: Callable[[], Truth]) -> Callable[[], Truth]:
    CASES[build.__name__] = build
    return build


def plot() -> tuple[Figure, Any]:
    figure = Figure()
    return figure, figure.subplots()


def first(**facts: Any) -> dict[str, Any]:
    """Facts of the first series of the first panel; `value_max` is `value/max`."""
    return series(0, **facts)


def series(i: int, panel: int = 0, **facts: Any) -> dict[str, Any]:
    nested = ("value_", "place_", "lower_", "upper_", "width_", "colours_", "y_error_", "x_error_")
    found = {}
    for name, value in facts.items():
        head = next((n for n in nested if name.startswith(n)), "")
        path = f"{head[:-1]}/{name.removeprefix(head)}" if head else name
        found[f"panels/{panel}/series/{i}/{path}"] = value
    return found


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(RNG)
    return pd.DataFrame(
        {"kind": ["ash", "birch", "cedar"] * 20, "size": rng.normal(10, 2, 60).round(3), "age": np.arange(60.0)}
    )


# ------------------------------------------------------------------------------------------------ lines and points


@case
def line_with_labels() -> Truth:
    figure, ax = plot()
    ax.plot([0, 1, 2, 3], [2.5, 4, 1.5, 8], label="north")
    ax.set(xlabel="Time (s)", ylabel="Speed (m/s)", title="A run")
    ax.legend(title="side")
    facts = first(kind="line", name="north", n=4, missing=0, value_min=1.5, value_max=8, value_min_at=2, value_max_at=3)
    facts |= first(value_mean=4.0, value_median=3.25, first=2.5, last=8, direction="mixed", outside=0, colour="#1f77b4")
    facts |= first(
        r=np.corrcoef([0, 1, 2, 3], [2.5, 4, 1.5, 8])[0, 1], slope=np.polyfit([0, 1, 2, 3], [2.5, 4, 1.5, 8], 1)[0]
    )
    facts |= {"panels/0/title": "A run", "panels/0/axes/x/label": "Time (s)", "panels/0/axes/y/label": "Speed (m/s)"}
    facts |= {"panels/0/legend": ["north"], "panels/0/axes/x/limits": [-0.15, 3.15], "panels/0/axes/x/scale": "linear"}
    return Truth(figure, facts, says=('line "north"', "max 8 at x 3", "first 2.5, last 8", '"Speed (m/s)"'))


@case
def line_with_gaps() -> Truth:
    figure, ax = plot()
    ax.plot(range(6), [1, np.nan, 3, np.inf, 5, 5])
    facts = first(
        n=6, missing=2, value_mean=3.5, direction="never falling", value_max=5, value_max_at=4, value_max_times=2
    )
    return Truth(
        figure, facts, says=("6 points, 2 of them missing or not finite", "never falls", "max 5 at x 4 (first of 2)")
    )


@case
def masked_line() -> Truth:
    figure, ax = plot()
    ax.plot([0, 1, 2, 3], np.ma.array([9.0, 1, 2, 3], mask=[1, 0, 0, 0]))
    return Truth(figure, first(n=4, missing=1, value_max=3, first=1, direction="rising"))


@case
def falling_and_constant_lines() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3], [9, 5, 1], label="down")
    ax.plot([1, 2, 3], [4, 4, 4], label="level")
    facts = series(0, name="down", direction="falling", slope=-4, r=-1) | series(
        1, direction="constant", slope=0, r=None
    )
    return Truth(figure, facts, says=("falls at every step", "constant"))


@case
def line_that_goes_back() -> Truth:
    figure, ax = plot()
    angle = np.linspace(0, 2 * np.pi, 50)
    ax.plot(np.cos(angle), np.sin(angle))
    facts = first(n=50, first=0.0, value_max=float(np.sin(angle).max()))
    assert "direction" not in facts
    return Truth(figure, facts | {"panels/0/series/0/direction": KeyError})


@case
def points_by_plot() -> Truth:
    figure, ax = plot()
    ax.plot([3, 1, 2], [1, 2, 6], "o", label="dots")
    return Truth(figure, first(kind="points", n=3, value_mean=3, place_min=1, place_max=3))


@case
def line_with_an_outlier() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3, 4, 5, 6, 7, 13])  # quartiles 2.75 and 6.25: outliers begin above 11.5
    ax.plot([1, 2, 3, 4, 5, 6, 7, 11])
    return Truth(
        figure,
        series(1, outliers=0) | first(outliers=1, value_max=13, value_max_at=7),
        says=("outliers beyond 1.5 IQR: 1",),
    )


@case
def steps() -> Truth:
    figure, ax = plot()
    ax.step([1, 2, 3], [10, 20, 15], where="mid")
    return Truth(figure, first(kind="step line", steps="mid", n=3, value_max=20))


@case
def stems() -> Truth:
    figure, ax = plot()
    ax.stem([1, 2, 3, 4], [5, -2, 3, 3])
    return Truth(figure, first(kind="stems", n=4, value_min=-2, value_min_at=2) | {"panels/0/series": 1})


@case
def error_bars() -> Truth:
    figure, ax = plot()
    ax.errorbar([1, 2, 3], [2, 3, 5], yerr=[0.5, 0.25, 1], xerr=0.1, capsize=3, label="measured")
    facts = first(
        kind="line", name="measured", n=3, value_max=5, y_error_shortest=0.5, y_error_longest=2, x_error_longest=0.2
    )
    return Truth(figure, facts | {"panels/0/series": 1})


@case
def scatter_with_colour_bar() -> Truth:
    rng = np.random.default_rng(RNG)
    x = rng.normal(size=200)
    y = 3 * x + rng.normal(size=200)
    figure, ax = plot()
    drawn = ax.scatter(x, y, c=y**2, s=np.linspace(5, 50, 200), cmap="plasma", vmin=0, vmax=50)
    figure.colorbar(drawn, ax=ax, label="Energy (J)")
    slope = np.polyfit(x, y, 1)[0]
    facts = first(
        kind="scatter", n=200, r=np.corrcoef(x, y)[0, 1], slope=slope, value_max=y.max(), value_max_at=x[y.argmax()]
    )
    facts |= first(colours_colour_label="Energy (J)", colours_colour_limits=[0, 50], colours_colour_map="plasma")
    facts |= {"panels/0/series/0/colours/value/max": (y**2).max(), "panels": 1, "panels/0/series/0/sizes/max": 50}
    return Truth(figure, facts, says=('scale "Energy (J)" plasma, linear, from 0 to 50',))


@case
def crowded_scatter() -> Truth:
    rng = np.random.default_rng(RNG)
    x, y = rng.random(6000), rng.random(6000)
    figure, ax = plot()
    ax.scatter(x, y)
    return Truth(figure, first(n=6000, value_mean=y.mean(), value_min=y.min()), {"overplotting"}, ("6000 points",))


@case
def cropped_line() -> Truth:
    figure, ax = plot()
    ax.plot(range(10), range(10))
    ax.set_xlim(2, 5)
    return Truth(figure, first(outside=6, value_max=9), {"cropped"}, ("6 of 10 points lie outside",))


@case
def log_axis() -> Truth:
    figure, ax = plot()
    ax.loglog([1, 10, 100], [0, 10, 1000])
    facts = first(not_positive=1, outside=0, value_max=1000) | {"panels/0/axes/y/scale": "log"}
    return Truth(figure, facts, {"scale", "lost on log axis"}, ("cannot stand on the log axis: 1",))


@case
def symlog_axis() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3], [-100, 0, 100])
    ax.set_yscale("symlog", linthresh=5)
    return Truth(
        figure, {"panels/0/axes/y/scale": "symlog"} | first(not_positive=0), {"scale"}, ("linear between -5 and 5",)
    )


@case
def inverted_axis() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3], [10, 20, 30])
    ax.set_ylim(40, 0)
    facts = {"panels/0/axes/y/inverted": True, "panels/0/axes/y/limits": [40, 0], "panels/0/axes/x/inverted": False}
    return Truth(figure, facts, {"inverted axis"}, ("values grow downwards",))


@case
def date_axis() -> Truth:
    figure, ax = plot()
    days = pd.date_range("2024-02-27", periods=5)
    ax.plot(days, [1, 5, 2, 2, 0])
    facts = first(value_max=5, value_max_at="2024-02-28", value_min_at="2024-03-02", place_min="2024-02-27", slope=-0.5)
    return Truth(figure, facts | {"panels/0/axes/x/kind": "date"}, says=("per day", "max 5 at x 2024-02-28"))


@case
def times_of_a_day() -> Truth:
    figure, ax = plot()
    ax.plot(pd.to_datetime(["2024-05-01 08:30", "2024-05-01 09:45", "2024-05-01 11:00"]), [3, 1, 2])
    return Truth(figure, first(value_min_at="2024-05-01 09:45:00", place_max="2024-05-01 11:00:00"))


@case
def categories_on_x() -> Truth:
    figure, ax = plot()
    ax.plot(["low", "mid", "high"], [1, 5, 3])
    facts = first(value_max_at="mid") | {
        "panels/0/axes/x/categories": ["low", "mid", "high"],
        "panels/0/axes/x/kind": "category",
    }
    return Truth(figure, facts, says=('max 5 at x "mid"',))


@case
def reference_lines_and_spans() -> Truth:
    figure, ax = plot()
    ax.plot([0, 10], [0, 10], label="data")
    ax.axhline(7, label="limit")
    ax.axvspan(2, 4)
    ax.axvline(5)
    facts = series(1, kind="reference line", axis="y", at=7, name="limit") | series(2, axis="x", at=5)
    return Truth(
        figure, facts | {"panels/0/series/3/kind": "span", "panels/0/series/3/from": 2, "panels/0/series/3/to": 4}
    )


@case
def annotations() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3], [1, 9, 1])
    ax.annotate("peak", (2, 9), xytext=(2.5, 8), arrowprops={})
    ax.text(0.5, 0.5, "note", transform=ax.transAxes)
    return Truth(figure, {"panels/0/texts": ["peak (at x 2, y 9)", "note"]})


@case
def ten_nameless_lines() -> Truth:
    figure, ax = plot()
    for i in range(10):
        ax.plot([0, 1], [i, i + 1])
    return Truth(figure, {"panels/0/series": 10}, {"unlabelled series"}, ("10 series have neither a label",))


@case
def legend_names_series() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2], [1, 2])
    ax.plot([1, 2], [2, 1])
    ax.legend(["up", "down"])
    return Truth(figure, series(0, name="up") | series(1, name="down"))


@case
def wrong_legend() -> Truth:
    figure, ax = plot()
    (a,) = ax.plot([1, 2], [1, 2], label="cats")
    (b,) = ax.plot([1, 2], [2, 1], label="dogs")
    ax.legend([a, b], ["dogs", "cats"])
    return Truth(figure, series(0, name="cats") | {"panels/0/legend": ["dogs", "cats"]}, {"legend contradicts labels"})


@case
def twin_axes() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3], [10, 20, 30], label="money")
    ax.set_ylabel("EUR")
    twin = ax.twinx()
    twin.plot([1, 2, 3], [0.1, 0.5, 0.2], "r", label="share")
    twin.set_ylabel("%")
    facts = {"panels/1/twin_of": 1, "panels/1/axes/y/label": "%"} | series(
        0, 1, value_max=0.5, name="share", colour="#ff0000"
    )
    return Truth(figure, facts, {"dual axes"})


@case
def subplots_with_titles() -> Truth:
    figure = Figure()
    axes = figure.subplots(2, 2)
    for i, ax in enumerate(axes.ravel()):
        ax.plot([0, 1], [0, i + 1])
        ax.set(title=f"Part {i}", ylabel="count")
    figure.suptitle("Four parts")
    facts = {"title": "Four parts", "panels": 4, "panels/3/title": "Part 3", "panels/2/position": [2, 1]}
    return Truth(figure, facts | series(0, 3, value_max=4), {"unequal limits"})


# ------------------------------------------------------------------------------------------------ bars and shares


@case
def bars() -> Truth:
    figure, ax = plot()
    ax.bar(["a", "b", "c", "d"], [3, 7, -2, 7], label="sales")
    facts = first(kind="bars", orientation="vertical", n=4, sum=15, mean=3.75, top=[["b", 7], ["d", 7], ["a", 3]])
    facts |= first(lowest=["c", -2], top_times=2, base=0, name="sales")
    return Truth(figure, facts, says=('all: "a" 3, "b" 7, "c" -2, "d" 7',))


@case
def truncated_bars() -> Truth:
    figure, ax = plot()
    ax.bar(["x", "y"], [95, 98])
    ax.set_ylim(90, 100)
    return Truth(
        figure, first(top=[["y", 98], ["x", 95]]), {"truncated axis"}, ("runs from 90 to 100 and leaves out zero",)
    )


@case
def horizontal_bars_truncated() -> Truth:
    figure, ax = plot()
    ax.barh(["one", "two"], [12, 15])
    ax.set_xlim(10, 16)
    return Truth(figure, first(orientation="horizontal", top=[["two", 15], ["one", 12]]), {"truncated axis"})


@case
def bars_on_a_log_axis() -> Truth:
    figure, ax = plot()
    ax.bar([1, 2, 3], [10, 100, 1000], log=True)
    return Truth(figure, first(top=[[3, 1000], [2, 100], [1, 10]], sum=1110), {"scale", "bars on log axis"})


@case
def stacked_bars() -> Truth:
    figure, ax = plot()
    ax.bar(["p", "q"], [1, 2], label="low")
    ax.bar(["p", "q"], [10, 5], bottom=[1, 2], label="high")
    facts = series(0, base=0, stacked=True, sum=3) | series(1, sum=15, top=[["p", 10], ["q", 5]])
    facts |= series(2, kind="stack totals", top=[["p", 11], ["q", 7]], layers=2)
    return Truth(figure, facts | {"panels/0/notes": ["2 series of bars are stacked"]})


@case
def grouped_bars() -> Truth:
    figure, ax = plot()
    x = np.arange(3)
    ax.bar(x - 0.2, [1, 2, 3], 0.4, label="men")
    ax.bar(x + 0.2, [3, 2, 4], 0.4, label="women")
    ax.set_xticks(x, ["red", "green", "blue"])
    ax.legend()
    facts = series(0, name="men", top=[["blue", 3], ["green", 2], ["red", 1]]) | series(
        1, name="women", lowest=["green", 2]
    )
    return Truth(figure, facts | {"panels/0/notes": ["2 series of bars stand side by side (grouped)"]})


@case
def histogram() -> Truth:
    data = np.random.default_rng(RNG).normal(5, 2, 1000)
    counts, edges = np.histogram(data, bins=17)
    figure, ax = plot()
    ax.hist(data, bins=17, label="all")
    peak = counts.argmax()
    facts = first(kind="histogram", bins=17, sum=1000, peak=[edges[peak], edges[peak + 1], counts[peak]], name="all")
    return Truth(figure, facts | {"panels/0/series/0/from": edges[0], "panels/0/series/0/to": edges[-1]})


@case
def density_histogram_outline() -> Truth:
    data = np.random.default_rng(RNG).exponential(3, 500)
    heights, edges = np.histogram(data, bins=8, density=True)
    figure, ax = plot()
    ax.hist(data, bins=8, density=True, histtype="step")
    facts = first(kind="histogram", bins=8, area=1.0, counts=list(heights), peak=[edges[0], edges[1], heights[0]])
    return Truth(figure, facts, says=("the area is 1 (a density)",))


@case
def stairs() -> Truth:
    figure, ax = plot()
    ax.stairs([4, 9, 2], [0, 1, 2, 4])
    return Truth(figure, first(kind="histogram", bins=3, peak=[1, 2, 9], sum=15))


@case
def pie() -> Truth:
    figure, ax = plot()
    ax.pie([50, 30, 20], labels=["rent", "food", "rest"])
    facts = first(kind="pie", n=3) | {
        "panels/0/series/0/slices/0/name": "rent",
        "panels/0/series/0/slices/0/share": 0.5,
    }
    return Truth(figure, facts | {"panels/0/series/0/slices/2/share": 0.2}, says=('"rent" 50%', '"rest" 20%'))


# ------------------------------------------------------------------------------------------------ areas and fields


@case
def area_between() -> Truth:
    figure, ax = plot()
    ax.fill_between([0, 1, 2, 3], [1, 1, 0, 2], [2, 4, 3, 2.5], label="range")
    facts = first(
        kind="area", n=4, lower_min=0, lower_min_at=2, upper_max=4, upper_max_at=1, width_max=3, width_min=0.5
    )
    return Truth(figure, facts | first(width_max_times=2, name="range", width_mean=1.875))


@case
def stacked_areas() -> Truth:
    figure, ax = plot()
    ax.stackplot([1, 2, 3], [1, 2, 3], [4, 4, 1], labels=["a", "b"])
    return Truth(figure, series(0, name="a", upper_max=3, width_max=3) | series(1, name="b", width_min=1, upper_max=6))


@case
def box_plot() -> Truth:
    rng = np.random.default_rng(RNG)
    data = [rng.normal(0, 1, 99), rng.normal(3, 2, 99)]
    figure, ax = plot()
    ax.boxplot(data, tick_labels=["ctrl", "drug"], showmeans=True)
    facts = {"panels/0/series": 1, "panels/0/series/0/n": 2, "panels/0/series/0/orientation": "vertical"}
    for i, (values, name) in enumerate(zip(data, ["ctrl", "drug"], strict=True)):
        q1, median, q3 = np.percentile(values, [25, 50, 75])
        inside = values[(values >= q1 - 1.5 * (q3 - q1)) & (values <= q3 + 1.5 * (q3 - q1))]
        box = {"at": name, "median": median, "q1": q1, "q3": q3, "mean": values.mean(), "outliers": 99 - len(inside)}
        box |= {"whisker_low": inside.min(), "whisker_high": inside.max()}
        facts |= {f"panels/0/series/0/boxes/{i}/{k}": v for k, v in box.items()}
    return Truth(figure, facts)


@case
def horizontal_filled_notched_boxes() -> Truth:
    data = np.array([1.0, 2, 3, 4, 5, 6, 7, 40])
    figure, ax = plot()
    ax.boxplot([data], orientation="horizontal", patch_artist=True, notch=True, tick_labels=["only"])
    q1, median, q3 = np.percentile(data, [25, 50, 75])
    box = {"median": median, "q1": q1, "q3": q3, "whisker_high": 7, "outliers": 1, "outlier_max": 40, "at": "only"}
    facts = {f"panels/0/series/0/boxes/0/{k}": v for k, v in box.items()}
    return Truth(figure, facts | {"panels/0/series/0/orientation": "horizontal", "panels/0/series": 1})


@case
def violin_plot() -> Truth:
    rng = np.random.default_rng(RNG)
    data = [rng.normal(0, 1, 80), rng.normal(5, 1, 80)]
    figure, ax = plot()
    ax.violinplot(data, showmedians=True)
    facts = {
        "panels/0/series": 1,
        "panels/0/series/0/kind": "violin plot",
        "panels/0/series/0/violins/0/from": data[0].min(),
    }
    facts |= {
        "panels/0/series/0/violins/1/to": data[1].max(),
        "panels/0/series/0/violins/1/marks": [np.median(data[1])],
    }
    return Truth(figure, facts)


@case
def image() -> Truth:
    figure, ax = plot()
    data = np.array([[1.0, 2, 3], [9, np.nan, 4]])
    drawn = ax.imshow(data)
    figure.colorbar(drawn, ax=ax, label="K")
    facts = first(kind="heatmap", rows=2, columns=3, missing=1, value_max=9, value_max_at=[0, 1], value_mean=3.8)
    return Truth(figure, facts | first(colour_label="K", colour_limits=[1, 9]) | {"panels": 1})


@case
def photograph() -> Truth:
    figure, ax = plot()
    ax.imshow(np.zeros((4, 6, 3)))
    return Truth(figure, first(kind="picture", rows=4, columns=6, picture="RGB"))


@case
def mesh_on_log_colours() -> Truth:
    figure, ax = plot()
    drawn = ax.pcolormesh([0, 1, 2, 3], [10, 20, 30], [[1, 10, 100], [5, 50, 500]], norm=LogNorm())
    figure.colorbar(drawn, ax=ax)
    facts = first(value_max=500, value_max_at=[2.5, 25], value_min_at=[0.5, 15], colour_scale="log", colour_bar=True)
    return Truth(figure, facts)


@case
def contours() -> Truth:
    figure, ax = plot()
    x, y = np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30))
    ax.contourf(x, y, x * y, levels=[-1, -0.5, 0, 0.5, 1])
    facts = first(kind="contours", filled=True, levels=[-1, -0.5, 0, 0.5, 1], value_min=-1, value_max=1)
    return Truth(figure, facts)


@case
def hexagons() -> Truth:
    rng = np.random.default_rng(RNG)
    figure, ax = plot()
    drawn = ax.hexbin(rng.normal(size=300), rng.normal(size=300), gridsize=8)
    return Truth(figure, first(kind="hexagons", sum=300, value_max=drawn.get_array().max(), n=len(drawn.get_array())))


@case
def three_dimensions() -> Truth:
    figure = Figure()
    ax = figure.add_subplot(projection="3d")
    ax.scatter([1, 2, 3], [4, 5, 9], [0, -1, 7])
    ax.plot([0, 1], [0, 1], [0, 2])
    ax.set(xlabel="E", ylabel="N", zlabel="height (m)")
    kinds = {"panels/0/series/0/kind": "3D line", "panels/0/series/1/kind": "3D points", "panels/0/series/1/z/max": 7}
    return Truth(
        figure,
        kinds | {"panels/0/axes/z/label": "height (m)", "panels/0/series/1/y/mean": 6, "panels/0/series/0/z/max": 2},
    )


@case
def polar() -> Truth:
    figure = Figure()
    ax = figure.add_subplot(projection="polar")
    ax.plot([0, 1, 2], [1, 2, 3])
    return Truth(figure, {"panels/0/notes": ["polar: x is the angle in radians, y the radius"]} | first(value_max=3))


# ------------------------------------------------------------------------------------------------ pandas and seaborn


@case
def pandas_months() -> Truth:
    figure, ax = plot()
    table = pd.DataFrame({"in": [3, 1, 2], "out": [1, 1, 5]}, index=pd.period_range("2023-11", periods=3, freq="M"))
    table.plot(ax=ax)
    facts = series(0, name="in", value_max_at="2023-11", value_min_at="2023-12") | series(
        1, name="out", value_max_at="2024-01"
    )
    return Truth(figure, facts)


@case
def pandas_stacked_bars() -> Truth:
    figure, ax = plot()
    pd.DataFrame({"a": [1, 2], "b": [3, 1]}, index=["east", "west"]).plot.bar(stacked=True, ax=ax)
    facts = series(0, name="a", top=[["west", 2], ["east", 1]]) | series(
        2, kind="stack totals", top=[["east", 4], ["west", 3]]
    )
    return Truth(figure, facts)


@case
def broken_bars() -> Truth:
    figure, ax = plot()
    ax.broken_barh([(10, 5), (130, -20), (40, 20), (np.nan, 1)], (10, 9), label="shifts")
    ax.broken_barh([(30, 50)], (20, 9), facecolors="tab:red")
    ax.set_yticks([14.5, 24.5], ["Ann", "Bob"])
    facts = first(kind="broken bars", name="shifts", n=4, missing=1, row=[10, 19], at="Ann", sum=45)
    facts |= first(spans=[[10, 15], [110, 130], [40, 60]], longest_times=2) | {"panels/0/series": 2}
    facts |= {"panels/0/series/0/from": 10, "panels/0/series/0/to": 130, "panels/0/series/0/longest": [110, 130]}
    says = ('in the row "Ann" (y 10 to 19)', "longest 110 to 130 (first of 2)", "lengths add up to 45")
    return Truth(figure, facts | series(1, at="Bob", n=1, colour="#d62728"), says=says)


@case
def broken_bars_over_dates() -> Truth:
    figure, ax = plot()
    days = pd.to_datetime(["2024-01-30", "2024-03-01"])
    ax.broken_barh([(days[0], pd.Timedelta(days=2.5)), (days[1], pd.Timedelta(days=1))], (0, 1))
    spans = [["2024-01-30", "2024-02-01 12:00:00"], ["2024-03-01", "2024-03-02"]]
    facts = first(kind="broken bars", spans=spans, sum=3.5, at=KeyError)
    return Truth(figure, facts, says=("lengths in days add up to 3.5",))


@case
def pandas_secondary_y_by_its_axes() -> Truth:
    _, ax = plot()
    table = pd.DataFrame({"a": [1, 2, 3], "b": [100, 300, 200]})
    drawn = table.plot(secondary_y="b", ax=ax)
    facts = first(name="a", value_max=3) | series(0, 1, name="b (right)", value_max=300) | {"panels/1/twin_of": 1}
    return Truth(drawn, facts | {"panels": 2}, {"dual axes"})


@case
def twins_by_the_upper_axes_and_nothing_else_of_the_figure() -> Truth:
    figure = Figure()
    left, other = figure.subplots(1, 2)
    other.plot([7, 8])
    left.plot([1, 2])
    upper = left.twinx()
    upper.plot([3, 5])
    facts = first(value_max=2) | series(0, 1, value_max=5) | {"panels": 2, "panels/1/twin_of": 1}
    return Truth(upper, facts, {"dual axes"})


@case
def pandas_box() -> Truth:
    figure, ax = plot()
    frame().plot.box(column=["size", "age"], ax=ax)
    facts = {"panels/0/series/0/boxes/0/at": "size", "panels/0/series/0/boxes/0/median": frame()["size"].median()}
    return Truth(figure, facts | {"panels/0/series/0/boxes/1/median": 29.5})


@case
def seaborn_lines() -> Truth:
    figure, ax = plot()
    table = pd.DataFrame({"t": [0, 1, 2] * 2, "v": [1, 2, 3, 6, 5, 4], "who": ["ann"] * 3 + ["bob"] * 3})
    sns.lineplot(table, x="t", y="v", hue="who", ax=ax)
    facts = series(0, name="ann", direction="rising") | series(1, name="bob", direction="falling")
    return Truth(
        figure, facts | {"panels/0/legend": ["ann", "bob"], "panels/0/axes/x/label": "t", "panels/0/series": 2}
    )


@case
def seaborn_heatmap() -> Truth:
    figure, ax = plot()
    sns.heatmap(pd.DataFrame([[1, 2], [3, 4]], index=["r1", "r2"], columns=["c1", "c2"]), annot=True, ax=ax)
    facts = first(kind="heatmap", value_max=4, value_max_at=["c2", "r2"], value_min_at=["c1", "r1"], colour_bar=True)
    return Truth(figure, facts | {"panels": 1})


@case
def seaborn_strips() -> Truth:
    figure, ax = plot()
    table = frame()
    sns.stripplot(table, x="kind", y="size", ax=ax)
    held = table[table.kind == "birch"]["size"]
    facts = series(1, kind="scatter") | {"panels/0/series/1/groups/0/at": "birch", "panels/0/series/1/groups/0/n": 20}
    return Truth(
        figure, facts | {"panels/0/series/1/groups/0/max": held.max(), "panels/0/series/1/groups/0/mean": held.mean()}
    )


@case
def seaborn_boxes() -> Truth:
    figure, ax = plot()
    table = frame()
    sns.boxplot(table, x="kind", y="size", ax=ax)
    facts = {"panels/0/series": 1}
    for i, kind in enumerate(["ash", "birch", "cedar"]):
        facts |= {f"panels/0/series/0/boxes/{i}/at": kind}
        facts |= {f"panels/0/series/0/boxes/{i}/median": table[table.kind == kind]["size"].median()}
    return Truth(figure, facts)


@case
def seaborn_histogram() -> Truth:
    figure, ax = plot()
    sns.histplot(frame(), x="size", bins=6, ax=ax)
    counts, edges = np.histogram(frame()["size"], bins=6)
    peak = counts.argmax()
    return Truth(figure, first(kind="histogram", bins=6, sum=60, peak=[edges[peak], edges[peak + 1], counts[peak]]))


@case
def seaborn_bars_with_error_bars() -> Truth:
    figure, ax = plot()
    sns.barplot(frame(), x="kind", y="size", errorbar="sd", ax=ax)
    means = frame().groupby("kind")["size"].mean()
    return Truth(figure, first(kind="bars", values=[[k, means[k]] for k in ["ash", "birch", "cedar"]]))


@case
def seaborn_scatter_by_hue() -> Truth:
    figure, ax = plot()
    table = frame()
    sns.scatterplot(table, x="age", y="size", hue="kind", ax=ax)
    held = table[table.kind == "birch"]
    r = np.corrcoef(held["age"], held["size"])[0, 1]
    facts = series(1, kind="scatter", name="birch", n=20, value_max=held["size"].max(), r=r) | {"panels/0/series": 3}
    return Truth(figure, facts | {"panels/0/legend": ["ash", "birch", "cedar"]})


@case
def seaborn_violins_by_hue() -> Truth:
    figure, ax = plot()
    table = frame().assign(half=["one", "two"] * 30)
    sns.violinplot(table, x="kind", y="size", hue="half", inner="box", ax=ax)
    held = table[(table.kind == "ash") & (table.half == "two")]["size"]
    row = {
        "at": "ash",
        "name": "two",
        "inner/1": [held.quantile(0.25), held.quantile(0.75)],
        "inner/2": [held.median()],
    }
    facts = {f"panels/0/series/0/violins/1/{k}": v for k, v in row.items()}
    return Truth(figure, facts | {"panels/0/series": 1, "panels/0/series/0/n": 6})


@case
def bars_of_width_one() -> Truth:
    figure, ax = plot()
    ax.bar([3, 4, 5], [1, 2, 9], width=1)
    return Truth(figure, first(kind="bars", values=[[3, 1], [4, 2], [5, 9]]))


@case
def arrows() -> Truth:
    figure, ax = plot()
    ax.quiver([0, 1], [0, 1], [3, 6], [4, 8])
    facts = {"panels/0/series/0/length/max": 10, "panels/0/series/0/length/mean": 7.5, "panels/0/series/0/n": 2}
    return Truth(figure, facts)


@case
def stacked_histograms() -> Truth:
    figure, ax = plot()
    ax.hist([[1, 1, 2], [2, 3, 3, 3]], bins=[0.5, 1.5, 2.5, 3.5], stacked=True, label=["a", "b"])
    figure.legend()
    facts = series(0, name="a", sum=3) | series(1, name="b", sum=4)
    return Truth(figure, facts | {"panels/0/legend": ["a", "b"]})


@case
def polar_beyond_a_turn() -> Truth:
    figure = Figure()
    figure.add_subplot(projection="polar").plot([0, 5, 10, 15], [0, 5, 10, 15])
    return Truth(figure, first(value_max=15, outside=0))


@case
def seaborn_pairs() -> Truth:
    drawn = sns.pairplot(pd.DataFrame({"a": [1.0, 2, 4], "b": [3.0, 1, 2]}))
    plt.close(drawn.figure)  # seaborn's grids are made by pyplot, which else keeps them for the tests that come after
    return Truth(drawn, {"panels": 6, "panels/4/twin_of": 1} | series(0, 1, kind="scatter", value_max=4))


@case
def secondary_axis_that_was_not_drawn() -> Truth:
    figure, ax = plot()
    ax.plot([0, 10], [1, 2])
    ax.set_xlim(0, 10)
    ax.secondary_xaxis("top", functions=(lambda v: v * 2, lambda v: v / 2))
    return Truth(figure, {"panels/0/axes/second x/limits": [0, 20]})


@case
def inset_and_secondary_axes() -> Truth:
    figure, ax = plot()
    ax.plot([0, 10], [1, 2])
    ax.inset_axes([0.5, 0.5, 0.3, 0.3]).plot([7, 8, 6])
    ax.secondary_xaxis("top", functions=(lambda v: v * 2, lambda v: v / 2)).set_xlabel("doubled")
    return Truth(
        figure, {"panels": 2, "panels/0/axes/second x/label": "doubled"} | series(0, 1, value_max=8, value_max_at=1)
    )


# ------------------------------------------------------------------------------------------------ plotly


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


# ------------------------------------------------------------------------------------------------ altair and bokeh


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
        spec, series(1, kind="values", n=3, missing=1, value_max=4), says=("the chart changes it first (filter)",)
    )


@case
def vega_lite_without_its_data() -> Truth:
    spec = {"data": {"url": "data/cars.json"}, "mark": "bar", "encoding": {"x": {"field": "a", "type": "nominal"}}}
    return Truth(spec, {"panels/0/series/0/kind": "bar mark"}, says=("never fetched",), unread=1)


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


@case
def bokeh_dates() -> Truth:
    drawn = bokeh_figure(x_axis_type="datetime")
    drawn.line(pd.Series(pd.date_range("2024-01-30", periods=3)), pd.Series([1.0, 9, 3]))
    return Truth(drawn, first(kind="line", value_max=9, value_max_at="2024-01-31"))


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
    return Truth(drawn, facts, says=("4 lines over 3 axes", "chosen from 2 to 3 (2 of the values)", "with the next"))


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
    return Truth(drawn, facts, says=("x bins at most 8", "counted", "by the browser"))


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
