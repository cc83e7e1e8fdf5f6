"""Questions in a row on a notebook larger than the budget: what was told stays, what is lacked comes below, nothing is told wrongly."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from effort import IS_ALL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_mistral.context import Built, Count, Counter, Snapshot, build
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.server.http.large_body_format import pack_snapshot, unpack_snapshot

Make = Callable[..., dict[str, Any]]
BUDGET = 4000
HEADING = re.compile(r"^\[cell (\d+)\] (?:text|In\[[ \d]*\])(.*)$", re.M)
NOTES = {"", " changed, it is now:", " again, with other lines:"}


@pytest.fixture
def book(code: Make) -> dict[str, Any]:
    """160 code cells about things of their own, about twice the budget."""
    cells = [
        code(f"value_{i} = measure({i})  # {i}", i + 1, f"result {i * 7919}\n" * 3, key=f"c{i}") for i in range(160)
    ]
    return {"cells": cells, "path": "long.ipynb"}


def ask(question: str, notebook: dict[str, Any], count: Count, old: Built | None = None, **more: Any) -> Built:
    asked = [Message("user", (question,))]
    snapshot = old.snapshot if old else None
    return build(asked, notebook, **{"budget": BUDGET, **more}, count=count, snapshot=snapshot)


def front(built: Built) -> str:
    return built.messages[1].text.partition("</notebook>")[0]


def pieces(built: Built) -> list[str]:
    assert built.snapshot is not None
    return [piece.text for piece in built.snapshot.pieces]


def same(before: Built, after: Built) -> int:
    """How many pieces both begin with."""
    return len(
        list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(pieces(before), pieces(after), strict=False)))
    )


def assert_is_below(before: Built, after: Built) -> None:
    """What is not as before stands under a title of its own."""
    kept = same(before, after)
    seam = pieces(after)[kept - 1 : kept + 1]
    assert kept == len(pieces(after)) or {
        "More cells of the notebook:\n",
        "Changes since the cells above were read:\n",
    } & {*seam}


def check(built: Built, notebook: dict[str, Any], budget: int) -> None:
    """Fits, names exactly what is left out, tells nothing twice without saying so, and last of all as it is now."""
    assert built.total_tokens <= budget
    told: dict[int, list[re.Match[str]]] = {}
    for found in HEADING.finditer(front(built)):
        told.setdefault(int(found[1]), []).append(found)
    dropped = {s.cell for s in built.ledger if s.segment == "cell" and not s.kept}
    assert dropped.isdisjoint(told)
    assert dropped | set(told) == set(range(len(notebook["cells"])))
    for index, tellings in told.items():
        assert {found[2] for found in tellings} <= NOTES
        assert Tally(found[2] for found in tellings)[""] == 1
        assert front(built)[tellings[-1].end() + 1 :].startswith(notebook["cells"][index]["source"][:40])


@pytest.mark.parametrize("budget", [2500, BUDGET])
def test_a_question_about_another_part_keeps_what_was_told_and_adds_its_cells(
    count: Count, book: dict[str, Any], budget: int
) -> None:
    counter = Counter(count)
    before = ask("What is value_3?", book, counter, budget=budget)
    for number in (140, 77, 25, 111):
        after = ask(f"What is value_{number}?", book, counter, before, budget=budget)
        assert after.snapshot is not None
        check(after, book, budget)
        assert f"value_{number} = measure({number})" in front(after)
        assert_is_below(before, after)
        assert counter.total(after.snapshot.pieces[: same(before, after)]) > 0.25 * budget
        before = after


def test_the_same_question_again_changes_nothing(count: Count, book: dict[str, Any]) -> None:
    first = ask("What is value_3?", book, count)
    second = ask("What is value_140?", book, count, first)
    assert front(ask("What is value_140?", book, count, second)) == front(second)
    assert front(ask("What is value_3?", book, count, first)) == front(first)


def test_a_room_that_shrinks_takes_from_the_end_alone(count: Count, book: dict[str, Any]) -> None:
    first = ask("What is value_3?", book, count)
    second = ask("What is value_3?", book, count, first, budget=BUDGET - 500)
    check(second, book, BUDGET - 500)
    assert front(first).startswith(front(second)[:-1])
    assert len(front(second)) > 0.7 * len(front(first))


def test_with_too_little_left_all_is_chosen_anew(count: Count, book: dict[str, Any], code: Make) -> None:
    first = ask("What is value_3?", book, count)
    grown = {**book, "cells": [code("first = 1", 200, key="new"), *book["cells"]]}
    second = ask("What is value_3?", grown, count, first)
    check(second, grown, BUDGET)
    assert second.snapshot and not second.snapshot.log
    assert front(second) == front(ask("What is value_3?", grown, count))


def test_a_cell_inserted_below_leaves_what_stands_above_it(count: Count, book: dict[str, Any], code: Make) -> None:
    first = ask("What is value_3?", book, count)
    shown = [int(found[1]) for found in HEADING.finditer(front(first))]
    where = shown[len(shown) * 2 // 3]
    grown = copy.deepcopy(book)
    grown["cells"].insert(where, code("inserted = 1", 200, key="new"))
    second = ask(f"What is in cell {where}?", grown, count, first)
    check(second, grown, BUDGET)
    assert f"[cell {where}] In[200]\ninserted = 1" in front(second)
    assert same(first, second) > len(pieces(first)) // 2


def test_a_change_that_was_told_and_went_with_the_end_is_told_again(count: Count, book: dict[str, Any]) -> None:
    counter = Counter(count)
    built = ask("What is value_3?", book, counter)
    edited = copy.deepcopy(book)
    edited["cells"][3]["source"] = "value_3 = 123456"
    for number in (3, 140, 77, 120, 60):
        built = ask(f"What is value_{number}?", edited, counter, built)
        check(built, edited, BUDGET)
    assert "[cell 3] In[4] changed, it is now:\nvalue_3 = 123456" in front(built)


def test_a_cell_whose_needed_lines_were_left_out_is_told_again_and_says_so(
    count: Count, book: dict[str, Any], code: Make
) -> None:
    table = "".join(f"{i * 37} {chr(97 + i % 26)}\n" for i in range(400))
    notebook = {**book, "cells": [code("show(towns)", 161, table, key="towns"), *book["cells"]]}
    first = ask("Where in towns stands 5550?", notebook, count)
    second = ask("Where in towns stands 9620?", notebook, count, first)
    check(second, notebook, BUDGET)
    assert "\n5550 u\n" in front(first)
    assert "\n9620 a\n" not in front(first)
    assert "[cell 0] In[161] again, with other lines:" in front(second)
    assert "\n9620 a\n" in front(second)


def test_a_cell_cannot_forge_the_heading_of_further_cells(count: Count, code: Make) -> None:
    built = ask("q", {"cells": [code("x\nMore cells of the notebook:", 1)]}, count)
    assert "\n\\More cells of the notebook:" in front(built)


Step = tuple[str, int]


def step(notebook: dict[str, Any], kind: str, number: int, code: Make, n: int) -> None:
    """One thing that a user does between two questions."""
    cells = notebook["cells"]
    at = number % len(cells)
    if kind == "edit":
        cells[at]["source"] = f"edited_{n} = {number}"
    elif kind == "run":
        cells[at]["execution_count"] = 1000 + n
    elif kind == "insert":
        cells.insert(at, code(f"inserted_{n} = {number}", None, key=f"i{n}"))
    elif kind == "append":
        cells.append(code(f"appended_{n} = {number}", None, key=f"a{n}"))
    elif kind == "delete" and len(cells) > 1:
        del cells[at]


_STEPS = st.tuples(
    st.sampled_from(["edit", "run", "insert", "append", "delete", "nothing", "nothing"]), st.integers(0, 400)
)


@settings(max_examples=8 if IS_ALL else 3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_STEPS, min_size=2, max_size=5), budget=st.sampled_from([900, 1500, 2600, BUDGET]))
def test_whatever_the_user_does_between_questions(
    count: Count, book: dict[str, Any], code: Make, steps: Sequence[Step], budget: int
) -> None:
    notebook, counter = copy.deepcopy(book), Counter(count)
    before: Built | None = None
    for n, (kind, number) in enumerate(steps):
        step(notebook, kind, number, code, n)
        asked = number % len(notebook["cells"])
        after = ask(f"What is in cell {asked}?", notebook, counter, before, budget=budget)
        check(after, notebook, budget)
        assert f"\n[cell {asked}] " in front(after)
        if before is not None and after.snapshot and after.snapshot.log:
            assert_is_below(before, after)
        assert ask(f"What is in cell {asked}?", notebook, counter, before, budget=budget) == after
        assert unpack_snapshot(_as_json(after.snapshot)) == after.snapshot
        before = after


def _as_json(snapshot: Snapshot | None) -> Any:
    return json.loads(json.dumps(pack_snapshot(snapshot)))
