"""Lines and points of matplotlib figures."""

from __future__ import annotations

import numpy as np

from .case import RNG, Truth, case, first, plot, series


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
def ten_nameless_lines() -> Truth:
    figure, ax = plot()
    for i in range(10):
        ax.plot([0, 1], [i, i + 1])
    return Truth(figure, {"panels/0/series": 10}, {"unlabelled series"}, ("10 series have neither a label",))
