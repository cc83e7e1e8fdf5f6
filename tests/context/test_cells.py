"""Damaged, old, huge and non-Python notebooks are read as cells; long and repeated output is shortened."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_mistral.context import build
from jupyter_mistral.context.notebook import dataflow, shorten, stale
from jupyter_mistral.context.notebook.cells import Cell, Output, clean_text, language, read
from jupyter_mistral.protocol.conversation import Message

Make = Callable[..., dict[str, Any]]


def count(texts: list[str]) -> list[int]:
    return [len(text.encode()) // 3 + 1 for text in texts]


def ask(notebook: Any, **more: Any) -> str:
    built = build([Message("user", ("what is x?",))], notebook, **{"budget": 4000, "count": count, **more})
    return "\n".join(m.text for m in built.messages)


# ---------------------------------------------------------------------------------------------- reading

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_OUTPUT = st.fixed_dictionaries(
    {"output_type": st.sampled_from(["stream", "error", "execute_result", "display_data", "pyout", "pyerr"]) | _JSON},
    optional=dict.fromkeys(("text", "name", "data", "traceback", "ename", "evalue", "png", "html"), _JSON),
)
_CELL = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw", "heading"]) | _JSON},
    optional={
        "source": _JSON,
        "input": _JSON,
        "outputs": st.lists(_OUTPUT | _JSON, max_size=3) | _JSON,
        "execution_count": _JSON,
        "id": _JSON,
        "level": _JSON,
    },
)


@pytest.mark.threat("T21")
@settings(max_examples=examples(200), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["cells", "worksheets", "metadata", "language"]), st.lists(_CELL | _JSON, max_size=4) | _JSON
    )
)
def test_any_json_reads_as_some_notebook(notebook: Any) -> None:
    cells = read(notebook)
    assert [c.index for c in cells] == list(range(len(cells)))
    language(notebook)
    ask(notebook).encode()  # no lone surrogate is left


def test_a_notebook_of_nbformat_3_is_read_completely() -> None:
    sheet = {
        "cells": [
            {"cell_type": "heading", "level": 2, "source": ["Old title"]},
            {
                "cell_type": "code",
                "input": ["x = 1\n", "x"],
                "prompt_number": 4,
                "outputs": [
                    {"output_type": "pyout", "text": ["the old result"]},
                    {"output_type": "stream", "stream": "stderr", "text": "a warning"},
                    {"output_type": "pyerr", "ename": "KeyError", "evalue": "'k'", "traceback": []},
                    {"output_type": "display_data", "png": "aGk="},
                ],
            },
        ]
    }
    text = ask({"nbformat": 3, "worksheets": [sheet]})
    for part in (
        "## Old title",
        "[cell 1] In[4]\nx = 1\nx",
        "the old result",
        "stderr]\na warning",
        "KeyError: 'k'",
        "image/png",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("dirty", "clean"), [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("a\x00\x1bb\r\n", "ab\n")]
)
def test_lone_surrogates_and_control_characters_are_cleaned(dirty: str, clean: str) -> None:
    assert clean_text(dirty) == clean


def test_a_missing_notebook_leaves_the_question() -> None:
    assert "what is x?" in ask(None)


@pytest.mark.threat("T21")
def test_the_middle_of_a_giant_output_is_never_joined(code: Make) -> None:
    line = "0123456789" * 10 + "\n"
    notebook = {"cells": [code("x", 1, {"output_type": "stream", "text": [line] * 500_000})]}
    tracemalloc.start()
    text = ask(notebook)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "…" in text
    assert peak < 12 * 2**20  # 50 MB of text


def test_a_thousand_outputs_read_as_the_first_and_last(code: Make) -> None:
    outputs = [{"output_type": "display_data", "data": {"text/plain": f"shown {i}"}} for i in range(1000)]
    (cell,) = read({"cells": [code("x", 1, *outputs)]})
    assert len(cell.outputs) == 201
    assert cell.outputs[0].text == "shown 0"
    assert cell.outputs[-1].text == "shown 999"
    assert "800 outputs left out" in cell.outputs[100].text


def test_deeply_nested_json_output_is_read(code: Make) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert "[[[[" in ask(
        {"cells": [code("x", 1, {"output_type": "execute_result", "data": {"application/json": deep}})]}
    )


# ---------------------------------------------------------------------------------------------- shortening


def test_a_progress_bar_shows_its_last_state(code: Make) -> None:
    bar = "\r".join(f"{i:3}%|{'█' * (i // 5):20}| {i}/100 [00:01<00:09]" for i in range(101))
    lines = "\n".join(f"{i:3}%|{'#' * 10}| {i}/100" for i in range(101))
    text = ask({"cells": [code("x", 1, bar), code("y", 2, lines)]})
    assert text.count("100/100") == 2
    assert " 57%" not in text


def test_repeated_lines_become_one_and_a_log_its_ends() -> None:
    assert shorten.collapse("same\n" * 50 + "end", similar=False).split("\n") == [
        "same",
        "… the same line 50 times …",
        "end",
    ]
    log = "\n".join(f"step {i} loss {1 / (i + 1):.4f}" for i in range(100))
    short = shorten.collapse(log, similar=True).split("\n")
    assert short[0] == "step 0 loss 1.0000"
    assert short[-1].startswith("step 99")
    assert "… 92 similar lines …" in short


def test_a_long_text_keeps_head_tail_and_wanted_lines() -> None:
    text = "\n".join(f"line {i} {'x' * 40}" for i in range(300))
    short = shorten.cut(text, 1000, is_wanted=lambda line: line.startswith("line 150 "))
    assert len(short) < 1300
    for part in ("line 0 ", "line 150 ", "line 299 ", "lines …"):
        assert part in short
    assert len(shorten.cut("y" * 10_000, 300)) < 400


def test_a_wide_dataframe_reads_as_one_table(code: Make) -> None:
    html = "<div><style>p{}</style><table><thead><tr><th></th><th>a</th><th>b</th></tr></thead><tbody><tr><th>0</th><td>1.5</td><td>two words</td></tr></tbody></table><p>1 rows × 2 columns</p></div>"
    data = {"text/plain": "     a  \\\n0  1.5   \n\n   b  \n0  two words", "text/html": html}
    text = ask({"cells": [code("df", 1, {"output_type": "execute_result", "data": data})]})
    assert "| a | b\n0 | 1.5 | two words\n1 rows × 2 columns" in text
    assert "<td>" not in text


def test_a_traceback_keeps_the_frames_that_matter(code: Make) -> None:
    frames = [
        "\x1b[0;31mKeyError\x1b[0m    Traceback (most recent call last)",
        "Cell In[3], line 2\n      1 x\n----> 2 df['k']",
    ]
    frames += [f"File /lib/pandas/core/part{i}.py:10, in get(self)\n      9 a\n---> 10 b{i}" for i in range(6)]
    error = {"output_type": "error", "ename": "KeyError", "evalue": "'k'", "traceback": [*frames, "KeyError: 'k'"]}
    text = ask({"cells": [code("df['k']", 3, error)]})
    for part in ("----> 2 df['k']", "b5", "KeyError: 'k'", "library frames"):
        assert part in text
    assert "b3" not in text
    assert "\x1b" not in text


# ---------------------------------------------------------------------------------------------- names and staleness


def names_in(source: str, language_name: str = "python") -> dataflow.Names:
    return dataflow.of_cell(Cell(0, "code", source), language_name)


@pytest.mark.parametrize(
    ("source", "defines", "uses"),
    [
        ("%matplotlib inline\n!ls\nx = y + 1", {"x"}, {"y"}),
        ("%%time\nz = f(2)", {"z"}, {"f"}),
        ("%%bash\necho $x", set(), set()),
        ("files = !ls\nx?", set(), set()),
        ("import numpy as np, os.path\nfrom a import b as c", {"np", "os", "c"}, set()),
        ("def f(a):\n    local = a + k\n    return local", {"f"}, {"k"}),
        ("for i in items:\n    t = i", {"i", "t"}, {"items"}),
        ("try:\n    g()\nexcept E as e:\n    print(e)", {"e"}, {"g", "E", "print"}),
        ("[q for q in rows if q]", set(), {"rows"}),
        ("x = 1\nx += n", {"x"}, {"n"}),
    ],
)
def test_names_of_python(source: str, defines: set[str], uses: set[str]) -> None:
    names = names_in(source)
    assert (names.defines, names.uses) == (defines, uses)


def test_setting_a_column_changes_the_frame() -> None:
    assert names_in('df["a"] = 1\ndf.b.c = 2').changes == {"df"}


@pytest.mark.parametrize(
    ("source", "language_name", "defines"),
    [
        ("my.model <- lm(y ~ x)\nread.csv('a') -> rows", "r", {"my.model", "rows"}),
        ("function area(r)\n  pi * r^2\nend\nβ = 3", "julia", {"area", "β"}),
        ("x = (1,\ndef broken(", "python", {"x", "broken"}),
    ],
)
def test_names_of_other_languages_and_of_broken_code(source: str, language_name: str, defines: set[str]) -> None:
    assert defines <= names_in(source, language_name).defines


def test_an_r_notebook_finds_its_definition() -> None:
    cells = [{"cell_type": "code", "source": "sales.model <- lm(total ~ price, data = shop)", "outputs": []}]
    cells += [{"cell_type": "code", "source": f"plot(other{i}, model = {i})", "outputs": []} for i in range(200)]
    notebook = {"cells": cells, "metadata": {"kernelspec": {"language": "R"}}}
    assert "lm(total ~ price" in ask(notebook, budget=900)


def warnings_for(*cells: dict[str, Any]) -> list[str]:
    parsed = read({"cells": list(cells)})
    return [text for _, text in stale.notes(parsed, dataflow.graph(parsed, "python"), {})]


def test_cells_run_out_of_order_and_not_run_are_reported(code: Make) -> None:
    assert warnings_for(code("x = 1", 5), code("y = x", 3)) == [
        "[cell 1] uses x and ran before [cell 0], which defines it, ran again: it may be outdated."
    ]
    assert warnings_for(code("y = x", 1), code("x = 1", None)) == [
        "[cell 0] uses x, which is defined only in [cell 1] below.",
        "Not run: [cell 1].",
    ]


def test_a_notebook_run_in_order_has_no_warnings(code: Make) -> None:
    assert (
        warnings_for(
            code("def f():\n    return later", 1), code("later = 1", 2), code("f()\ny = [f for f in later]", 3)
        )
        == []
    )


def test_an_image_is_described_by_its_size() -> None:
    assert (
        shorten.output(Output("image", "<Figure size 1x1>", mime="image/png", size=2048, picture="A" * 2731), 500, True)
        == "(image/png, 2 KiB)"
    )


def test_the_json_of_a_built_prompt_can_be_written(code: Make) -> None:
    from jupyter_mistral.commands.context import to_dict

    built = build([Message("user", ("q",))], {"cells": [code("x = 1", 1)]}, budget=900, count=count)
    printed = json.loads(json.dumps(to_dict(built)))
    assert printed["total_tokens"] == sum(row["tokens"] for row in printed["ledger"])
    assert {"segment", "cell", "tokens", "kept"} <= set(printed["ledger"][0])


# ---------------------------------------------------------------------------------------------- more bad input


def test_an_output_that_contains_itself_ends(code: Make) -> None:
    ring: dict[str, Any] = {"name": "ring"}
    ring["self"] = ring
    listed: list[Any] = ["text"]
    listed.append(listed)
    outputs = [
        {"output_type": "execute_result", "data": {"application/json": ring}},
        {"output_type": "stream", "text": listed},
        {"output_type": "display_data", "data": {"text/plain": listed}},
    ]
    assert "ring" in ask({"cells": [code("x", 1, *outputs)]})


@pytest.mark.parametrize("outputs", [None, "text", 3, [None, 3, "text", []], [{}], [{"output_type": "stream"}]])
def test_a_cell_without_usable_outputs_shows_its_source(outputs: Any) -> None:
    cell = {"cell_type": "code", "source": "answer = 42", "outputs": outputs}
    assert "answer = 42" in ask({"cells": [cell, {"cell_type": "code", "source": "no_outputs = 1"}]})


@pytest.mark.parametrize(
    ("language_name", "definition", "use"),
    [
        ("R", "sales.model <- lm(total ~ price, data = shop)", "plot(other{i})"),
        ("julia", "function area_of(r)\n  pi * r^2\nend", "println(other{i})"),
    ],
)
def test_other_languages_find_their_definitions_in_a_small_budget(
    language_name: str, definition: str, use: str
) -> None:
    name = "sales.model" if language_name == "R" else "area_of"
    cells = [{"cell_type": "code", "source": definition, "outputs": []}]
    cells += [{"cell_type": "code", "source": use.format(i=i), "outputs": []} for i in range(200)]
    notebook = {"cells": cells, "metadata": {"kernelspec": {"language": language_name}}}
    built = build([Message("user", (f"How is {name} defined?",))], notebook, budget=900, count=count)
    text = built.messages[-1].text
    assert definition.split("\n")[-2 if "\n" in definition else 0].strip() in text
    assert f'language="{language_name.lower()}"' in text
