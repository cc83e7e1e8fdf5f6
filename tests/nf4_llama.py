"""Writes a small 4-bit llama as a folder that the engine loads, without torch. The caller gives the weights.

Tokenizer and chat template come from another model. `clockwork.py` and `engine/tiny_talker.py` build their models with it.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jupyter_mistral.models import store

TOKENIZER_FILES = ("tokenizer.json", "text_tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
CODE_BOOK = (
    *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)
BLOCK, BLOCKS = 64, 256  # weights that share a scale, and scales that share a scale

Tensor = tuple[str, list[int], bytes]  # dtype as safetensors names it, shape, data
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shape:
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    def products(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of each 4-bit matrix of a layer."""
        heads, kv_heads = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "self_attn.q_proj": (heads, self.hidden),
            "self_attn.k_proj": (kv_heads, self.hidden),
            "self_attn.v_proj": (kv_heads, self.hidden),
            "self_attn.o_proj": (self.hidden, heads),
            "mlp.gate_proj": (self.inner, self.hidden),
            "mlp.up_proj": (self.inner, self.hidden),
            "mlp.down_proj": (self.hidden, self.inner),
        }


@dataclass(frozen=True)
class Weights:
    """embeddings, head: a row of 32-bit numbers for each token. packed: returns the codes of a matrix, two per byte, given its
    name and size in bytes; called layer by layer. scale: the factor of every code."""

    embeddings: Array
    head: Array
    packed: Callable[[str, int], bytes]
    scale: float


def write(folder: Path, tokenizer_from: Path, shape: Shape, weights: Weights, window: int) -> Path:
    """Write the folder, which must not exist, and return it. window: the context length in tokens."""
    folder.mkdir(parents=True, mode=0o700)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_from / name, folder / name)
    of = json.loads((tokenizer_from / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(_config(of, shape, window), indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": of["eos_token_id"]}))
    _write(folder / "model.safetensors", _tensors(shape, weights))
    store.write_manifest(folder, {"quantization": "nf4", "source": "tests"})
    return folder


def _config(of: dict[str, Any], shape: Shape, window: int) -> dict[str, Any]:
    kept = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "quantization_config")
    return {name: of[name] for name in kept} | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": window,
        "tie_word_embeddings": False,
    }


def _tensors(shape: Shape, weights: Weights) -> dict[str, Tensor]:
    ones = _bf16(np.ones(shape.hidden, np.float32))
    tensors = {
        "model.embed_tokens.weight": _bf16(weights.embeddings),
        "lm_head.weight": _bf16(weights.head),
        "model.norm.weight": ones,
    }
    for layer in (f"model.layers.{i}." for i in range(shape.layers)):
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}{name}.weight"] = ones
        for name, (rows, columns) in shape.products().items():
            packed = weights.packed(name, rows * columns // 2)
            tensors |= _four_bit(f"{layer}{name}.weight", rows, columns, packed, weights.scale)
    return tensors


def _four_bit(name: str, rows: int, columns: int, packed: bytes, scale: float) -> dict[str, Tensor]:
    """Tensors as bitsandbytes stores NF4 with double quantization; all scales are equal."""
    scales = rows * columns // BLOCK
    state = {"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": [rows, columns]}
    state |= {"nested_blocksize": BLOCKS, "nested_dtype": "float32", "nested_offset": scale}
    return {
        name: ("U8", [len(packed), 1], packed),
        f"{name}.absmax": ("U8", [scales], bytes(scales)),
        f"{name}.quant_map": _float(np.array(CODE_BOOK, np.float32)),
        f"{name}.nested_absmax": _float(np.zeros(-(-scales // BLOCKS), np.float32)),
        f"{name}.nested_quant_map": _float(np.linspace(-1, 1, 256, dtype=np.float32)),
        f"{name}.quant_state.bitsandbytes__nf4": _bytes(json.dumps(state).encode()),
    }


def _bf16(numbers: Array) -> Tensor:
    """The upper halves of 32-bit numbers."""
    return ("BF16", list(numbers.shape), (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def _float(numbers: Array) -> Tensor:
    return ("F32", list(numbers.shape), numbers.tobytes())


def _bytes(data: bytes) -> Tensor:
    return ("U8", [len(data)], data)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    written = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + b"".join(data for *_, data in tensors.values()))
