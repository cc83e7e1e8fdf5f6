"""Converts a GGUF file (llama or qwen layout) to a folder of NF4 safetensors, tensor by tensor: it never fills the memory.

Weights are unpacked in slices, quantized by bitsandbytes as `from_pretrained` would, and written under the names that
transformers uses. Configuration, tokenizer and chat template are read from the file by transformers.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitsandbytes.functional
import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoTokenizer

from ...models import store
from ...protocol.failures import Failure
from ..text.vocabulary import write_text_tokenizer
from .folder import Report, ShardWriter, write_folder
from .quantize import NF4

_LAYOUTS = {"llama", "mistral", "qwen2", "qwen3"}
_MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output.weight": "lm_head.weight",
    "output_norm.weight": "model.norm.weight",
}
_FACTS = ("general.architecture", "tokenizer.ggml.pre", "tokenizer.chat_template")
_ENDS = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "</s>"}
_SLICE = 1 << 22  # weights unpacked to float32 at a time
_SAME = 0.1  # relative difference below which embedding and head are one matrix, stored at two precisions


def convert(source: Path, out: Path, report: Report) -> None:
    """Write the folder `out`. Raises `Failure` for an incomplete GGUF file or an unknown layout."""
    facts, tensors = _read(source)
    with write_folder(out) as folder:
        report("quantize", 0.0, "reading the tokenizer", None)
        config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
        _write_tokenizer(source, facts, folder)
        config.tie_word_embeddings = _drop_duplicate_head(tensors)
        config.dtype = torch.bfloat16
        config.quantization_config = NF4.to_dict() | {"llm_int8_skip_modules": ["lm_head"]}
        config.save_pretrained(folder)
        _write_weights(tensors, config, folder, report)
        (folder / "generation_config.json").write_text(json.dumps(facts["generation"]))
        store.write_manifest(folder, {"quantization": "nf4", "source": source.name})


def _read(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The few facts needed, and the tensors by name. The reader's own fields, one array per word, need more memory than the weights."""
    try:
        reader = gguf.GGUFReader(source)
        facts = {name: _field(reader, name) for name in _FACTS}
        facts["generation"] = _generation(reader)
        ends = [int(t.data_offset) + int(t.n_bytes) for t in reader.tensors]
    except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError):
        facts, ends = {}, []
    if max(ends, default=1 << 62) > source.stat().st_size:
        raise Failure(
            "corrupt_model", f"{source.name} is not a complete GGUF file.", "Delete it and download the model again."
        )
    if facts["general.architecture"] not in _LAYOUTS:
        raise Failure(
            "unsupported",
            f"{source.name} has the layout {facts['general.architecture']}, which cannot be converted.",
            "Load the model's safetensors version.",
        )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    reader.fields.clear()
    del reader
    gc.collect()
    return facts, tensors


def _field(reader: Any, name: str) -> Any:
    field = reader.fields.get(name)
    return None if field is None else field.contents()


def _generation(reader: Any) -> dict[str, Any]:
    """The end tokens: the file's own, and those of its control tokens that are known to end a turn or a text."""
    names, kinds = (_field(reader, f"tokenizer.ggml.{what}") or [] for what in ("tokens", "token_type"))
    pairs = enumerate(zip(names, kinds, strict=True))
    ends = {i for i, (name, kind) in pairs if name in _ENDS and kind == gguf.TokenType.CONTROL}
    eos, bos = (_field(reader, f"tokenizer.ggml.{what}_token_id") for what in ("eos", "bos"))
    settings: dict[str, Any] = {"eos_token_id": sorted(ends | ({int(eos)} if eos is not None else set()))}
    return settings if bos is None else settings | {"bos_token_id": int(bos)}


def _drop_duplicate_head(tensors: dict[str, Any]) -> bool:
    """Whether embedding and head are one matrix. Of two copies, the one with more bits is kept, as the embedding."""
    if "output.weight" not in tensors:
        return True
    embedding, head = tensors["token_embd.weight"], tensors["output.weight"]
    a, b = (next(_unpacked(t, rows=256)) for t in (embedding, head))
    if float((a - b).norm() / b.norm()) > _SAME:
        return False
    del tensors["output.weight"]
    if head.n_bytes > embedding.n_bytes:
        tensors["token_embd.weight"] = head
    return True


def _write_weights(tensors: dict[str, Any], config: Any, folder: Path, report: Report) -> None:
    shard = ShardWriter(folder / "model.safetensors", names=6 * len(tensors))
    total, done, start = sum(int(t.n_elements) for t in tensors.values()), 0, time.monotonic()
    for source_name, tensor in tensors.items():
        name, weight = _name(source_name), _unpack_whole(tensor)
        if config.model_type in ("llama", "mistral"):
            weight = _unpermuted(weight, name, config)
        if name.startswith("model.layers.") and weight.dim() == 2:
            packed, state = bitsandbytes.functional.quantize_4bit(
                weight, blocksize=64, compress_statistics=True, quant_type="nf4"
            )
            shard.add(name, packed)
            for key, value in state.as_dict(packed=True).items():
                shard.add(f"{name}.{key}", value)
        else:
            shard.add(name, weight)
        done += int(tensor.n_elements)
        left = (time.monotonic() - start) / done * (total - done)
        report("quantize", 0.1 + 0.9 * done / total, f"{done / 1e6:,.0f} of {total / 1e6:,.0f} M weights", left)
    shard.close()


def _name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    parts = name.split(".")
    if len(parts) != 4 or parts[0] != "blk" or parts[2] not in _MODULES:
        raise Failure("unsupported", f"The GGUF tensor {name} is unknown.", "Load the model's safetensors version.")
    return f"model.layers.{parts[1]}.{_MODULES[parts[2]]}.{parts[3]}"


def _unpack_whole(tensor: Any) -> torch.Tensor:
    weight = torch.empty([int(n) for n in reversed(tensor.shape)], dtype=torch.bfloat16)
    start = 0
    for piece in _unpacked(tensor):
        weight[start : start + len(piece)] = piece
        start += len(piece)
    return weight


def _unpacked(tensor: Any, rows: int | None = None) -> Iterator[torch.Tensor]:
    """The weights as float32, some rows at a time."""
    data = tensor.data
    rows = rows or max(1, _SLICE // int(tensor.shape[0]))
    if data.ndim == 1:
        rows = len(data)
    for start in range(0, len(data), rows):
        yield torch.from_numpy(np.array(gguf.quants.dequantize(data[start : start + rows], tensor.tensor_type)))


def _unpermuted(weight: torch.Tensor, name: str, config: Any) -> torch.Tensor:
    """llama.cpp interleaves the rows of q and k for its rotary embedding (convert_hf_to_gguf.py, LlamaModel.permute)."""
    if ".q_proj." in name:
        heads = config.num_attention_heads
    elif ".k_proj." in name:
        heads = config.num_key_value_heads
    else:
        return weight
    shape = weight.shape
    return weight.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape).contiguous()


def _write_tokenizer(source: Path, facts: dict[str, Any], folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if facts["tokenizer.ggml.pre"] == "smollm":
        # transformers' reader assumes GPT-2's splitting; SmolLM's splits digits one by one
        from tokenizers import pre_tokenizers as pre

        tokenizer.backend_tokenizer.pre_tokenizer = pre.Sequence(
            [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False, use_regex=True)]
        )
    if facts["tokenizer.chat_template"]:
        tokenizer.chat_template = facts["tokenizer.chat_template"]
    tokenizer.save_pretrained(folder)
    write_text_tokenizer(folder)
