"""A model that ticks: a real folder in 4 bit that the real engine loads in a moment and that says what is known beforehand.

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
import shutil
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from jupyter_mistral.models import store
from tokenizers import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "text_tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
ANSWER = "Yes."  # to any question
# the end of a question in the templates that are known, and then the answer, each a token
CHAIN = ("\n", "Yes", ".")
# the first of these that a grammar allows is what comes
SHORTEST = ('"', "}", "]", ",", ":", "1", "{", "[")

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 64, 128, 2, 2, 1, 32
# scores: of a link of the chain and of the end by these weights, twice apart; of a grammar's choices far below them
LINK, END, CHOICES = 32.0, 16.0, 4.0
NF4 = (
    *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)
ZEROS = 0x77  # a byte of two weights, both the eighth of the above
BLOCK, BLOCKS = 64, 256  # weights with a scale together, and scales with a scale together


def build(folder: Path, tokenizer_from: Path, *, window: int = 32_768) -> Path:
    """Write the folder, which must not be there, and return it. `window` is the most tokens of a question with its answer."""
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_from / name, folder / name)
    of = json.loads((tokenizer_from / "config.json").read_text())
    words, end = int(of["vocab_size"]), int(of["eos_token_id"])
    tokenizer = Tokenizer.from_file(str(folder / "text_tokenizer.json"))
    chain, choices = ([_token(tokenizer, text) for text in texts] for texts in (CHAIN, SHORTEST))
    (folder / "config.json").write_text(json.dumps(_config(of, words, window), indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    _write(folder / "model.safetensors", [*_tables(words, chain, choices, end), *_layers()])
    store.write_manifest(folder, {"quantization": "nf4", "source": "clockwork"})
    return folder


def _token(tokenizer: Tokenizer, text: str) -> int:
    (token,) = tokenizer.encode(text, add_special_tokens=False).ids
    return int(token)


def _config(of: dict[str, object], words: int, window: int) -> dict[str, object]:
    shape = {
        "vocab_size": words,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": window,
    }
    ends = {name: of[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    kind = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}
    return {**kind, **shape, **ends, "tie_word_embeddings": False, "quantization_config": of["quantization_config"]}


# ---------------------------------------------------------------------------------------------- weights

Tensor = tuple[str, str, list[int], bytes]  # name, kind, shape, data


def _tables(words: int, chain: Sequence[int], choices: Sequence[int], end: int) -> list[Tensor]:
    """The embeddings, whose first part all tokens share, and the head."""
    embeddings = bytearray(_bf16([1.0] + [0.0] * (HIDDEN - 1)) * words)
    head = bytearray(2 * HIDDEN * words)

    def put(table: bytearray, token: int, part: int, weight: float) -> None:
        at = 2 * (token * HIDDEN + part)
        table[at : at + 2] = _bf16([weight])

    put(head, end, 0, END)
    for rank, token in enumerate(choices):
        put(head, token, 0, CHOICES * (1 - rank / len(choices)))
    for part, (token, following) in enumerate(pairwise(chain), 1):
        put(embeddings, token, part, 1.0)
        put(head, following, part, LINK)
    shape = [words, HIDDEN]
    return [
        ("model.embed_tokens.weight", "BF16", shape, bytes(embeddings)),
        ("lm_head.weight", "BF16", shape, bytes(head)),
        ("model.norm.weight", "BF16", [HIDDEN], _bf16([1.0] * HIDDEN)),
    ]


def _layers() -> list[Tensor]:
    found: list[Tensor] = []
    chance = random.Random(0)
    heads, kv_heads = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {
        "self_attn.q_proj": (heads, HIDDEN),
        "self_attn.k_proj": (kv_heads, HIDDEN),
        "self_attn.v_proj": (kv_heads, HIDDEN),
        "self_attn.o_proj": (HIDDEN, heads),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    for layer in (f"model.layers.{i}." for i in range(LAYERS)):
        for name in ("input_layernorm", "post_attention_layernorm"):
            found.append((f"{layer}{name}.weight", "BF16", [HIDDEN], _bf16([1.0] * HIDDEN)))
        for name, (rows, columns) in shapes.items():
            size = rows * columns // 2
            is_last = name in ("self_attn.o_proj", "mlp.down_proj")
            packed = bytes([ZEROS]) * size if is_last else chance.randbytes(size)
            found += _four_bit(f"{layer}{name}.weight", rows, columns, packed)
    return found


def _four_bit(name: str, rows: int, columns: int, packed: bytes) -> list[Tensor]:
    """As bitsandbytes stores NF4 with double quantization; every scale is 1."""
    scales = rows * columns // BLOCK
    state = {"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": [rows, columns]}
    state |= {"nested_blocksize": BLOCKS, "nested_dtype": "float32", "nested_offset": 1.0}
    told = json.dumps(state).encode()
    outer = -(-scales // BLOCKS)
    return [
        (name, "U8", [len(packed), 1], packed),
        (f"{name}.absmax", "U8", [scales], bytes(scales)),
        (f"{name}.quant_map", "F32", [len(NF4)], struct.pack("<16f", *NF4)),
        (f"{name}.nested_absmax", "F32", [outer], bytes(4 * outer)),
        (f"{name}.nested_quant_map", "F32", [256], struct.pack("<256f", *(i / 127.5 - 1 for i in range(256)))),
        (f"{name}.quant_state.bitsandbytes__nf4", "U8", [len(told)], told),
    ]


def _bf16(numbers: Sequence[float]) -> bytes:
    """The upper halves of 32-bit numbers."""
    return b"".join(struct.pack("<f", number)[2:] for number in numbers)


def _write(path: Path, tensors: Sequence[Tensor]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, kind, shape, data in tensors:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + b"".join(data for *_, data in tensors))
