"""Writes a llama of 13 M random weights in 4 bit that answers with meaningless text of any length; without torch.

Every token that it says hangs on all that it has read, so that a wrong number anywhere shows in its text.
(`tests/clockwork.py` writes the model whose answer is known beforehand.)
"""

from __future__ import annotations

import json
from pathlib import Path

import nf4_llama
import numpy as np

WINDOW = 16_384
HIDDEN, INNER = 128, 256
SHAPE = nf4_llama.Shape(HIDDEN, INNER, layers=3, heads=2, kv_heads=1, head_dim=64)
# random weights of the usual size give flat scores; these make choices stable
SCALE, SPREAD = 0.11, 0.06


def build(folder: Path, tokenizer_from: Path, window: int = WINDOW) -> Path:
    """Write the folder, which must not exist, and return it. tokenizer_from: another model's folder in 4 bit."""
    words = int(json.loads((tokenizer_from / "config.json").read_text())["vocab_size"])
    random = np.random.default_rng(0)
    embeddings, head = (SPREAD * random.standard_normal((words, HIDDEN), np.float32) for _ in range(2))
    weights = nf4_llama.Weights(embeddings, head, lambda _, size: random.bytes(size), SCALE)
    return nf4_llama.write(folder, tokenizer_from, SHAPE, weights, window)
