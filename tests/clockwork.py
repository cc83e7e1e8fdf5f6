"""A model whose answers are known beforehand: a real folder in 4 bit that the real engine loads in a moment.

`build(folder, tokenizer_from)` writes a llama of two layers, 64 wide, with the tokenizer and the chat template of another
model's 4-bit folder, and gives the folder: the engine takes it by path, as `default_model`, as `load`'s model, as `--model`. A link to it
at `models/NAME/nf4` of a `JUPYTER_MISTRAL_HOME` makes it the model NAME of the catalogue there.

- Any question in a chat is answered `Yes.`, at any temperature, and so is whatever else ends with a line break.
- After any other token the answer ends at once, without a word.
- What a grammar asks for comes about as short as it allows, such as `{"name":"","age":1}`, or `[1,1,1]` for three numbers.
  Where it asks for much, that is an answer that goes on: two tokens a number, some hundreds of tokens a second at most, until
  `max_tokens` or the `window` is full.

The layers' last products are zero, so that what they say adds nothing and the next token depends on the last one alone: one
part of a state is the same for all tokens, others tell the links of the chain, and the head holds rows for what follows each.
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
# the end of a question in the templates that are known, and then the answer, each a token
CHAIN = ("\n", "Yes", ".")
# the first of these that a grammar allows is what comes
SHORTEST = ('"', "}", "]", ",", ":", "1", "{", "[")

HIDDEN = 64
SHAPE = nf4_llama.Shape(HIDDEN, inner=128, layers=2, heads=2, kv_heads=1, head_dim=32)
# scores: of a link of the chain and of the end by these weights, twice apart; of a grammar's choices far below them
LINK, END, CHOICES = 32.0, 16.0, 4.0
ZEROS = 0x77  # a byte of two weights, both the eighth of the code book
LAST = ("self_attn.o_proj", "mlp.down_proj")


def build(folder: Path, tokenizer_from: Path, *, window: int = 32_768) -> Path:
    """Write the folder, which must not exist, and return it. window: tokens of a question with its answer at most."""
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
    """The embeddings, whose first part all tokens share, and the head."""
    embeddings, head = (np.zeros((words, HIDDEN), np.float32) for _ in range(2))
    embeddings[:, 0] = 1.0
    head[end, 0] = END
    for rank, token in enumerate(choices):
        head[token, 0] = CHOICES * (1 - rank / len(choices))
    for part, (token, following) in enumerate(pairwise(chain), 1):
        embeddings[token, part] = 1.0
        head[following, part] = LINK
    return embeddings, head
