"""Descriptions of variables: bounded, without secrets, without running the user's code."""

from __future__ import annotations

import enum
import math
import sys
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.kernel.variables.describe import describe, summarize, variables
from jupyter_mistral.kernel.variables.masking import is_secret_name


class Loud:
    """Fails when any of its methods is called."""

    def __repr__(self) -> str:
        raise AssertionError("the user's code was run")

    __str__ = __len__ = __iter__ = __bool__ = __repr__  # type: ignore[assignment]

    @property
    def costly(self) -> int:
        raise AssertionError("the user's code was run")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the user's code was run for {name}")


@dataclass
class Point:
    x: int
    y: float
    token: str = "very secret"


class Colour(enum.Enum):
    RED = 1


class OwnSummary:
    def _repr_llm_(self) -> str:
        return "a model of 3 layers"


@pytest.mark.parametrize(
    ("value", "summary"),
    [
        (3, "3"),
        (10**400, "an integer of 1329 bits"),
        (1.5, "1.5"),
        (None, "None"),
        ("abc", "'abc'"),
        ("z" * 1000, f"'{'z' * 160}'… (1,000 characters)"),
        (b"ab", "b'ab'"),
        ([1, 2], "[1, 2]"),
        ((1,), "(1)"),
        (list(range(1000)), "[0, 1, 2, 3, 4, … 1,000 items]"),
        ({"a": 1, "b": [1, {"c": [1]}]}, "{'a': 1, 'b': [1, {… 1 keys}]}"),
        (OrderedDict(a=1), "{'a': 1}"),
        (Counter("aab"), "{'a': 2, 'b': 1}"),
        (deque([1, 2]), "[1, 2]"),
        (Path("/etc"), "PosixPath('/etc')"),
        (Colour.RED, "Colour.RED"),
        (Point(1, 2.0), "Point(x=1, y=2.0, token=‹hidden›)"),
        (OwnSummary(), "a model of 3 layers"),
        (range(3), "range(0, 3)"),
    ],
)
def test_a_summary_is_short_and_plain(value: Any, summary: str) -> None:
    assert summarize("v", value) == summary


def test_a_users_repr_is_never_run() -> None:
    loud = object.__new__(Loud)
    assert summarize("v", loud) == ""
    assert "Loud" in summarize("v", [loud])
    assert describe("v", {"a": loud}).startswith("v: dict = {'a': ")


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert summarize("v", loop) == "[1, [1, [… 2 items]]]"


def test_no_summary_is_longer_than_asked_for() -> None:
    deep = {f"key {i}": ["x" * 1000] * 100 for i in range(1000)}
    assert len(summarize("v", deep)) <= 1200
    assert len(summarize("v", deep, 50)) == 50


def test_modules_functions_private_names_and_ipythons_own_are_omitted() -> None:
    namespace = {
        "math": math,
        "f": len,
        "g": lambda: 0,
        "Point": Point,
        "_1": 2,
        "__name__": "m",
        "In": [],
        "Out": {},
        "x": 1,
    }
    assert [v["name"] for v in variables(namespace)] == ["x"]


def test_the_newest_are_first_and_names_select() -> None:
    namespace = {"a": 1, "b": 2, "c": 3}
    assert [v["name"] for v in variables(namespace, limit=2)] == ["c", "b"]
    assert [v["name"] for v in variables(namespace, ["a", "c", "nothing"])] == ["a", "c"]


def test_types_are_listed_even_after_the_time_budget() -> None:
    ticks = iter([0.0, 0.1, 9.0, 9.1])
    descriptions = variables({"a": 1, "b": "x"}, ["a", "b"], budget_s=1.0, clock=lambda: next(ticks))
    assert descriptions == [{"name": "a", "type": "int", "summary": "1"}, {"name": "b", "type": "str", "summary": ""}]


@pytest.mark.parametrize(
    "name", ["API_KEY", "hfToken", "db_password", "my_secret", "aws_credentials", "auth", "PASSWD"]
)
def test_a_name_that_suggests_a_secret_hides_the_value(name: str) -> None:
    assert is_secret_name(name)
    assert summarize(name, "abcdef") == summarize(name, {"a": "abcdef"}) == "‹hidden›"


@pytest.mark.parametrize("name", ["monkey", "keyboard", "tokenizer", "author", "passenger", "x"])
def test_a_similar_name_hides_nothing(name: str) -> None:
    assert summarize(name, "abcdef") == "'abcdef'"


@pytest.mark.parametrize(
    "secret",
    ["hf_" + "aB3" * 12, "ghp_" + "x1Y" * 12, "sk-proj-" + "Q7w" * 12, "postgres://ann:s3cretpw@db.local/x"],
)
def test_a_value_that_looks_like_a_secret_is_hidden_under_any_name(secret: str) -> None:
    shown = summarize("note", {"url": secret, "list": [secret]})
    assert secret not in shown
    assert "‹hidden›" in shown


def test_pandas_tables_show_columns_nulls_ranges_and_rows_and_hide_secrets() -> None:
    pandas = pytest.importorskip("pandas", reason="the extra [test] brings pandas")
    frame = pandas.DataFrame(
        {
            "n": [1.0, 2.0, None, 4.0],
            "who": ["a", "b", "c", "d"],
            "api_key": ["k1", "k2", "k3", "k4"],
            "odd": [[1], {}, 3, Point(1, 1)],
        },
        index=pandas.date_range("2026-01-01", periods=4),
    )
    assert describe("df", frame).splitlines() == [
        "df: DataFrame = 4 rows × 4 columns, index DatetimeIndex 2026-01-01 00:00:00 … 2026-01-04 00:00:00",
        "- n (float64): 25% null; 1 … 4",
        f"- who ({frame.who.dtype}): a, b, c, d",
        f"- api_key ({frame.api_key.dtype}): ‹hidden›",
        "- odd (object): list of 1, dict of 0, 3, Point",
        "first rows:",
        "1 | a | ‹hidden› | list of 1",
        "2 | b | ‹hidden› | dict of 0",
        "nan | c | ‹hidden› | 3",
    ]
    assert summarize("s", frame["n"]).startswith("n, 4 values of float64; index DatetimeIndex")
    assert "0 rows × 0 columns" in summarize("e", pandas.DataFrame())
    assert "- … 460 more columns" in summarize("wide", pandas.DataFrame([range(500)]))
    huge = pandas.DataFrame({"n": range(1_000_001)})
    assert summarize("huge", huge).startswith("1,000,001 rows × 1 columns (null shares and ranges from every 6th row)")
    many = pandas.DataFrame([[1, 2]], columns=["twice", "twice"])
    assert summarize("many", many).count("twice") == 2


def test_arrays_show_shape_type_and_range() -> None:
    numpy = pytest.importorskip("numpy", reason="the extra [test] brings numpy")
    assert summarize("a", numpy.arange(12.0).reshape(3, 4)) == (
        "shape (3, 4), float64; 0 … 11, mean 5.5; first: 0, 1, 2, 3, 4"
    )
    assert summarize("a", numpy.float32(1.5)) == "1.5 (float32)"
    assert summarize("a", numpy.array([object()])) == "shape (1,), object"
    assert summarize("a", numpy.zeros((0, 3))) == "shape (0, 3), float64"


def test_tensors_and_modules_are_read_without_importing_torch() -> None:
    torch = pytest.importorskip("torch", reason="the extra [engine] brings torch")
    tensor = torch.arange(4.0, requires_grad=True)
    assert summarize("t", tensor) == "shape (4,), float32 on cpu; requires grad; first: 0, 1, 2, 3; 0 … 3"
    assert summarize("m", torch.nn.Linear(2, 3)) == "9 parameters"


@pytest.mark.parametrize("library", ["polars", "xarray"])
def test_other_tables_are_read_where_they_are_installed(library: str) -> None:
    module = pytest.importorskip(library, reason=f"{library} is not among the extras")
    if library == "polars":
        shown = summarize("df", module.DataFrame({"n": [1, None], "s": ["a", "b"]}))
        assert "2 rows × 2 columns (polars)\n- n (Int64): 50% null; 1 … 1\n- s (String): a, b" in shown
    else:
        shown = summarize("da", module.DataArray([[1.0, 2.0]], dims=("time", "place")))
        assert shown == "(time 1, place 2), float64; coordinates: none"


def test_describing_imports_no_library() -> None:
    code = (
        "import sys; from jupyter_mistral.kernel.variables.describe import variables; variables({'a': [1], 'b': object()});"
        "print(sorted({'numpy', 'pandas', 'polars', 'torch', 'xarray'} & set(sys.modules)))"
    )
    import subprocess

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
