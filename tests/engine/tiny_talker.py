"""Writes a llama of 13 M random weights in 4 bit that says words without a sense, as many as it is asked for; without torch.

Every token that it says hangs on all that it has read, so that a wrong number anywhere shows in its text. Its tokenizer and its
chat template are another model's. (`tests/clockwork.py` writes the model whose answer is known beforehand.)
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from clockwork import NF4, TOKENIZER_FILES
from jupyter_mistral.models import store

WINDOW = 16_384
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 128, 256, 3, 2, 1, 64
BLOCK, BLOCKS = 64, 256  # weights with a scale together, and scales with a scale together
# random weights of the usual size give flat scores; these make choices stable
SCALE, SPREAD = 0.11, 0.06


def build(folder: Path, tokenizer_from: Path, window: int = WINDOW) -> Path:
    """Write the folder, which must not be there, and return it. tokenizer_from: another model's folder in 4 bit."""
    folder.mkdir(parents=True, mode=0o700)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_from / name, folder / name)
    of = json.loads((tokenizer_from / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(_config(of, window), indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": of["eos_token_id"]}))
    _write(folder / "model.safetensors", _tensors(int(of["vocab_size"])))
    store.write_manifest(folder, {"quantization": "nf4", "source": "random"})
    return folder


def _config(of: dict[str, Any], window: int) -> dict[str, Any]:
    kept = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "quantization_config")
    return {name: of[name] for name in kept} | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": window,
        "tie_word_embeddings": False,
    }


Tensor = tuple[str, list[int], bytes]  # kind, shape, data


def _tensors(words: int) -> dict[str, Tensor]:
    chance = np.random.default_rng(0)
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
    found = {
        "model.embed_tokens.weight": _bf16(SPREAD * chance.standard_normal((words, HIDDEN), np.float32)),
        "lm_head.weight": _bf16(SPREAD * chance.standard_normal((words, HIDDEN), np.float32)),
        "model.norm.weight": _bf16(np.ones(HIDDEN, np.float32)),
    }
    for layer in (f"model.layers.{i}." for i in range(LAYERS)):
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{layer}{name}.weight"] = _bf16(np.ones(HIDDEN, np.float32))
        for name, (rows, columns) in shapes.items():
            found |= _four_bit(f"{layer}{name}.weight", rows, columns, chance.bytes(rows * columns // 2))
    return found


def _four_bit(name: str, rows: int, columns: int, packed: bytes) -> dict[str, Tensor]:
    """As bitsandbytes stores NF4 with double quantization; every scale is the same."""
    scales = rows * columns // BLOCK
    state = {"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": [rows, columns]}
    state |= {"nested_blocksize": BLOCKS, "nested_dtype": "float32", "nested_offset": SCALE}
    return {
        name: ("U8", [len(packed), 1], packed),
        f"{name}.absmax": ("U8", [scales], bytes(scales)),
        f"{name}.quant_map": _float(np.array(NF4, np.float32)),
        f"{name}.nested_absmax": _float(np.zeros(-(-scales // BLOCKS), np.float32)),
        f"{name}.nested_quant_map": _float(np.linspace(-1, 1, 256, dtype=np.float32)),
        f"{name}.quant_state.bitsandbytes__nf4": _bytes(json.dumps(state).encode()),
    }


def _bf16(numbers: np.ndarray[Any, Any]) -> Tensor:
    """The upper halves of 32-bit numbers."""
    return ("BF16", list(numbers.shape), (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def _float(numbers: np.ndarray[Any, Any]) -> Tensor:
    return ("F32", list(numbers.shape), numbers.tobytes())


def _bytes(data: bytes) -> Tensor:
    return ("U8", [len(data)], data)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + b"".join(data for *_, data in tensors.values()))
