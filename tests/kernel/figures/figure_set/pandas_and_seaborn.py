"""Figures that pandas and seaborn draw with matplotlib."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from .case import Truth, case, first, frame, plot, series


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
def pandas_secondary_y_by_its_axes() -> Truth:
    _, ax = plot()
    table = pd.DataFrame({"a": [1, 2, 3], "b": [100, 300, 200]})
    drawn = table.plot(secondary_y="b", ax=ax)
    facts = first(name="a", value_max=3) | series(0, 1, name="b (right)", value_max=300) | {"panels/1/twin_of": 1}
    return Truth(drawn, facts | {"panels": 2}, {"dual axes"})


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
def seaborn_pairs() -> Truth:
    drawn = sns.pairplot(pd.DataFrame({"a": [1.0, 2, 4], "b": [3.0, 1, 2]}))
    plt.close(drawn.figure)  # seaborn's grids are made by pyplot, which else keeps them for the tests that come after
    return Truth(drawn, {"panels": 6, "panels/4/twin_of": 1} | series(0, 1, kind="scatter", value_max=4))
