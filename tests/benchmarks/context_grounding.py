"""Measures how many of the facts that an answer needs are in the prompt, compared with two baselines. Run it by hand:

    python tests/benchmarks/context_grounding.py NOTEBOOKS_FOLDER TOKENIZER_JSON [--set held_out|tuned_on] [--misses]

`grounding/held_out.json` was written before the search was tuned and is never tuned on; `tuned_on.json` was.
--follow-ups: instead, asks the same questions five in a row on each notebook, in a fixed random order, and measures how many
facts of the second to the fifth are in their prompts, and the share of the prompt that equals the start of the previous one.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from jupyter_mistral.context import Counter, build
from jupyter_mistral.context.notebook import cells
from jupyter_mistral.context.search import relevance
from jupyter_mistral.context.token_counts import TokenCounter
from jupyter_mistral.protocol.conversation import Message

BUDGETS = (2000, 4000, 8000, 16000)
Method = Callable[[dict[str, Any], dict[str, Any], int, Counter], str]


def ours(notebook: dict[str, Any], row: dict[str, Any], budget: int, count: Counter) -> str:
    """Our search, with the focus of the question."""
    return _prompt(notebook, row, row["focus"], budget, count)


def ours_without_focus(notebook: dict[str, Any], row: dict[str, Any], budget: int, count: Counter) -> str:
    return _prompt(notebook, row, None, budget, count)


def _prompt(notebook: dict[str, Any], row: dict[str, Any], focus: int | None, budget: int, count: Counter) -> str:
    built = build([Message("user", (row["question"],))], notebook, focus=focus, budget=budget, count=count)
    assert built.total_tokens <= budget
    return "\n".join(message.text for message in built.messages)


def nearest(notebook: dict[str, Any], row: dict[str, Any], budget: int, count: Counter) -> str:
    """Complete cells, those closest to the focus first."""
    texts = _texts(notebook)
    return _fill(texts, sorted(range(len(texts)), key=lambda i: abs(i - row["focus"])), budget, count)


def bm25(notebook: dict[str, Any], row: dict[str, Any], budget: int, count: Counter) -> str:
    """Complete cells, ranked by BM25 over their words alone."""
    texts = _texts(notebook)
    plain = [cells.Cell(i, "markdown", text.replace("#", " ")) for i, text in enumerate(texts)]
    wanted = {t: 1.0 for t in relevance.Question(row["question"]).weighted_terms() if t[0] not in "~^="}
    scores = relevance.index(plain).score(wanted)
    return _fill(texts, sorted(range(len(texts)), key=lambda i: -scores[i]), budget, count)


def _texts(notebook: dict[str, Any]) -> list[str]:
    return ["\n".join([c.source, *(o.text for o in c.outputs)]) for c in cells.read(notebook)]


def _fill(texts: list[str], order: list[int], budget: int, count: Counter) -> str:
    kept = []
    for i, tokens in zip(order, count([texts[i] for i in order]), strict=True):
        if tokens + 8 <= budget:
            kept.append(texts[i])
            budget -= tokens + 8
    return "\n".join(kept)


# ------------------------------------------------------------------------------------------------ follow-ups

IN_A_ROW = 5
ANSWER = "As the notebook shows, that is so [cell 1]. " * 6


def rows_in_a_row(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Questions on one notebook, most about another part than the one before."""
    for name in sorted({row["notebook"] for row in rows}):
        mine = [row for row in rows if row["notebook"] == name]
        random.Random(name).shuffle(mine)
        for start in range(0, len(mine), IN_A_ROW):
            yield mine[start : start + IN_A_ROW]


def follow_ups(
    rows: list[dict[str, Any]], is_chat: bool, budget: int, count: Counter, folder: Path
) -> tuple[float, float, list[str]]:
    """The share of facts found, the share of tokens that equal the start of the previous prompt, and the missing facts.

    is_chat: send the earlier questions and answers, too.
    """
    found = total = same = tokens = 0
    misses = []
    for asked in rows_in_a_row(rows):
        turns: list[Message] = []
        snapshot, before = None, ""
        for i, row in enumerate(asked):
            turns = [*(turns if is_chat else []), Message("user", (row["question"],))]
            built = build(turns, read(folder / row["notebook"]), budget=budget, count=count, snapshot=snapshot)
            assert built.total_tokens <= budget
            snapshot, text = built.snapshot, "\n".join(message.text for message in built.messages)
            turns.append(Message("assistant", (ANSWER,)))
            if i:
                hits = [fact for fact in row["facts"] if " ".join(fact.split()) in " ".join(text.split())]
                found += len(hits)
                total += len(row["facts"])
                misses += [f"{row['question']} -> {fact}" for fact in row["facts"] if fact not in hits]
                same += count([common(before, text)])[0]
                tokens += built.total_tokens
            before = text
    return found / total, same / tokens, misses


def common(one: str, other: str) -> str:
    """The common prefix."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@cache
def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text())
    return notebook


def share(
    rows: list[dict[str, Any]], method: Method, budget: int, count: Counter, folder: Path
) -> tuple[float, list[str]]:
    """The share of facts found, and the missing facts. Ignores whitespace."""
    found = total = 0
    misses = []
    for row in rows:
        notebook = read(folder / row["notebook"])
        text = " ".join(method(notebook, row, budget, count).split())
        for fact in row["facts"]:
            total += 1
            if " ".join(fact.split()) in text:
                found += 1
            else:
                misses.append(f"{row['notebook'][:14]} {row['question']} -> {fact}")
    return found / total, misses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--set", default="both", choices=("held_out", "tuned_on", "both"))
    parser.add_argument("--misses", action="store_true", help="list the missing facts (not for the held-out set)")
    parser.add_argument("--follow-ups", action="store_true", help="ask several questions in a row on each notebook")
    args = parser.parse_args()
    count = Counter(TokenCounter(args.tokenizer).count)
    for name in ("tuned_on", "held_out") if args.set == "both" else (args.set,):
        rows = json.loads((Path(__file__).parent / "grounding" / f"{name}.json").read_text())
        facts = sum(len(row["facts"]) for row in rows)
        print(f"{name}: {len(rows)} questions, {facts} facts")
        if args.follow_ups:
            for label, is_chat in (("each alone", False), ("in one chat", True)):
                print(f"  {label:12}", end="", flush=True)
                for budget in BUDGETS:
                    grounded, same, missed = follow_ups(rows, is_chat, budget, count, args.notebooks)
                    print(f" {budget // 1000}k {grounded:6.1%} same {same:6.1%}", end="", flush=True)
                    if args.misses:
                        print(*(f"\n      {line}" for line in missed), end="")
                print()
            continue
        for method in (nearest, bm25, ours_without_focus, ours):
            results = [share(rows, method, budget, count, args.notebooks) for budget in BUDGETS]
            print(
                f"  {method.__name__:20}", *(f"{b // 1000}k {r[0]:6.1%}" for b, r in zip(BUDGETS, results, strict=True))
            )
            if args.misses and method in (ours, ours_without_focus):
                for budget, (_, missed) in zip(BUDGETS, results, strict=True):
                    print(*(f"      {budget}: {line}" for line in missed), sep="\n")


if __name__ == "__main__":
    main()
