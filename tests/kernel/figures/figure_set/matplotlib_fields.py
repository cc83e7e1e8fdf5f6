"""Areas, boxes, images, contours and arrows of matplotlib figures."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LogNorm

from .case import RNG, Truth, case, first, plot, series


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
def arrows() -> Truth:
    figure, ax = plot()
    ax.quiver([0, 1], [0, 1], [3, 6], [4, 8])
    facts = {"panels/0/series/0/length/max": 10, "panels/0/series/0/length/mean": 7.5, "panels/0/series/0/n": 2}
    return Truth(figure, facts)
