"""Bars, histograms and pies of matplotlib figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .case import RNG, Truth, case, first, plot, series


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
    return Truth(figure, facts | {"panels/0/notes": ["2 series of bars are side by side (grouped)"]})


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
def bars_of_width_one() -> Truth:
    figure, ax = plot()
    ax.bar([3, 4, 5], [1, 2, 9], width=1)
    return Truth(figure, first(kind="bars", values=[[3, 1], [4, 2], [5, 9]]))


@case
def stacked_histograms() -> Truth:
    figure, ax = plot()
    ax.hist([[1, 1, 2], [2, 3, 3, 3]], bins=[0.5, 1.5, 2.5, 3.5], stacked=True, label=["a", "b"])
    figure.legend()
    facts = series(0, name="a", sum=3) | series(1, name="b", sum=4)
    return Truth(figure, facts | {"panels/0/legend": ["a", "b"]})
