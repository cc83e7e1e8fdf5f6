"""A model with known answers: a real 4-bit folder that the real engine loads in a moment.

`build(folder, tokenizer_from)` writes a llama with two layers, 64 wide, and the tokenizer and chat template of another model's
4-bit folder. The engine takes the folder by path: as `default_model`, in `load`, with `--model`. A link to it at
`models/NAME/nf4` of a `JUPYTER_MISTRAL_HOME` makes it the model NAME of the catalogue there.

- It answers any chat question with `Yes.` at any temperature, and continues any text that ends with a line break the same way.
- After any other token the answer ends at once, without text.
- With a grammar it writes almost the shortest text that is allowed, such as `{"name":"","age":1}`, or `[1,1,1]` for three
  numbers. A grammar that requires a long text gives a long answer: two tokens per number, at most some hundreds of tokens per
  second, until `max_tokens` or the `window` is reached.

The last matrix of each layer is zero, so the layers add nothing and the next token depends on the last one alone: one
dimension of the state is the same for all tokens, others mark the links of the chain, and the head has rows for what follows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import nf4_llama
import numpy as np
from tokenizers import Tokenizer

ANSWER = "Yes."  # to any question
# the end of a question in the known templates, then the answer, one token each
CHAIN = ("\n", "Yes", ".")
# the first of these that a grammar allows comes next
SHORTEST = ('"', "}", "]", ",", ":", "1", "{", "[")

HIDDEN = 64
SHAPE = nf4_llama.Shape(HIDDEN, inner=128, layers=2, heads=2, kv_heads=1, head_dim=32)
# scores of a link of the chain, of the end (half of it), and of a grammar's choices (far below)
LINK, END, CHOICES = 32.0, 16.0, 4.0
ZEROS = 0x77  # a byte of two weights, both with code 7, which is 0.0
LAST = ("self_attn.o_proj", "mlp.down_proj")


def build(folder: Path, tokenizer_from: Path, *, window: int = 32_768) -> Path:
    """Write the folder, which must not exist, and return it. window: the context length in tokens."""
    of = json.loads((tokenizer_from / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(tokenizer_from / "text_tokenizer.json"))
    chain, choices = ([_token(tokenizer, text) for text in texts] for texts in (CHAIN, SHORTEST))
    embeddings, head = _tables(int(of["vocab_size"]), chain, choices, int(of["eos_token_id"]))
    others = random.Random(0)

    def packed(name: str, size: int) -> bytes:
        return bytes([ZEROS]) * size if name in LAST else others.randbytes(size)

    weights = nf4_llama.Weights(embeddings, head, packed, scale=1.0)
    return nf4_llama.write(folder, tokenizer_from, SHAPE, weights, window)


def _token(tokenizer: Tokenizer, text: str) -> int:
    (token,) = tokenizer.encode(text, add_special_tokens=False).ids
    return int(token)


def _tables(
    words: int, chain: Sequence[int], choices: Sequence[int], end: int
) -> tuple[nf4_llama.Array, nf4_llama.Array]:
    """The embeddings, whose first dimension is the same for all tokens, and the head."""
    embeddings, head = (np.zeros((words, HIDDEN), np.float32) for _ in range(2))
    embeddings[:, 0] = 1.0
    head[end, 0] = END
    for rank, token in enumerate(choices):
        head[token, 0] = CHOICES * (1 - rank / len(choices))
    for part, (token, following) in enumerate(pairwise(chain), 1):
        embeddings[token, part] = 1.0
        head[following, part] = LINK
    return embeddings, head
