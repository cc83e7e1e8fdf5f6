"""Shapes of models for random weights, and the bytes that a step reads. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_mistral.models.memory import NF4_BYTES, kv_bytes_per_head

LAYER = "a layer's four"  # matrices, measured together


@dataclass(frozen=True)
class Shape:
    """The text model, without vision."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    size: int  # of a head
    feed_forward: int
    vocabulary: int
    longest: int  # context in tokens

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of a layer's matrices by transformers' names."""
        queries, keys = self.heads * self.size, self.kv_heads * self.size
        return {
            "q_proj": (queries, self.hidden),
            "k_proj": (keys, self.hidden),
            "v_proj": (keys, self.hidden),
            "o_proj": (self.hidden, queries),
            "gate_proj": (self.feed_forward, self.hidden),
            "up_proj": (self.feed_forward, self.hidden),
            "down_proj": (self.hidden, self.feed_forward),
        }

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """As our steps read them: matrices with the same input joined."""
        rows = {name: rows for name, (rows, _) in self.linears.items()}
        return {
            "q k v": (rows["q_proj"] + rows["k_proj"] + rows["v_proj"], self.hidden),
            "o": self.linears["o_proj"],
            "gate up": (2 * self.feed_forward, self.hidden),
            "down": self.linears["down_proj"],
        }

    @property
    def linear_weights(self) -> int:
        return self.layers * sum(rows * columns for rows, columns in self.linears.values())

    def step_bytes(self, head_bytes: int) -> float:
        """Bytes of weights per step. head_bytes: bytes per weight of the output layer, 2 in bf16, 1 in int8."""
        return self.linear_weights * NF4_BYTES + self.vocabulary * self.hidden * head_bytes

    def context_bytes(self, tokens: int, kv: str) -> float:
        """Bytes of the KV cache of `tokens` tokens, which one step reads."""
        return tokens * self.layers * self.kv_heads * kv_bytes_per_head(self.size, kv)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("24b", 5120, 40, 32, 8, 128, 32768, 131072, 131072),  # Mistral Small 3.1 and 3.2
        Shape("8b", 4096, 34, 32, 8, 128, 14336, 131072, 262144),  # Ministral 3 8B
        Shape("tiny", 256, 2, 4, 2, 64, 512, 1024, 2048),
    )
}
