"""Measures the time to the first token and the cached share of the prompt, for several questions on one notebook.

    python tests/benchmarks/context_first_token.py NOTEBOOK.ipynb [--cells 100] [--model NAME] [--budget 4000]

The model must be on disk (JUPYTER_MISTRAL_HOME). Each run has its own cache folder, so its first question is cold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import End, Usage
from jupyter_mistral.protocol.requests import ChatRequest, Extras, Sampling
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.inference.local import LocalEngine
from jupyter_mistral.server.prompts.builder import PromptBuilder


async def ask(engine: LocalEngine, book: dict[str, Any], question: str, budget: int) -> Usage:
    extras = Extras(notebook=book, budget=budget, client="benchmark")
    sampling = Sampling(temperature=0.0, max_tokens=2)
    request = ChatRequest((Message("user", (question,)),), sampling=sampling, extras=extras)
    async with contextlib.aclosing(engine.stream(request)) as events:
        async for event in events:
            if isinstance(event, End):
                return event.usage
    raise AssertionError("the stream ends with an End event")


async def measure(book: dict[str, Any], model: str, budget: int) -> None:
    engine = LocalEngine(Options(default_model=model, idle_work_after_s=0), PromptBuilder(), logging.getLogger())
    cold_s = 0.0

    async def row(label: str, notebook: dict[str, Any], question: str) -> None:
        nonlocal cold_s
        usage = await ask(engine, notebook, question, budget)
        first = usage.time_to_first_token_s
        cold_s = cold_s or first
        share = usage.cached_tokens / usage.prompt_tokens
        print(
            f"{label:32} {first:7.2f} s  cached {usage.cached_tokens:6,} of {usage.prompt_tokens:6,} tokens "
            f"({share:6.1%})  {cold_s / first:5.1f}x",
            flush=True,
        )

    try:
        async for _ in engine.load(None):
            pass
        await row("cold", book, "What is this notebook about?")
        await row("same question again", book, "What is this notebook about?")
        await row("new question", book, "Which model does it train first?")
        changed = copy.deepcopy(book)
        code = [cell for cell in changed["cells"] if cell["cell_type"] == "code"]
        code[len(code) // 2]["source"] = "changed = 1"
        await row("a cell in the middle edited", changed, "What was changed?")
        changed["cells"].append({"cell_type": "code", "id": "appended", "source": "appended = 1", "outputs": []})
        await row("a cell appended", changed, "What is new at the end?")
        await engine.unload()
        async for _ in engine.load(None):
            pass
        await row("after a restart, from disk", changed, "What is new at the end?")
    finally:
        await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--budget", type=int, default=4000)
    parser.add_argument("--cells", type=int, help="use only so many cells, so that the notebook fits into the budget")
    args = parser.parse_args()
    book = {**json.loads(args.notebook.read_text()), "path": args.notebook.name}
    book["cells"] = book["cells"][: args.cells]
    from jupyter_mistral.models import store

    models = store.home() / "models"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(models)
        os.environ[HOME_ENV] = folder
        asyncio.run(measure(book, args.model, args.budget))


if __name__ == "__main__":
    main()
