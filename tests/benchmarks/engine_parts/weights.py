"""A transformers model of a given shape with random 4-bit weights, which never exist in 16 bit.

The bytes of NF4 are drawn as they are; scales keep activations finite. Random layers alone give flat scores, whose choice
any rounding flips: so the last layer knows of each token which follows, as clearly as a trained model usually does.
"""

from __future__ import annotations

import math
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes import functional as bits
from torch import nn
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from .shapes import Shape

_SPREAD = 0.517  # root mean square of NF4's sixteen values
_CERTAINTY = (
    12.0  # score of the right token in standard deviations of the others, of which the highest of 131,072 reaches 4.9
)


def model(shape: Shape, device: str, seed: int = 0) -> Any:
    """A model in NF4 and bf16, ready for `Decoder`. It predicts tokens in numeric order."""
    config = MistralConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.size,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.longest,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
        sliding_window=None,
        tie_word_embeddings=False,
        dtype=torch.bfloat16,
    )
    with torch.device("meta"):
        found = MistralForCausalLM(config).to(torch.bfloat16)
    torch.manual_seed(seed)
    deep = 1 / math.sqrt(2 * shape.layers)  # the usual initialization: layers add about as much as their input
    for layer in found.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, (rows, columns) in shape.linears.items():
                if hasattr(part, name):
                    gain = 2 * deep if name in ("o_proj", "down_proj") else 1.0
                    setattr(part, name, linear(rows, columns, device, gain))
    embeddings = torch.randn(shape.vocabulary, shape.hidden, dtype=torch.bfloat16, device=device)
    head = torch.randn_like(embeddings).div_(math.sqrt(shape.hidden))
    head[1:].add_(embeddings[:-1], alpha=_CERTAINTY / shape.hidden)
    found.model.embed_tokens.weight = nn.Parameter(embeddings, requires_grad=False)
    found.lm_head.weight = nn.Parameter(head, requires_grad=False)
    for module in found.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_meta:  # the norms
                setattr(module, name, nn.Parameter(torch.ones_like(weight, device=device), requires_grad=False))
    found.model.rotary_emb = type(found.model.rotary_emb)(config).to(device)
    found.generation_config = GenerationConfig()  # no token ends an answer
    return found.eval()


def linear(rows: int, columns: int, device: str, gain: float = 1.0) -> Any:
    """A bitsandbytes layer with double quantization, whose outputs have this deviation for inputs of deviation 1."""
    packed, state = nf4(rows, columns, device, gain)
    with torch.device("meta"):
        layer = bnb.nn.Linear4bit(columns, rows, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(
        packed, quant_state=state, quant_type="nf4", blocksize=64, bnb_quantized=True, module=layer
    )
    layer.quant_state = state
    # otherwise its first use repacks the weights into a layout that our steps do not read
    layer.support_avx512bf16_for_cpu = False
    return layer


def nf4(rows: int, columns: int, device: str, gain: float = 1.0) -> tuple[torch.Tensor, Any]:
    """Bytes [rows * columns / 2, 1] and bitsandbytes' quantization state."""
    packed = torch.randint(0, 256, (rows * columns // 2, 1), dtype=torch.uint8, device=device)
    largest = (torch.rand(rows * columns // 64, device=device) + 0.5) * gain / (_SPREAD * math.sqrt(columns))
    offset = largest.mean()
    narrow, nested = bits.quantize_blockwise(largest - offset, blocksize=256)
    state = bits.QuantState(
        absmax=narrow,
        shape=torch.Size((rows, columns)),
        code=bits.get_4bit_type("nf4", device=device),
        blocksize=64,
        quant_type="nf4",
        dtype=torch.bfloat16,
        offset=offset,
        state2=nested,
    )
    return packed, state
