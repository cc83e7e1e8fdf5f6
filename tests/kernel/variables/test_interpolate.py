"""Braces in a question: replaced if they contain one known reference, left alone otherwise."""

from __future__ import annotations

import pytest
from jupyter_mistral.kernel.variables.interpolate import Lookup, fill

NAMESPACE = {
    "x": 3,
    "name": "Ann",
    "price": 1.5,
    "big": list(range(10_000)),
    "config": {"user": "ann", "password": "hunter2hunter2"},
    "api_key": "abcdefgh",
    "text": "long " * 20_000,
    "_private": 1,
    "In": ["", "wrong: this is transformed"],
    "Out": {2: "the output", 4: [1, 2]},
}
LOOKUP = Lookup(NAMESPACE, ["", "a = 1", "%matplotlib inline", "now"], {3: "Traceback of 3"})


@pytest.mark.parametrize(
    ("prompt", "filled"),
    [
        ("{x}", "3"),
        ("Greet {name}, {name}!", "Greet Ann, Ann!"),
        ("a{x}b={price}", "a3b=1.5"),
        ("{In[1]}", "a = 1"),
        ("{In[2]}", "%matplotlib inline"),
        ("{Out[2]}", "the output"),
        ("{Err[3]}", "Traceback of 3"),
        ("```python\n{In[1]}\n```", "```python\na = 1\n```"),
        ("{Out[4]}", "Out[4]: list = [1, 2]"),
    ],
)
def test_a_known_reference_is_replaced(prompt: str, filled: str) -> None:
    assert fill(prompt, LOOKUP) == filled


@pytest.mark.parametrize(
    "prompt",
    [
        "{}",
        "{unknown}",
        "{'a': 1}",
        '{"x": {"name": 2}}',
        "{x: 1}",
        "{x:.2f}",
        "{x!r}",
        "{1+1}",
        "{x.real}",
        "{x[0]}",
        "{ x }",
        "{{x}}",
        "{{{x}}}",
        "{x",
        "x}",
        "print(f'{x} is {price:.2f}')",
        'print(f"{x}")',
        'rf\'{x}\' + F"""\n{name}\n"""',
        "const s = `${x}`;",
        r"\frac{x}{x} + x^{x} + a_{x} + \mathbf{name}",
        "{In[9]} {In[0]} {Out[9]} {Err[9]} {In[]} {In[-1]} {In}",
        "{In[3]}",
        "set {1, 2} and {x, name}",
        "function f() { return x }",
        "{_private}",
    ],
)
def test_every_other_brace_stays_as_it_is(prompt: str) -> None:
    lookup = Lookup({k: v for k, v in NAMESPACE.items() if k != "In"}, ["", "a = 1"], {})
    assert fill(prompt, lookup) == prompt


def test_a_large_value_is_described_only() -> None:
    assert fill("sum {big}", LOOKUP) == "sum big: list = [0, 1, 2, 3, 4, … 10,000 items]"


def test_a_long_text_is_cut_and_says_so() -> None:
    filled = fill("{text}", LOOKUP)
    assert len(filled) < 51_000
    assert filled.endswith("… (50,000 characters more)")


@pytest.mark.threat("T27")
def test_secrets_are_hidden() -> None:
    assert fill("{api_key} {config}", LOOKUP) == "‹hidden› config: dict = {'user': 'ann', 'password': ‹hidden›}"


def test_a_dataframe_becomes_its_schema_and_first_rows() -> None:
    pandas = pytest.importorskip("pandas", reason="the extra [test] brings pandas")
    frame = pandas.DataFrame({"month": ["Jan", "Feb"] * 50_000, "revenue": range(100_000)})
    filled = fill("plot {df}", Lookup({"df": frame}, [], {}))
    assert filled.startswith("plot df: DataFrame = 100,000 rows × 2 columns")
    assert "- revenue (int64): 0 … 99999" in filled
    assert "- month (str): Jan, Feb" in filled or "- month (object): Jan, Feb" in filled
    assert len(filled) < 500
