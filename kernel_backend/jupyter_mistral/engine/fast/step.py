"""One decode step of a plain transformer: from a few tokens of a few sequences to their scores.

Uses the layers of a transformers model without copying them: weights that a step reads together are joined, and the model's own
parameters become views of the joint buffer. Knows neither graphs nor requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from torch import Tensor, nn

from ..decode.head import NarrowHead
from ..decode.lora import LoraLayer
from . import nf4
from .nf4 import Nf4, Unfit
from .ops import Ops
from .slots import Slots
from .step_ops import Norms

MODELS = {"llama", "mistral", "ministral3", "qwen2", "qwen3", "smollm3"}
_SLICE = 8192  # rows of a head that are quantized at a time
# these choose their frequencies by the longest position of a call, which a recorded step cannot
_LENGTH_DEPENDENT_ROTARY = {"dynamic", "longrope"}


@dataclass(frozen=True)
class Int8:
    """An 8-bit matrix with a scale per row; for the head, which has no bias."""

    weight: Tensor  # int8 [rows, columns]
    scales: Tensor  # bfloat16 [rows]

    @classmethod
    def of(cls, full: Tensor) -> Int8:
        weight, scales = full.new_empty(full.shape, dtype=torch.int8), full.new_empty(len(full))
        for start in range(0, len(full), _SLICE):
            part = slice(start, start + _SLICE)
            wide = full[part].float()
            scales[part] = (wide.abs().amax(1) / 127).clamp_min(1e-30)
            weight[part] = (wide / scales[part, None].float()).round_().clamp_(-127, 127).to(torch.int8)
        return cls(weight, scales)


Part = tuple["Nf4 | Int8 | Tensor", "Tensor | None"]  # a matrix and its bias


class Linear:
    """Linear layers with the same input, their outputs side by side."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, *layers: Any) -> Linear:
        """One matrix if they are stored alike, else one after the other."""
        plain = [_plain(layer) for layer in layers]
        together = [plain] if len({type(layer) for layer in plain}) == 1 else [[layer] for layer in plain]
        return cls([(_fused(part), _biases(part)) for part in together])

    @property
    def matrices(self) -> list[Nf4]:
        return [weight for weight, _ in self._parts if isinstance(weight, Nf4)]

    def __call__(self, ops: Ops, x: Tensor) -> Tensor:
        outputs = [_product(ops, x, weight, bias) for weight, bias in self._parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)


def _product(ops: Ops, x: Tensor, weight: Nf4 | Int8 | Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(weight, Nf4):
        return ops.linear(x, weight, bias)
    if isinstance(weight, Int8):
        return ops.int8(x, weight.weight, weight.scales)
    return ops.dense(x, weight, bias)


@dataclass(frozen=True)
class Norm:
    """A root mean square norm."""

    weight: Tensor
    eps: float

    @classmethod
    def of(cls, module: Any) -> Norm:
        if not type(module).__name__.endswith("RMSNorm") or not hasattr(module, "variance_epsilon"):
            raise Unfit(f"{type(module).__name__} is an unknown norm")
        return cls(module.weight.data, float(module.variance_epsilon))


@dataclass(frozen=True)
class Layer:
    before: Norm
    qkv: Linear
    norms: Norms | None  # of each head's query and key
    is_rotated: bool
    scale: float
    out: Linear
    between: Norm
    gate_up: Linear
    down: Linear


class FastModel:
    """The decode step of a transformers model on its device. Raises `Unfit` for models that it does not support.

    head: bf16, or int8 for half the bytes and slightly different scores. Build it before the model's first forward: on some CPUs
    bitsandbytes repacks the weights then.
    """

    def __init__(self, model: Any, ops: Ops, head: str = "bf16") -> None:
        config = model.config.get_text_config()
        _refuse(config)
        text = model.get_decoder()
        self.device: torch.device = model.device
        self._ops = ops
        self._embeddings: Tensor = model.get_input_embeddings().weight.data
        if self._embeddings.dtype != torch.bfloat16:
            raise Unfit(f"its embeddings are {self._embeddings.dtype}")
        self._rotary, self._beta, self._original = text.rotary_emb, *_query_scale(config)
        modules = text.layers[: config.num_hidden_layers]
        if getattr(model, "spilled_layers", 0):
            raise Unfit("some of its layers stay in host memory")
        self.layers = [_layer(module) for module in modules]
        self._norm = Norm.of(text.norm)
        self._head = _head(model.get_output_embeddings(), head)
        self.vocabulary = int(config.vocab_size)

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def matrices(self) -> list[Nf4]:
        """The 4-bit matrices as steps read them; joined layers are one."""
        linears = [part for layer in self.layers for part in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        return [matrix for linear in [*linears, self._head] for matrix in linear.matrices]

    def forward(self, ids: Tensor, slots: Slots) -> Tensor:
        """Append tokens ids [m], int64, to the sequences in `slots`. Returns their scores [m, vocabulary]."""
        ops = self._ops
        x = self._embeddings[ids]
        cos, sin = (part[0] for part in self._rotary(x[None], slots.positions[None]))
        one, zero = torch.ones_like(cos), torch.zeros_like(sin)
        scales = self._scales(slots.positions)
        delta: Tensor | None = None
        for number, layer in enumerate(self.layers):
            if delta is None:
                states = ops.rms_norm(x, layer.before.weight, layer.before.eps)
            else:
                x, states = ops.add_rms_norm(x, delta, layer.before.weight, layer.before.eps)
            qkv = layer.qkv(ops, states)
            turn, shift = (cos, sin) if layer.is_rotated else (one, zero)
            q = ops.rotate_and_append(qkv, turn, shift, slots, number, layer.norms)
            if scales is not None:
                q = q * scales
            attended = ops.attend(q, slots, number, layer.scale)
            x, states = ops.add_rms_norm(x, layer.out(ops, attended), layer.between.weight, layer.between.eps)
            delta = layer.down(ops, ops.silu_mul(layer.gate_up(ops, states)))
        assert delta is not None, "a model has layers"
        _, states = ops.add_rms_norm(x, delta, self._norm.weight, self._norm.eps)
        return self._head(ops, states)

    def _scales(self, positions: Tensor) -> Tensor | None:
        """Ministral 3's factor for queries at far positions, [m, 1, 1] (transformers' `get_llama_4_attn_scale`)."""
        if not self._beta:
            return None
        scales = 1 + self._beta * torch.log(1 + torch.floor(positions / self._original))
        return scales[:, None, None].to(torch.bfloat16)


def _refuse(config: Any) -> None:
    if config.model_type not in MODELS:
        raise Unfit(f"{config.model_type} is not supported")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(config, "sliding_window", None):
        raise Unfit("its attention has a sliding window")
    if config.hidden_act != "silu":
        raise Unfit(f"its activation is {config.hidden_act}")
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if kind in _LENGTH_DEPENDENT_ROTARY:
        raise Unfit(f"its rotary kind {kind} depends on the length")


def _query_scale(config: Any) -> tuple[float, float]:
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type != "ministral3":
        return 0.0, 1.0
    return float(rope.get("llama_4_scaling_beta") or 0.0), float(rope.get("original_max_position_embeddings") or 1.0)


def _layer(module: Any) -> Layer:
    attention, mlp = module.self_attn, module.mlp
    return Layer(
        before=Norm.of(module.input_layernorm),
        qkv=Linear.of(attention.q_proj, attention.k_proj, attention.v_proj),
        norms=_norms(attention),
        is_rotated=bool(getattr(attention, "use_rope", True)),
        scale=float(attention.scaling),
        out=Linear.of(attention.o_proj),
        between=Norm.of(module.post_attention_layernorm),
        gate_up=Linear.of(mlp.gate_proj, mlp.up_proj),
        down=Linear.of(mlp.down_proj),
    )


def _norms(attention: Any) -> Norms | None:
    if not hasattr(attention, "q_norm"):
        return None
    query, key = Norm.of(attention.q_norm), Norm.of(attention.k_norm)
    return query.weight, key.weight, query.eps


# ---------------------------------------------------------------------------------------------- weights


def _plain(layer: Any) -> nn.Linear:
    """The model's own layer without adapters; the fast path is paused while one is in use."""
    plain: Any = layer.layer if isinstance(layer, LoraLayer) else layer
    if type(plain) not in (nn.Linear, Linear4bit):
        raise Unfit(f"{type(plain).__name__} is an unknown linear layer")
    linear: nn.Linear = plain
    return linear


def _fused(layers: list[nn.Linear]) -> Nf4 | Tensor:
    if isinstance(layers[0], Linear4bit):
        return nf4.fuse(layers)
    weights = [layer.weight for layer in layers]
    if any(weight.dtype != torch.bfloat16 for weight in weights):
        raise Unfit(f"its layers are in {weights[0].dtype}")
    if len(weights) == 1:
        return weights[0].data
    whole = torch.cat([weight.data for weight in weights])
    for weight, part in zip(weights, torch.split(whole, [len(weight) for weight in weights]), strict=True):
        weight.data = part
    return whole


def _biases(layers: list[nn.Linear]) -> Tensor | None:
    if all(layer.bias is None for layer in layers):
        return None
    device = layers[0].weight.device
    none = (torch.zeros(layer.out_features, device=device) for layer in layers)
    parts = [zeros if layer.bias is None else layer.bias.data for layer, zeros in zip(layers, none, strict=True)]
    return torch.cat([part.to(torch.bfloat16) for part in parts])


def _head(module: Any, kind: str) -> Linear:
    if not isinstance(module, NarrowHead) and (type(module) is not nn.Linear or module.bias is not None):
        return Linear.of(module)
    full: Tensor = module.weight.data
    if full.dtype != torch.bfloat16:
        raise Unfit(f"its head is in {full.dtype}")
    return Linear([(Int8.of(full) if kind == "int8" else full, None)])
