"""Measures how long a prompt takes to build, and how much of it the engine has cached. Run it by hand:

python tests/benchmarks/context_speed.py MODEL_FOLDER [NOTEBOOK]
"""

from __future__ import annotations

import copy
import json
import random
import resource
import sys
import time
from os.path import commonprefix
from pathlib import Path
from typing import Any

from jupyter_mistral.context import Built, Counter, build
from jupyter_mistral.context.token_counts import TokenCounter
from jupyter_mistral.protocol.conversation import Message

BUDGET = 60_000


def notebook(count: int, source: int, output: int) -> dict[str, Any]:
    """`count` code cells that each define a name from the one before, with the given number of characters of source and output."""
    draw = random.Random(1)
    cells = []
    for i in range(count):
        text = f"df_{i} = load(df_{max(0, i - 1)})\n"
        while len(text) < source:
            text += f"frame_{draw.randrange(999)}.plot(kind='{draw.random()}')  # step {draw.randrange(999)}\n"
        printed = "\n".join(f"{draw.random()} row {draw.randrange(9999)}" for _ in range(output // 28))
        outputs = [{"output_type": "stream", "name": "stdout", "text": printed}]
        cells.append({"cell_type": "code", "id": f"c{i}", "source": text, "execution_count": i + 1, "outputs": outputs})
    return {"cells": cells}


def timed(label: str, question: str, book: dict[str, Any], count: Counter, before: Built | None = None) -> Built:
    wall, cpu = time.perf_counter(), time.process_time()
    built = build(
        [Message("user", (question,))], book, budget=BUDGET, count=count, snapshot=before.snapshot if before else None
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    reused = ""
    if before is not None:
        texts = ["".join(m.text for m in each.messages) for each in (before, built)]
        same = count([commonprefix(texts)])[0]  # noqa: RUF071  # texts, not paths
        reused = f"  same prefix: {same:,} tokens ({same / built.total_tokens:.1%})"
    print(f"  {label:34} {wall * 1000:8.0f} ms ({cpu * 1000:.0f} ms of CPU)  {built.total_tokens:,} tokens{reused}")
    return built


def follow_ups(book: dict[str, Any], count: Counter) -> None:
    first = timed("cold", "What does the first cell do?", book, count)
    timed("same question again", "What does the first cell do?", book, count, first)
    timed("new question", "And what is printed at the end?", book, count, first)
    edited = copy.deepcopy(book)
    edited["cells"][len(book["cells"]) // 2]["source"] = "changed = 1"
    second = timed("a cell in the middle edited", "What changed?", edited, count, first)
    edited["cells"].append({"cell_type": "code", "id": "appended", "source": "appended = 1", "outputs": []})
    timed("a cell appended", "What is new?", edited, count, second)


def main() -> None:
    count = Counter(TokenCounter(Path(sys.argv[1])).count)
    count(["warm"])
    if len(sys.argv) > 2:
        print(sys.argv[2])
        follow_ups(json.loads(Path(sys.argv[2]).read_text()), count)
    for cells, source, output in ((300, 150, 250), (10_000, 1_000, 9_000)):
        book = notebook(cells, source, output)
        print(f"{cells:,} cells, {len(json.dumps(book)) / 1e6:.1f} MB")
        follow_ups(book, count)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
