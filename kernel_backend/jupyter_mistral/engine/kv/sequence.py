"""The KV cache of one sequence: appended to, cut back, and copied out and in by blocks. In 16 bit here; see `packed.py`."""

from __future__ import annotations

import collections.abc
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from transformers.cache_utils import Cache, DynamicLayer

BLOCK = 64  # tokens that are copied, hashed and quantized together
KEY_BLOCK = 512  # tokens by which buffers grow: what torch's attention on the CPU reads at a time (`attention.py`)

Visible = tuple[int, int, torch.Tensor, torch.Tensor]  # start, stop, keys, values


class LayerAddress(NamedTuple):
    """Where kernels find one layer, as addresses on its device.

    Head h of a token's key begins `h * stride` numbers after `keys`; tokens follow each other every `size` numbers. In a
    packed layer `keys` and `values` are those of the block being written, and the packed blocks before it begin at `blocks`.
    """

    keys: int
    values: int
    stride: int
    blocks: int = 0


class Layer(Protocol):
    """What attention and the prefix memory need of one layer's keys and values."""

    length: int

    def empty_copy(self) -> Layer:
        """An empty layer of the same shape; this one has been used before."""

    @property
    def nbytes(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def append_tokens(self, key: torch.Tensor, value: torch.Tensor) -> Iterator[Visible]:
        """Append new tokens [1, heads, tokens, size]. Yields the keys and values that the queries of new tokens start to
        stop attend to. Must be run to its end."""

    def longest_cut(self, length: int) -> int:
        """The longest length, at most this one, that the layer can be cut back to."""

    def cut(self, length: int) -> None: ...
    def reserve(self, tokens: int) -> None:
        """Grow to this many tokens at the next growth, in one step."""

    def release(self) -> None:
        """Free the buffers; the shape stays known."""

    def copy_out(self, block: int) -> torch.Tensor:
        """One whole block, flat."""

    def copy_in(self, flat: torch.Tensor) -> None:
        """Append a block from `copy_out`; the length is a whole number of blocks."""

    # Writing in place: `prepare` makes room, kernels write at `address` or torch by `write`, `Sequence.advance` counts.

    @property
    def empty(self) -> torch.Tensor:
        """An empty tensor [1, heads, 0, size] with the tokens' shape; this layer has been used before."""

    def can_write(self, count: int) -> bool:
        """Whether this many tokens can be written in place, with the same packed blocks before each of them."""

    def prepare(self, count: int) -> None: ...
    def address(self) -> LayerAddress:
        """Valid until the next growth, and in a packed layer within one block."""

    def write(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write the next tokens [heads, tokens, size]."""

    def visible(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the last of `count` written tokens attends to: keys and values [1, heads, tokens, size]."""

    def advance(self, count: int, others: list[Layer]) -> None:
        """Count these tokens here and in the other layers, which have the same kind and length."""


class GrowingLayer(DynamicLayer):
    """Appends in place instead of copying everything for each token. The unused end of the buffer is zeros, never garbage."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers is half typed
        self._keys = self._values = torch.empty(0)
        self.length, self.capacity = 0, 0
        self._reserved = 0

    def empty_copy(self) -> GrowingLayer:
        other = GrowingLayer()
        other._keys, other._values = self._blank(0)
        other.dtype, other.device, other.is_initialized = self.dtype, self.device, True
        return other

    def append_tokens(self, key: torch.Tensor, value: torch.Tensor) -> Iterator[Visible]:
        yield 0, key.shape[2], *self.update(key, value)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        stop = self.length + key_states.shape[2]
        if stop > self.capacity:
            self._grow(stop, key_states, value_states)
        self._keys[:, :, self.length : stop] = key_states
        self._values[:, :, self.length : stop] = value_states
        self.length = stop
        return self.visible(0)

    def _grow(self, stop: int, key: torch.Tensor, value: torch.Tensor) -> None:
        capacity = max(stop, self._reserved, min(self.capacity * 2, self.capacity + 8192))
        capacity = -(-capacity // KEY_BLOCK) * KEY_BLOCK
        new = [torch.zeros(*t.shape[:2], capacity, t.shape[3], dtype=t.dtype, device=t.device) for t in (key, value)]
        if self.length:
            new[0][:, :, : self.length] = self._keys[:, :, : self.length]
            new[1][:, :, : self.length] = self._values[:, :, : self.length]
        (self._keys, self._values), self.capacity = new, capacity
        self.dtype, self.device, self.is_initialized = key.dtype, key.device, True

    def get_seq_length(self) -> int:
        return self.length

    @property
    def empty(self) -> torch.Tensor:
        return self._keys[:, :, :0]

    def can_write(self, count: int) -> bool:
        return bool(self.is_initialized)

    def prepare(self, count: int) -> None:
        if self.length + count > self.capacity:
            self._grow(self.length + count, self._keys, self._values)

    def address(self) -> LayerAddress:
        return LayerAddress(self._keys.data_ptr(), self._values.data_ptr(), self._keys.stride(1))

    def write(self, key: torch.Tensor, value: torch.Tensor) -> None:
        stop = self.length + key.shape[1]
        self._keys[0, :, self.length : stop] = key
        self._values[0, :, self.length : stop] = value

    def visible(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        stop = self.length + count
        return self._keys[:, :, :stop], self._values[:, :, :stop]

    def advance(self, count: int, others: list[Layer]) -> None:
        stop = self.length + count
        for layer in (self, *others):
            layer.length = stop

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    @property
    def block_bytes(self) -> int:
        return sum(t.nbytes for t in self._blank(BLOCK))

    def longest_cut(self, length: int) -> int:
        return min(length, self.length)

    def cut(self, length: int) -> None:
        self.length = length

    def reserve(self, tokens: int) -> None:
        self._reserved = tokens

    def release(self) -> None:
        self._keys, self._values = self._keys[:, :, :0].clone(), self._values[:, :, :0].clone()
        self.length, self.capacity = 0, 0

    def _blank(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """New keys and values of this layer's shape; the layer must have been used once (the warm-up does that)."""
        return tuple(t.new_empty(*t.shape[:2], tokens, t.shape[3]) for t in (self._keys, self._values))  # type: ignore[return-value]

    def copy_out(self, block: int) -> torch.Tensor:
        start = block * BLOCK
        return torch.cat([t[:, :, start : start + BLOCK].reshape(-1) for t in (self._keys, self._values)])

    def copy_in(self, flat: torch.Tensor) -> None:
        key, value = self._blank(BLOCK)
        assert flat.numel() == key.numel() + value.numel(), "block of another shape"
        flat = flat.to(self.device)
        self.update(flat[: key.numel()].view(key.shape), flat[key.numel() :].view(value.shape))


class Sequence:
    """The KV cache of one sequence: a `Layer` for each layer of the model."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers

    def empty_copy(self) -> Sequence:
        return Sequence([layer.empty_copy() for layer in self.layers])

    @property
    def cache(self) -> Cache:
        """For a model with its own attention; in 16 bit only."""
        return Cache(layers=list(self.layers))  # type: ignore[arg-type]  # they are GrowingLayers then

    @property
    def length(self) -> int:
        return self.layers[0].length

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @property
    def block_bytes(self) -> int:
        return sum(layer.block_bytes for layer in self.layers)

    def reserve(self, tokens: int) -> None:
        for layer in self.layers:
            layer.reserve(tokens)

    def cut(self, length: int) -> int:
        """Cut back to this length, or a little further if a layer cannot be cut there. Returns the length.

        A forward that failed leaves layers of different lengths; this makes them equal again.
        """
        for _ in range(2):  # the others may have no cut at the shortest layer's length
            length = min(layer.longest_cut(length) for layer in self.layers)
        for layer in self.layers:
            layer.cut(length)
        return length

    def can_write(self, count: int) -> bool:
        """Whether the next `count` tokens can be written in place."""
        return self.layers[0].can_write(count)

    def advance(self, count: int) -> None:
        """Count tokens that were written in place in every layer."""
        self.layers[0].advance(count, self.layers[1:])

    def release(self) -> None:
        for layer in self.layers:
            layer.release()

    def copy_out(self, block: int) -> torch.Tensor:
        """A block of all layers as one flat tensor in host memory."""
        return torch.cat([layer.copy_out(block) for layer in self.layers]).cpu()

    def copy_in(self, flat: torch.Tensor) -> None:
        """Append a block from `copy_out`."""
        parts = flat.view(len(self.layers), -1)
        for layer, part in zip(self.layers, parts, strict=True):
            layer.copy_in(part)


# sequences whose tokens follow each other in one forward, and how many tokens each has there
Pack = collections.abc.Sequence[tuple[Sequence, int]]
