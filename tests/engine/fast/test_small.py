"""The small operations of a step: the references round where transformers' modules do, and the kernels equal them."""

from __future__ import annotations

import pytest
import torch
from jupyter_mistral.engine.fast import step_ops
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


@pytest.mark.parametrize("of", [LlamaRMSNorm, Qwen3RMSNorm])
def test_norms_equal_transformers(of: type[torch.nn.Module]) -> None:
    x, delta, module = random(5, 576), random(5, 577)[:, 1:], of(576, eps=1e-5)
    module.weight.data = random(576)
    assert torch.equal(step_ops.rms_norm(x, module.weight, 1e-5), module(x))
    added, normed = step_ops.add_rms_norm(x, delta, module.weight, 1e-5)
    assert torch.equal(added, x + delta) and torch.equal(normed, module(x + delta))


def test_silu_mul_equals_a_gated_layer() -> None:
    gate, up = random(3, 100), random(3, 101)[:, 1:]
    assert torch.equal(step_ops.silu_mul(torch.cat([gate, up], 1)), functional.silu(gate) * up)


def test_heads_are_rotated_as_in_transformers() -> None:
    query, cos, sin = random(6, 4, 64), *(torch.cat([random(6, n), random(6, n)], 1) for n in (32, 32))
    expected, _ = apply_rotary_pos_emb(query.transpose(0, 1)[None], query.transpose(0, 1)[None], cos[None], sin[None])
    assert torch.equal(step_ops.rotate(query, cos, sin), expected[0].transpose(0, 1))
