"""Axes, scales, legends, texts and panels of matplotlib figures."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .case import Truth, case, first, plot, series


@case
def cropped_line() -> Truth:
    figure, ax = plot()
    ax.plot(range(10), range(10))
    ax.set_xlim(2, 5)
    return Truth(figure, first(outside=6, value_max=9), {"cropped"}, ("6 of 10 points are outside",))


@case
def log_axis() -> Truth:
    figure, ax = plot()
    ax.loglog([1, 10, 100], [0, 10, 1000])
    facts = first(not_positive=1, outside=0, value_max=1000) | {"panels/0/axes/y/scale": "log"}
    return Truth(figure, facts, {"scale", "lost on log axis"}, ("which a log axis cannot show: 1",))


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
def annotations() -> Truth:
    figure, ax = plot()
    ax.plot([1, 2, 3], [1, 9, 1])
    ax.annotate("peak", (2, 9), xytext=(2.5, 8), arrowprops={})
    ax.text(0.5, 0.5, "note", transform=ax.transAxes)
    return Truth(figure, {"panels/0/texts": ["peak (at x 2, y 9)", "note"]})


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
def polar_beyond_a_turn() -> Truth:
    figure = Figure()
    figure.add_subplot(projection="polar").plot([0, 5, 10, 15], [0, 5, 10, 15])
    return Truth(figure, first(value_max=15, outside=0))


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
