"""A small byte-level tokenizer, trained here, and cells to build prompts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jupyter_mistral.context import Count
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# how the tokenizers of Mistral (tekken), Qwen and Llama 3 split text before merging
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEXT = [
    "[cell 1] In[2]\nimport pandas as pd\n",
    "[output 3]\nthe mean is 0.25\n",
    "Question:\nWhat is it?\n\n\n",
    "- x: int = 1\n",
] * 50


def _tokenizer(style: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=style == "gpt2")
    split = [] if style == "gpt2" else [pre_tokenizers.Split(Regex(_QWEN), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


@pytest.fixture(scope="session", params=["qwen", "gpt2"])
def count(request: pytest.FixtureRequest) -> Count:
    tokenizer = _tokenizer(request.param)
    return lambda texts: [len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture
def code() -> Callable[..., dict[str, Any]]:
    """A code cell: source, run number, and outputs as texts or as raw nbformat."""

    def make(source: str, run: int | None = None, *outputs: Any, key: str | None = None) -> dict[str, Any]:
        raw = [o if isinstance(o, dict) else {"output_type": "stream", "name": "stdout", "text": o} for o in outputs]
        cell = {"cell_type": "code", "source": source, "execution_count": run, "outputs": raw, "metadata": {}}
        return cell | ({"id": key} if key else {})

    return make


@pytest.fixture
def long_notebook(code: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """120 different cells."""
    cells = []
    for i in range(60):
        cells.append(
            {"cell_type": "markdown", "source": f"## Part {i}\nHere measurement number {i} is taken.", "id": f"m{i}"}
        )
        cells.append(code(f"value_{i} = measure({i})\nprint(value_{i})", i + 1, f"result {i * 7919}\n", key=f"c{i}"))
    return {"cells": cells, "path": "long.ipynb"}
