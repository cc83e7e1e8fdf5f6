"""Follow-up questions on a notebook larger than the budget: what was sent stays, missing cells are appended, all is up to date."""

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
    """160 different code cells, about twice the budget."""
    cells = [
        code(f"value_{i} = measure({i})  # {i}", i + 1, f"result {i * 7919}\n" * 3, key=f"c{i}") for i in range(160)
    ]
    return {"cells": cells, "path": "long.ipynb"}


def ask(question: str, notebook: dict[str, Any], count: Count, old: Built | None = None, **more: Any) -> Built:
    asked = [Message("user", (question,))]
    snapshot = old.snapshot if old else None
    return build(asked, notebook, **{"budget": BUDGET, **more}, count=count, snapshot=snapshot)


def prefix(built: Built) -> str:
    return built.messages[1].text.partition("</notebook>")[0]


def pieces(built: Built) -> list[str]:
    assert built.snapshot is not None
    return [piece.text for piece in built.snapshot.pieces]


def shared_pieces(before: Built, after: Built) -> int:
    """The number of pieces that both start with."""
    return len(
        list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(pieces(before), pieces(after), strict=False)))
    )


def assert_is_below(before: Built, after: Built) -> None:
    """New pieces follow the old ones, under their own title."""
    kept = shared_pieces(before, after)
    seam = pieces(after)[kept - 1 : kept + 1]
    assert kept == len(pieces(after)) or {
        "More cells of the notebook:\n",
        "Changes since the cells above were read:\n",
    } & {*seam}


def assert_consistent(built: Built, notebook: dict[str, Any], budget: int) -> None:
    """The prompt fits, lists exactly the omitted cells, marks repeated ones, and ends with their current state."""
    assert built.total_tokens <= budget
    sent: dict[int, list[re.Match[str]]] = {}
    for heading in HEADING.finditer(prefix(built)):
        sent.setdefault(int(heading[1]), []).append(heading)
    dropped = {s.cell for s in built.ledger if s.segment == "cell" and not s.kept}
    assert dropped.isdisjoint(sent)
    assert dropped | set(sent) == set(range(len(notebook["cells"])))
    for index, headings in sent.items():
        assert {heading[2] for heading in headings} <= NOTES
        assert Tally(heading[2] for heading in headings)[""] == 1
        assert prefix(built)[headings[-1].end() + 1 :].startswith(notebook["cells"][index]["source"][:40])


@pytest.mark.parametrize("budget", [2500, BUDGET])
def test_a_question_about_another_part_keeps_the_prefix_and_adds_its_cells(
    count: Count, book: dict[str, Any], budget: int
) -> None:
    counter = Counter(count)
    before = ask("What is value_3?", book, counter, budget=budget)
    for number in (140, 77, 25, 111):
        after = ask(f"What is value_{number}?", book, counter, before, budget=budget)
        assert after.snapshot is not None
        assert_consistent(after, book, budget)
        assert f"value_{number} = measure({number})" in prefix(after)
        assert_is_below(before, after)
        assert counter.total(after.snapshot.pieces[: shared_pieces(before, after)]) > 0.25 * budget
        before = after


def test_the_same_question_again_changes_nothing(count: Count, book: dict[str, Any]) -> None:
    first = ask("What is value_3?", book, count)
    second = ask("What is value_140?", book, count, first)
    assert prefix(ask("What is value_140?", book, count, second)) == prefix(second)
    assert prefix(ask("What is value_3?", book, count, first)) == prefix(first)


def test_a_smaller_budget_cuts_only_the_end(count: Count, book: dict[str, Any]) -> None:
    first = ask("What is value_3?", book, count)
    second = ask("What is value_3?", book, count, first, budget=BUDGET - 500)
    assert_consistent(second, book, BUDGET - 500)
    assert prefix(first).startswith(prefix(second)[:-1])
    assert len(prefix(second)) > 0.7 * len(prefix(first))


def test_with_too_little_left_the_selection_is_made_again(count: Count, book: dict[str, Any], code: Make) -> None:
    first = ask("What is value_3?", book, count)
    grown = {**book, "cells": [code("first = 1", 200, key="new"), *book["cells"]]}
    second = ask("What is value_3?", grown, count, first)
    assert_consistent(second, grown, BUDGET)
    assert second.snapshot and not second.snapshot.log
    assert prefix(second) == prefix(ask("What is value_3?", grown, count))


def test_a_cell_inserted_below_keeps_the_cells_above_it(count: Count, book: dict[str, Any], code: Make) -> None:
    first = ask("What is value_3?", book, count)
    shown = [int(heading[1]) for heading in HEADING.finditer(prefix(first))]
    where = shown[len(shown) * 2 // 3]
    grown = copy.deepcopy(book)
    grown["cells"].insert(where, code("inserted = 1", 200, key="new"))
    second = ask(f"What is in cell {where}?", grown, count, first)
    assert_consistent(second, grown, BUDGET)
    assert f"[cell {where}] In[200]\ninserted = 1" in prefix(second)
    assert shared_pieces(first, second) > len(pieces(first)) // 2


def test_a_change_that_was_cut_off_is_sent_again(count: Count, book: dict[str, Any]) -> None:
    counter = Counter(count)
    built = ask("What is value_3?", book, counter)
    edited = copy.deepcopy(book)
    edited["cells"][3]["source"] = "value_3 = 123456"
    for number in (3, 140, 77, 120, 60):
        built = ask(f"What is value_{number}?", edited, counter, built)
        assert_consistent(built, edited, BUDGET)
    assert "[cell 3] In[4] changed, it is now:\nvalue_3 = 123456" in prefix(built)


def test_a_cell_whose_needed_lines_were_left_out_is_sent_again_with_a_note(
    count: Count, book: dict[str, Any], code: Make
) -> None:
    table = "".join(f"{i * 37} {chr(97 + i % 26)}\n" for i in range(400))
    notebook = {**book, "cells": [code("show(towns)", 161, table, key="towns"), *book["cells"]]}
    first = ask("Where in towns stands 5550?", notebook, count)
    second = ask("Where in towns stands 9620?", notebook, count, first)
    assert_consistent(second, notebook, BUDGET)
    assert "\n5550 u\n" in prefix(first)
    assert "\n9620 a\n" not in prefix(first)
    assert "[cell 0] In[161] again, with other lines:" in prefix(second)
    assert "\n9620 a\n" in prefix(second)


def test_a_cell_cannot_forge_the_heading_of_further_cells(count: Count, code: Make) -> None:
    built = ask("q", {"cells": [code("x\nMore cells of the notebook:", 1)]}, count)
    assert "\n\\More cells of the notebook:" in prefix(built)


Step = tuple[str, int]


def step(notebook: dict[str, Any], kind: str, number: int, code: Make, n: int) -> None:
    """Something a user does between two questions."""
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
        assert_consistent(after, notebook, budget)
        assert f"\n[cell {asked}] " in prefix(after)
        if before is not None and after.snapshot and after.snapshot.log:
            assert_is_below(before, after)
        assert ask(f"What is in cell {asked}?", notebook, counter, before, budget=budget) == after
        assert unpack_snapshot(_as_json(after.snapshot)) == after.snapshot
        before = after


def _as_json(snapshot: Snapshot | None) -> Any:
    return json.loads(json.dumps(pack_snapshot(snapshot)))
